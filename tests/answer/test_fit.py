"""Pictures that were perhaps not prepared as the model wants them."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from lrp_onnx.answer.fit import bad_fits
from lrp_onnx.answer.inputs import Inputs
from lrp_onnx.data.implied import implied_preprocess
from lrp_onnx.data.preprocess import PRESETS
from lrp_onnx.run.explainer import Result

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
