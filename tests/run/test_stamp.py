"""Metadata that call themselves lrp-onnx's, and are not what it writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from commands import picture_net

import lrp_onnx

X = np.zeros((1, 1, 8, 8), np.float32)
STAMPS = {
    "explained": ("7", "[1", "[]", '["nope"]', None, "[" * 5000),
    "outputs": ("7", "[1]", '[{"output": 1}]', "[{}]"),
    "conditions": ("{}", '["nope"]', None),
    "class_axis": ("x", "99", "-3", None),
    "head": (
        "[]",
        '{"kind": "map"}',
        '{"kind": "map", "batch": true, "scores": [1]}',
        '{"kind": "mixed", "batch": true, "axis": 9, "scores": [0, 2]}',
        '{"kind": "mixed", "batch": true, "axis": 1, "scores": [0, 2000]}',
        '{"kind": "mixed", "batch": true, "axis": 1, "scores": [0, 2], "objectness": -7}',
    ),
    "output": ("nope", None),
    "target": (None,),
    "method": ("frob", "\x1b[31m", "grad-cam", None),
}


@pytest.fixture(scope="module")
def compiled() -> onnx.ModelProto:
    return lrp_onnx.compile(picture_net()).model


@pytest.mark.parametrize(("key", "value"), [(k, v) for k, row in STAMPS.items() for v in row])
def test_a_stamp_that_nobody_wrote_is_refused(
    key: str, value: str | None, compiled: onnx.ModelProto, tmp_path: Path
) -> None:
    model = onnx.ModelProto.FromString(compiled.SerializeToString())
    kept = {entry.key: entry.value for entry in model.metadata_props}
    kept.pop(f"lrp.{key}", None)
    onnx.helper.set_model_props(model, kept if value is None else {**kept, f"lrp.{key}": value})
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(lrp_onnx.ModelError, match=r"metadata|method|computes no relevance") as said:
        lrp_onnx.explain(tmp_path / "model.onnx", X)
    assert len(str(said.value)) <= 600
    assert str(said.value).isprintable()


def test_a_model_that_nobody_compiled_may_not_say_so() -> None:
    model = picture_net()
    onnx.helper.set_model_props(model, {"lrp.outputs": "7"})
    with pytest.raises(lrp_onnx.ModelError, match=r"metadata 'lrp\.outputs'.* is '7', which"):
        lrp_onnx.compile(model)
