"""Pictures that were perhaps not prepared as the model wants them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from commands import run_command, write
from models import network
from PIL import Image

from lrp_onnx.answer.fit import _probabilities, bad_fits
from lrp_onnx.answer.inputs import Inputs
from lrp_onnx.data.implied import implied_preprocess
from lrp_onnx.data.picture_scale import odd_scale
from lrp_onnx.data.preprocess import PRESETS
from lrp_onnx.run.result import Result

RNG = np.random.default_rng(0)
PHOTO = RNG.uniform(0.1, 0.9, (1, 3, 8, 8)).astype(np.float32)
SURE = np.eye(20, dtype=np.float32)[:1] * 9
CASES = {
    "a photo": (PHOTO, SURE, []),
    "blank": (np.ones_like(PHOTO), SURE, ["100% of its values lie at the ends"]),
    "two colors": (np.rint(PHOTO), SURE, ["100% of its values lie at the ends"]),
    "flat logits": (
        PHOTO,
        SURE / 100,
        ["the prediction is flat: the largest of 20 classes has 0.0"],
    ),
    "flat probabilities": (PHOTO, np.full((1, 20), 0.05), ["the prediction is flat"]),
    "ten numbers": (None, SURE / 100 - 0.02, []),
    "an embedding": (None, np.eye(64)[:1] / 10 - 0.02, ["as if it were an embedding"]),
    "few classes": (PHOTO, np.full((1, 3), 1 / 3), []),
}


@pytest.mark.parametrize(("best", "sure", "told"), [(0.9, 1, 0), (0.03, 1, 1), (0.9, 0.1, 1)])
def test_a_detector_that_hardly_sees_anything(best: float, sure: float, told: int) -> None:
    y = np.full((1, 7, 4), 300.0)  # boxes, how sure it is of any object, two classes
    y[:, 4], y[:, 5:] = sure, 0.01
    y[0, 6, 2] = best
    head = {"kind": "mixed", "axis": 1, "scores": [5, 7], "objectness": 4, "batch": True}
    metadata = {"output": "y", "class_axis": "", "target": "argmax", "head": json.dumps(head)}
    warnings = bad_fits(metadata, Result({"y": y}, {}), Inputs())
    assert [f"the largest score is {best * sure:.2g}" in text for text in warnings] == [True] * told


@pytest.mark.parametrize(("x", "y", "said"), CASES.values(), ids=CASES)
def test_a_bad_fit_is_said(x: np.ndarray | None, y: np.ndarray, said: list[str]) -> None:
    pictures = {} if x is None else {"x": PRESETS["unit"]}
    inputs = Inputs({"x": PHOTO if x is None else x}, pictures)
    warnings = bad_fits({"output": "y", "class_axis": "1"}, Result({"y": y}, {}), inputs)
    assert len(warnings) == len(said)
    assert all(part in text for part, text in zip(said, warnings, strict=True))


def test_metadata_tell_how_pictures_are_prepared() -> None:
    value = ir.Value(
        name="images", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(["N", 3, "H", "W"])
    )
    told = {"task": "detect", "stride": "32", "imgsz": "[320, 640]"}
    detector = implied_preprocess(value, told)
    assert detector is not None
    assert (detector.fit, detector.size, detector.scale) == ("letterbox", (320, 640), 1 / 255)
    classifier = implied_preprocess(value, told | {"task": "classify"})
    assert classifier is not None
    assert (classifier.fit, classifier.crop) == ("center-crop", 1.0)
    assert implied_preprocess(value, {"task": "detect"}) is None
    value.shape = ir.Shape([1, 3, 8, 8])
    fixed = implied_preprocess(value, told)
    assert fixed is not None
    assert fixed.size is None
    assert implied_preprocess(value, {}) is None


def first_layer(body: str, w: np.ndarray, b: np.ndarray | None) -> ir.Value:
    """The input of a small model that begins with `body`."""
    graph = onnx.parser.parse_graph(f"g (float[1,3,16,16] x) => (float y) {{ {body} }}")
    for name, value in {"w": w, "b": b}.items():
        if value is not None:
            graph.initializer.append(onnx.numpy_helper.from_array(value.astype(np.float32), name))
    opsets = [onnx.helper.make_opsetid("", 18)]
    model = ir.from_proto(onnx.helper.make_model(graph, opset_imports=opsets))
    return model.graph.inputs[0]


WEIGHT = RNG.standard_normal((16, 3, 3, 3))
PIXELS = RNG.integers(0, 256, (1, 3, 16, 16)).astype(np.float32)
CONV = "y = Conv(x, w, b)"
SCALES = {
    "as it wants": (CONV, WEIGHT, PIXELS / 255, ""),
    "pixels": (CONV, WEIGHT, PIXELS, "far larger .* try --preprocess imagenet, inception or unit"),
    "no pixels": (CONV, WEIGHT / 255, PIXELS / 255, "far smaller .* try --preprocess byte"),
    "pixels that it wants": (CONV, WEIGHT / 255, PIXELS, ""),
    "behind a border": (f"t = Cast<to=1>(x) {CONV.replace('x', 't')}", WEIGHT, PIXELS, "larger"),
    "channels last": (
        f"t = Transpose<perm=[0,3,1,2]>(x) {CONV.replace('x', 't')}", WEIGHT,
        PIXELS.transpose(0, 2, 3, 1), "larger",
    ),
    "hardly any details": (CONV, WEIGHT, np.full_like(PIXELS, 7.0), ""),
    "few channels": (CONV, WEIGHT[:15], PIXELS, ""),
    "no biases": ("y = Conv(x, w)", WEIGHT, PIXELS, ""),
    "another layer": ("y = Relu(x)", WEIGHT, PIXELS, ""),
}  # fmt: skip


@pytest.mark.parametrize(("body", "w", "x", "said"), SCALES.values(), ids=SCALES)
def test_numbers_of_another_size_than_the_network_s(
    body: str, w: np.ndarray, x: np.ndarray, said: str
) -> None:
    bias = RNG.standard_normal(len(w)) if "b)" in body else None
    told = odd_scale(first_layer(body, w, bias), x, 0.0, float(max(x.max(), 1)))
    assert bool(told) == bool(said)
    assert re.search(said, told)


def test_explain_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = {"w": WEIGHT, "b": RNG.standard_normal(16), "v": (16, 4)}
    body = "z = Conv(x, w, b) h = Relu(z) m = GlobalAveragePool(h) f = Flatten(m) y = MatMul(f, v)"
    write(tmp_path / "m.onnx", network(body, PIXELS.shape, **weights))
    Image.fromarray(PIXELS[0].transpose(1, 2, 0).astype(np.uint8)).save(tmp_path / "p.png")
    for preset, told in (("byte", True), ("unit", False)):
        asked = ("--preprocess", preset, "-o", str(tmp_path / "why.npz"))
        done = run_command(capsys, str(tmp_path / "m.onnx"), str(tmp_path / "p.png"), *asked)
        assert done.status == 0
        assert ("try --preprocess imagenet, inception or unit" in done.err) == told


def test_scores_that_are_infinite_print_no_warning_of_numpy() -> None:
    assert np.isnan(_probabilities(np.array([[np.inf, 0.0]]))).any()
