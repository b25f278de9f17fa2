"""A model from every source, and a compiled one in files."""

from __future__ import annotations

import os
import re

import onnx
import onnx_ir as ir
import pytest
from models import assert_close, run
from test_contract import NETWORKS, batch, compiled

import lrp_onnx

SOURCES = {
    "path": lambda model, folder: str(write(model, folder)),
    "pathlib": lambda model, folder: write(model, folder),
    "bytes": lambda model, folder: model.SerializeToString(),
    "ModelProto": lambda model, folder: model,
    "onnx_ir.Model": lambda model, folder: __import__("onnx_ir").from_proto(model),
}


def write(model, folder):
    onnx.save(model, folder / "model.onnx")
    return folder / "model.onnx"


@pytest.mark.parametrize("make", SOURCES.values(), ids=SOURCES)
def test_every_source_gives_the_same_graph_and_is_not_changed(make, tmp_path):
    source = make(NETWORKS["plain"], tmp_path)
    before = NETWORKS["plain"].SerializeToString(True)
    assert lrp_onnx.compile(source).model.graph == lrp_onnx.compile(NETWORKS["plain"]).model.graph
    assert NETWORKS["plain"].SerializeToString(True) == before


def test_a_saved_model_is_the_compiled_model(tmp_path):
    result = lrp_onnx.compile(NETWORKS["plain"])
    result.save(tmp_path / "out.onnx")
    assert onnx.load(tmp_path / "out.onnx") == result.model
    assert [f.name for f in tmp_path.iterdir()] == ["out.onnx"]


def test_weights_beyond_one_file_go_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr("lrp_onnx.compiler.compiled.LARGEST_FILE", 100)
    lrp_onnx.compile(NETWORKS["plain"], "epsilon-plus-flat").save(tmp_path / "out.onnx")
    weights, model = sorted((f.name for f in tmp_path.iterdir()), key=len, reverse=True)
    assert re.fullmatch(r"out\.onnx\.[0-9a-f]{16}\.data", weights)
    assert model == "out.onnx"
    loaded = onnx.load(tmp_path / "out.onnx")
    x = batch("plain", 2)
    expected = run(compiled("plain", "epsilon-plus-flat"), {"x": x})
    assert_close(run(loaded, {"x": x})["x_relevance"], expected["x_relevance"])


def assert_same_weights(loaded, model):
    one, other = (
        {t.name: onnx.numpy_helper.to_array(t).tobytes() for t in m.graph.initializer}
        for m in (loaded, model)
    )
    assert one == other


def test_a_run_that_ends_between_the_two_files_leaves_the_older_pair(tmp_path, monkeypatch):
    monkeypatch.setattr("lrp_onnx.compiler.compiled.LARGEST_FILE", 100)
    file = tmp_path / "out.onnx"
    older, newer = (lrp_onnx.compile(NETWORKS["plain"], c) for c in ("epsilon", "zplus"))
    weights = newer.graph.graph.initializers["w1"].const_value.numpy()
    newer.graph.graph.initializers["w1"].const_value = ir.tensor(weights + 1, name="w1")
    older.save(file)
    with monkeypatch.context() as cut:
        replace = os.replace

        def until_the_model(source, target):
            if target == file:
                raise KeyboardInterrupt
            replace(source, target)

        cut.setattr(os, "replace", until_the_model)
        with pytest.raises(KeyboardInterrupt):
            newer.save(file)
    assert len(list(tmp_path.iterdir())) == 3
    assert_same_weights(onnx.load(file), older.model)
    newer.save(file)
    assert len(list(tmp_path.iterdir())) == 2
    assert_same_weights(onnx.load(file), newer.model)
