"""ONNX Runtime ends the process on a Cast, a Transpose and a MatMul; compiled files avoid that."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from models import assert_close, network, run

import lrp_onnx

OPEN = """
import sys, onnxruntime
onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
"""


def model_with(casts: str) -> onnx.ModelProto:
    """Products in half precision, of a batch that is turned."""
    first, second = {"one": ("", "x"), "two": ("h = Cast<to=10>(x) ", "h")}[casts]
    turned = f"{first}c = Cast<to=10>({second}) t = Transpose<perm=[1,0,2]>(c) "
    body = f"{turned} v = Cast<to=10>(w) z = MatMul(t, v) y = Cast<to=1>(z)"
    return network(body, ("N", 7, 6), w=np.ones((6, 8), np.float32))


@pytest.mark.parametrize("casts", ["one", "two"])
def test_a_compiled_file_opens(casts: str, tmp_path: Path) -> None:
    model = model_with(casts)
    compiled = lrp_onnx.compile(model, "epsilon", check=False)
    compiled.save(tmp_path / "c.onnx")
    done = subprocess.run([sys.executable, "-c", OPEN, tmp_path / "c.onnx"], capture_output=True)
    assert done.returncode == 0, done.stderr
    x = np.random.default_rng(0).standard_normal((2, 7, 6)).astype(np.float32)
    expected = np.swapaxes(x, 0, 1).astype(np.float16).astype(np.float32) @ np.ones((6, 8))
    assert_close(run(compiled.model, {"x": x})["y"], expected, 2e-3)
