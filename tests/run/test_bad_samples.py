"""One bad input among many: what came before it is there, and it is named."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from onnx import parser

import lrp_onnx
from lrp_onnx.data.inputs import load_input
from lrp_onnx.errors import InputError

MODEL = parser.parse_model(
    '<ir_version: 8, opset_import: ["" : 17]> g (float[N,4] x) => (float[N,2] y) '
    "<float[4,2] w={1,2,3,4,5,6,7,8}> { y = MatMul(x, w) }"
)
GOOD = np.ones((1, 4), np.float32)


@pytest.fixture(scope="module")
def explainer() -> lrp_onnx.Explainer:
    return lrp_onnx.Explainer(lrp_onnx.compile(MODEL))


@pytest.mark.parametrize("bad", [np.ones((1, 5), np.float32), GOOD * np.nan], ids=["size", "NaN"])
def test_what_comes_before_a_bad_input_is_not_lost(
    explainer: lrp_onnx.Explainer, bad: np.ndarray
) -> None:
    results = explainer.many([GOOD, 2 * GOOD, bad, GOOD], batch=8)
    assert next(results).relevance["x"].shape == (1, 4)
    assert next(results).relevance["x"].shape == (1, 4)
    with pytest.raises(InputError, match="'x'"):
        next(results)


def test_not_a_number_is_said(explainer: lrp_onnx.Explainer) -> None:
    with pytest.raises(InputError, match="input 'x' holds NaN at"):
        explainer(GOOD * np.nan)


def lying() -> bytes:
    """An array file whose header claims 10 TB."""
    buffer = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": (2_500_000_000_000,)}
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue() + bytes(64)


@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_a_header_that_lies_is_not_believed(kind: str, tmp_path: Path) -> None:
    file = tmp_path / f"lie.{kind}"
    if kind == "npy":
        file.write_bytes(lying())
    else:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("x.npy", lying())
    with pytest.raises(InputError, match="claims 10000000000000 bytes"):
        load_input(file, [4], np.dtype(np.float32), name="x")
