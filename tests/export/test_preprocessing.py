"""Pictures are prepared by a model as by Pillow and NumPy, to the last bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from PIL import Image

from lrp_onnx import InputError
from lrp_onnx.data.inputs import load_input
from lrp_onnx.data.preprocess import PRESETS, Preprocess
from lrp_onnx.export.preprocessing import PIXELS, preprocessing_model
from lrp_onnx.graph.arrays import Wanted

UNIT, IMAGENET, BYTE = PRESETS["unit"], PRESETS["imagenet"], PRESETS["byte"]
FLOAT, UINT8 = np.dtype(np.float32), np.dtype(np.uint8)
CASES = {
    "resize": (IMAGENET, Wanted("x", FLOAT, ("N", 3, 20, 30))),
    "bicubic": (replace(IMAGENET, interpolation="bicubic"), Wanted("x", FLOAT, (1, 3, 20, 30))),
    "nearest": (replace(UNIT, interpolation="nearest"), Wanted("x", FLOAT, (1, 3, 20, 30))),
    "crop": (replace(IMAGENET, fit="center-crop"), Wanted("x", FLOAT, ("N", 3, 24, 24))),
    "letterbox": (
        replace(UNIT, fit="letterbox", fill=(114.0, 3.0, 250.0)),
        Wanted("x", FLOAT, ("N", 3, 31, 32)),
    ),
    "one fill": (replace(UNIT, fit="letterbox", fill=(7.0,)), Wanted("x", FLOAT, (1, 3, 9, 32))),
    "BGR": (replace(PRESETS["inception"], order="BGR"), Wanted("x", FLOAT, (1, 3, 20, 30))),
    "last": (UNIT, Wanted("in put:0", FLOAT, (None, 20, 30, 3))),
    "gray": (UNIT, Wanted("x", FLOAT, (1, 1, 20, 30))),
    "gray box": (replace(UNIT, fit="letterbox"), Wanted("x", FLOAT, (1, 1, 20, 30))),
    "bytes": (BYTE, Wanted("x", UINT8, (1, 20, 30, 3))),
    "own size": (replace(UNIT, size=(20, 30)), Wanted("x", FLOAT, ("N", 3, "H", "W"))),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("size", [(61, 47), (40, 90), (13, 11), (30, 20)])
def test_as_pillow_does(case: str, size: tuple[int, int], tmp_path: Path) -> None:
    preprocess, want = CASES[case]
    width, height = size
    pixels = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "p.png")
    expected = load_input(tmp_path / "p.png", want.shape, want.dtype, preprocess, name=want.name)
    model = preprocessing_model(want, preprocess)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run([want.name], {PIXELS: pixels})
    assert found.dtype == expected.dtype
    # Pillow 13 resizes tall pictures along the height first, which rounds otherwise
    step = 2.01 * preprocess.scale / min(preprocess.std) if height > width else 0
    np.testing.assert_allclose(found.astype(float), expected.astype(float), rtol=0, atol=step)


@pytest.mark.parametrize(
    ("preprocess", "shape", "fact"),
    [
        (replace(UNIT, interpolation="lanczos"), (1, 3, 8, 8), "'lanczos' cannot be written"),
        (UNIT, (1, 3, "H", "W"), "its height and width are open"),
        (UNIT, (3, 8, 8), "no batch of pictures"),
    ],
)
def test_what_it_cannot_do_is_told(preprocess: Preprocess, shape: tuple, fact: str) -> None:
    with pytest.raises(InputError, match=fact):
        preprocessing_model(Wanted("x", FLOAT, shape), preprocess)
