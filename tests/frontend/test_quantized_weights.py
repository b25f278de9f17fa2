"""Weights in fewer bits than a byte, in blocks, or of newer types: relevance of their floats."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from models import assert_close
from onnx.reference import ReferenceEvaluator
from test_quantized import Row, explained, floats, model, ort_run
from test_quantized import test_relevance_is_that_of_the_floats as same_relevance

import lrp_onnx


def packed(q: np.ndarray, bits: int) -> np.ndarray:
    """Numbers along the last axis in bytes, the first in the lowest bits."""
    per = 8 // bits
    wide = np.pad(q, [(0, 0)] * (q.ndim - 1) + [(0, -q.shape[-1] % per)])
    parts = wide.reshape(*wide.shape[:-1], -1, per).astype(np.int64)
    return (parts << (bits * np.arange(per))).sum(-1).astype(np.uint8)


# the runtime has no kernel for 8 bits with zero points that are floats
@pytest.mark.parametrize(
    ("bits", "zeros"), [(4, "none"), (8, "none"), (4, "packed"), (8, "packed"), (4, "float")]
)
@pytest.mark.parametrize("columns", [32, 40])
def test_matmul_nbits(bits: int, zeros: str, columns: int) -> None:
    """The last block is cut at 40 columns; three blocks' 4-bit zero points leave half a byte."""
    rows, block = 3, 16
    blocks = -(-columns // block)
    rng = np.random.default_rng(bits)
    q = rng.integers(0, 1 << bits, (rows, blocks, block))
    scale = rng.uniform(0.01, 0.05, (rows, blocks)).astype(np.float32)
    zero = rng.integers(0, 1 << bits, (rows, blocks))
    if zeros == "none":
        zero = np.full_like(zero, 1 << (bits - 1))
    w = ((q - zero[..., None]) * scale[..., None]).reshape(rows, -1)[:, :columns]
    given = {"packed": packed(zero, bits), "float": zero.astype(np.float32)}.get(zeros)
    constants = {"w8": packed(q, bits), "ws": scale.reshape(-1), "b": np.float32([0.1, -0.2, 0.3]),
                 "w": w.T.astype(np.float32)}  # fmt: skip
    if given is not None:
        constants["zp"] = given.reshape(-1) if zeros == "packed" else given
    name = ", zp" if given is not None else ", "
    text = f"y = com.microsoft.MatMulNBits<K={columns}, N={rows}, bits={bits}, block_size={block}>"
    row = Row("nbits", f"{text}(x, w8, ws{name}, , b)", "y = Gemm(x, w, b)", (2, columns),
              constants=constants, dynamic=True)  # fmt: skip
    same_relevance(row, "epsilon")
    same_relevance(row, "zplus")


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_blocked_dequantization(dtype: type) -> None:
    """Blocks of 2 along axis 0, the last one cut."""
    rng = np.random.default_rng(1)
    w8 = rng.integers(0, 100, (4, 3)).astype(dtype)
    ws = rng.uniform(0.01, 0.05, (2, 3)).astype(np.float32)
    wz = rng.integers(0, 9, (2, 3)).astype(dtype)
    w = floats(w8, np.repeat(ws, 2, 0)[:4], np.repeat(wz, 2, 0)[:4])
    q = "f = DequantizeLinear<axis=0, block_size=2>(x, ws, wz)"
    proto = model(
        f"{q} y = Neg(f)",
        Row("", "", "", (4, 3), constants={"ws": ws, "wz": wz}, opset=21),
        {"x": w8},
    )
    compiled = lrp_onnx.compile(proto, composite="gradient", target="all", start="one")
    found = ort_run(compiled.model, {"x": w8})
    assert_close(found["y"], -w)
    assert_close(found["x_relevance"], -np.repeat(ws, 2, 0)[:4])


@pytest.mark.parametrize("dtype", ["INT2", "UINT2", "FLOAT4E2M1"])
def test_weights_of_a_newer_type(dtype: str) -> None:
    """Opset 25 has types that no opset up to 21 has."""
    element = onnx.helper.tensor_dtype_to_np_dtype(getattr(onnx.TensorProto, dtype))
    w = np.float32([[0, 1, -2, 1], [1, 0, 1, -1]] if dtype != "UINT2" else [[0, 1, 2, 3]] * 2)
    constants = {"w8": w.astype(element), "ws": np.float32([0.5, 1.0, 2.0, 0.1]),
                 "wz": np.zeros(4, element)}  # fmt: skip
    row = Row("", "", "", (1, 2), constants=constants, opset=25)
    x = np.float32([[0.7, -0.4]])
    proto = model("f = DequantizeLinear<axis=1>(w8, ws, wz) y = MatMul(x, f)", row, {"x": x})
    compiled = lrp_onnx.compile(proto, composite="gradient", target="all", start="one")
    evaluator, real = ReferenceEvaluator(compiled.model), w * constants["ws"]
    found = dict(zip(evaluator.output_names, evaluator.run(None, {"x": x}), strict=True))
    assert_close(found["y"], x @ real)  # ONNX Runtime rounds the activations beside such weights
    assert_close(found["x_relevance"], real.sum(1)[None])


def test_token_ids_into_a_table_of_4_bits() -> None:
    rng = np.random.default_rng(2)
    q = rng.integers(0, 16, (5, 32))
    ws = rng.uniform(0.1, 0.5, (5, 2)).astype(np.float32)
    zero = rng.integers(0, 16, (5, 2))
    table = ((q - np.repeat(zero, 16, 1)) * np.repeat(ws, 16, 1)).astype(np.float32)
    constants = {"t8": packed(q, 4), "ws": ws, "tz": packed(zero, 4), "t": table,
                 "w": rng.standard_normal((32, 3)).astype(np.float32)}  # fmt: skip
    ids = np.array([[0, 3, 1], [2, 2, 4]])
    name = "e = com.microsoft.GatherBlockQuantized<block_size=16, quantize_axis=1, bits=4>"
    row = Row("", f"{name}(t8, x, ws, tz) y = MatMul(e, w)", "e = Gather(t, x) y = MatMul(e, w)",
              (2, 3), constants=constants)  # fmt: skip
    found = explained(row.quantized, row, {"x": ids}, "epsilon")
    expected = explained(row.real, row, {"x": ids}, "epsilon")
    assert_close(found["x_relevance"], expected["x_relevance"])
