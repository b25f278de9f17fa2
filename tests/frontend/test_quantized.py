"""Quantized models: relevance is that of the floats that the integers stand for.

Each row is one quantized network and the same one in floats; under `epsilon` and `zplus` the
relevance of both is the same, under `gradient` that of the integers is the scale times it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
import pytest
from models import assert_close, run
from onnx import helper, numpy_helper

import lrp_onnx

RNG = np.random.default_rng(7)
MICROSOFT = "com.microsoft"


def floats(q: np.ndarray, scale: np.ndarray, zero: np.ndarray | int) -> np.ndarray:
    return ((q.astype(np.int64) - np.asarray(zero).astype(np.int64)) * scale).astype(np.float32)


def weight(*shape: int, scale: float | list[float] = 0.02, axis: int | None = None) -> dict:
    """w8, ws, wz and what they stand for, w; one scale per entry of the axis, or one."""
    w8 = RNG.integers(-127, 128, shape).astype(np.int8)
    ws = np.asarray(scale, np.float32)
    wz = np.zeros(ws.shape, np.int8)
    shaped = ws if axis is None else ws.reshape([-1 if k == axis else 1 for k in range(len(shape))])
    return {"w8": w8, "ws": ws, "wz": wz, "w": floats(w8, shaped, 0)}


def bias(size: int, scale: float | list[float]) -> dict:
    """b32 in units of the product of scales, and its float value b."""
    b32 = RNG.integers(-300, 300, size).astype(np.int32)
    return {"b32": b32, "b": (b32 * np.asarray(scale)).astype(np.float32)}


X8 = {"xs": np.float32(0.04), "xz": np.uint8(120)}


V8 = {"vs": np.float32(0.03), "vz": np.uint8(100)}


Y8 = {"ys": np.float32(0.5), "yz": np.uint8(128)}


@dataclass
class Row:
    """A quantized network `quantized` of x8 (uint8) and the float one of x; `v8`, `v` likewise."""

    name: str
    quantized: str
    real: str
    x: tuple[int, ...]
    v: tuple[int, ...] | None = None
    constants: Mapping[str, object] = field(default_factory=dict)
    dynamic: bool = False
    """Whether the input is a float, quantized on the way."""
    opset: int = 18

    def __str__(self) -> str:
        return self.name

    def feeds(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """The integers, and the floats that they stand for."""
        rng = np.random.default_rng(3)
        quantized, real = {}, {}
        for name, shape, table in (("x", self.x, X8), ("v", self.v, V8)):
            if shape is None:
                continue
            q = rng.integers(0, 256, shape).astype(np.uint8)
            real[name] = floats(q, table[f"{name}s"], table[f"{name}z"])
            quantized[name if self.dynamic else f"{name}8"] = real[name] if self.dynamic else q
        return quantized, real


def model(text: str, row: Row, inputs: Mapping[str, np.ndarray]) -> onnx.ModelProto:
    graph = onnx.parser.parse_graph(f"g (float x) => (float y) {{ {text} }}")
    known = {**X8, **V8, **Y8, **row.constants}
    used = {name for node in graph.node for name in node.input}
    made = helper.make_graph(
        list(graph.node),
        "g",
        [helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
         for k, a in inputs.items()],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(a), k) for k, a in known.items() if k in used],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", row.opset), helper.make_opsetid(MICROSOFT, 1)]
    return helper.make_model(made, opset_imports=opsets, ir_version=10)


CONV = "q = QLinearConv{a} (x8, xs, xz, w8, ws, wz, ys, yz{b}) y = DequantizeLinear(q, ys, yz)"
MS = "com.microsoft."
ONE = "q = com.microsoft.{op}(x8, xs, xz, ys, yz) y = DequantizeLinear(q, ys, yz)"
TWO = "q = com.microsoft.{op}(x8, xs, xz, v8, vs, vz, ys, yz) y = DequantizeLinear(q, ys, yz)"
INTEGER = "d, ds, dz = DynamicQuantizeLinear(x) i = {op}(d, w8, dz, wz) f = Cast<to=1>(i) "
QDQ = "a = DequantizeLinear(x8, xs, xz) {body} q = QuantizeLinear(z, ys, yz) "
QDQ += "y = DequantizeLinear(q, ys, yz)"


PER_CHANNEL = [0.02, 0.03, 0.01]
FINE = {"ys": np.float32(1 / 255), "yz": np.uint8(0)}
ROWS = [
    Row("QLinearConv", CONV.format(a="", b=""), "y = Conv(x, w)", (2, 2, 5, 4),
        constants=weight(3, 2, 3, 2)),
    Row("QLinearConv-bias", CONV.format(a="<pads=[1,1,1,1], strides=[2,2]>", b=", b32"),
        "y = Conv<pads=[1,1,1,1], strides=[2,2]>(x, w, b)", (2, 2, 5, 4),
        constants={**weight(3, 2, 3, 2), **bias(3, 0.0008)}),
    Row("QLinearConv-per-channel", CONV.format(a="<group=3>", b=", b32"),
        "y = Conv<group=3>(x, w, b)", (1, 3, 4, 4),
        constants={**weight(3, 1, 2, 2, scale=PER_CHANNEL, axis=0),
                   **bias(3, [0.0008, 0.0012, 0.0004])}),
    Row("QLinearMatMul",
        "q = QLinearMatMul(x8, xs, xz, w8, ws, wz, ys, yz) y = DequantizeLinear(q, ys, yz)",
        "y = MatMul(x, w)", (2, 3, 4), constants=weight(4, 3)),
    Row("QLinearMatMul-per-column",
        "q = QLinearMatMul(x8, xs, xz, w8, ws, wz, ys, yz) y = DequantizeLinear(q, ys, yz)",
        "y = MatMul(x, w)", (2, 4), constants=weight(4, 3, scale=PER_CHANNEL, axis=1)),
    Row("QGemm",
        "q = com.microsoft.QGemm<transB=1>(x8, xs, xz, w8, ws, wz, b32, ys, yz) "
        "y = DequantizeLinear(q, ys, yz)", "y = Gemm<transB=1>(x, w, b)", (2, 4),
        constants={**weight(3, 4), **bias(3, 0.0008)}),
    Row("QGemm-float", "y = com.microsoft.QGemm<transB=1, alpha=0.5>(x8, xs, xz, w8, ws, wz, b32)",
        "g = Gemm<transB=1>(x, w, b) y = Mul(g, half)", (2, 4),
        constants={**weight(3, 4, scale=PER_CHANNEL, axis=0), "half": np.float32(0.5),
                   **bias(3, [0.0008, 0.0012, 0.0004])}),
    Row("QLinearAdd", TWO.format(op="QLinearAdd"), "y = Add(x, v)", (2, 3), (2, 3)),
    Row("QLinearMul", TWO.format(op="QLinearMul"), "y = Mul(x, v)", (2, 3), (1, 3)),
    Row("QLinearWhere",
        "q = com.microsoft.QLinearWhere(c, x8, xs, xz, v8, vs, vz, ys, yz) "
        "y = DequantizeLinear(q, ys, yz)", "y = Where(c, x, v)", (2, 3), (2, 3),
        constants={"c": np.array([[True, False, True]])}),
    Row("QLinearConcat",
        "q = com.microsoft.QLinearConcat<axis=1>(ys, yz, x8, xs, xz, v8, vs, vz) "
        "y = DequantizeLinear(q, ys, yz)", "y = Concat<axis=1>(x, v)", (2, 3), (2, 1)),
    Row("QLinearAveragePool",
        "q = com.microsoft.QLinearAveragePool<kernel_shape=[2,2], strides=[2,2]>"
        "(x8, xs, xz, ys, yz) y = DequantizeLinear(q, ys, yz)",
        "y = AveragePool<kernel_shape=[2,2], strides=[2,2]>(x)", (1, 2, 4, 4)),
    Row("QLinearGlobalAveragePool", ONE.format(op="QLinearGlobalAveragePool"),
        "y = GlobalAveragePool(x)", (2, 3, 2, 2)),
    Row("QLinearLeakyRelu",
        "q = com.microsoft.QLinearLeakyRelu<alpha=0.25>(x8, xs, xz, ys, yz) "
        "y = DequantizeLinear(q, ys, yz)", "y = LeakyRelu<alpha=0.25>(x)", (2, 3, 4)),
    Row("QLinearSigmoid",
        "q = com.microsoft.QLinearSigmoid(x8, xs, xz, ys, yz) z = DequantizeLinear(q, ys, yz) "
        "y = Neg(z)", "z = Sigmoid(x) y = Neg(z)", (2, 3), constants=FINE),
    Row("QLinearSoftmax",
        "q = com.microsoft.QLinearSoftmax<axis=-1, opset=13>(x8, xs, xz, ys, yz) "
        "z = DequantizeLinear(q, ys, yz) y = Neg(z)", "z = Softmax<axis=-1>(x) y = Neg(z)",
        (2, 4), constants=FINE),
    Row("QLinearSoftmax-last",  # relevance starts at the logits, behind both quantizers
        "q = com.microsoft.QLinearSoftmax<axis=-1, opset=13>(x8, xs, xz, ys, yz) "
        "y = DequantizeLinear(q, ys, yz)", "y = Softmax<axis=-1>(x)", (2, 4), constants=FINE),
    Row("MatMulInteger", INTEGER.format(op="MatMulInteger") + "s = Mul(ds, ws) y = Mul(f, s)",
        "y = MatMul(x, w)", (2, 4), constants=weight(4, 3), dynamic=True),
    Row("MatMulInteger-bias",
        INTEGER.format(op="MatMulInteger") + "s = Mul(ds, ws) m = Mul(f, s) y = Add(m, b)",
        "m = MatMul(x, w) y = Add(m, b)", (2, 3, 4), dynamic=True,
        constants={**weight(4, 3, scale=PER_CHANNEL, axis=1), **bias(3, 0.01)}),
    Row("ConvInteger-bias",
        INTEGER.format(op="ConvInteger<pads=[1,1,1,1]>")
        + "s = Mul(ds, ws) m = Mul(f, s) c = Reshape(b, over) y = Add(m, c)",
        "y = Conv<pads=[1,1,1,1]>(x, w, b)", (1, 2, 4, 4), dynamic=True,
        constants={**weight(3, 2, 3, 3), **bias(3, 0.01), "over": np.array([1, 3, 1, 1])}),
    Row("ConvInteger-rounded-bias",  # as older versions of the quantizer wrote it
        "d, ds, dz = DynamicQuantizeLinear(x) i = ConvInteger(d, w8, dz, wz) s = Mul(ds, ws) "
        "e = Div(b, s) r = Floor(e) t = Cast<to=6>(r) c = Reshape(t, over) k = Add(i, c) "
        "f = Cast<to=1>(k) y = Mul(f, s)", "y = Conv(x, w, b)", (1, 2, 4, 4), dynamic=True,
        constants={**weight(3, 2, 3, 3), **bias(3, 0.01), "over": np.array([1, 3, 1, 1])}),
    Row("ConvInteger-rounded-bias-of-its-own-scale",
        "d, ds, dz = DynamicQuantizeLinear(x) i = ConvInteger(d, w8, dz, wz) s = Mul(ds, ws) "
        "p = Mul(ws, ds) e = Div(b, p) r = Floor(e) t = Cast<to=6>(r) c = Reshape(t, over) "
        "k = Add(i, c) f = Cast<to=1>(k) y = Mul(f, s)", "y = Conv(x, w, b)", (1, 2, 4, 4),
        constants={**weight(3, 2, 3, 3), **bias(3, 0.01), "over": np.array([1, 3, 1, 1])},
        dynamic=True),
    Row("MatMulInteger-alone",
        "i = MatMulInteger(x8, w8, xz, wz) f = Cast<to=1>(i) n = Relu(f) y = Mul(n, k)",
        "m = MatMul(x, w) y = Relu(m)", (2, 4),
        constants={**weight(4, 3), "k": np.float32(0.04 * 0.02)}),
    Row("MatMulIntegerToFloat", "y = com.microsoft.MatMulIntegerToFloat(x8, w8, xs, ws, xz, wz, b)",
        "m = MatMul(x, w) y = Add(m, b)", (2, 4),
        constants={**weight(4, 3, scale=PER_CHANNEL, axis=1), **bias(3, 0.01)}),
    Row("DynamicQuantizeMatMul", "y = com.microsoft.DynamicQuantizeMatMul(x, w8, ws, wz, b)",
        "m = MatMul(x, w) y = Add(m, b)", (2, 4), dynamic=True,
        constants={**weight(4, 3), **bias(3, 0.01)}),
    Row("QDQ-Conv",
        QDQ.format(body="f = DequantizeLinear(w8, ws, wz) g = DequantizeLinear(b32, bs, bz) "
                        "c = Conv<pads=[1,1,1,1]>(a, f, g) z = Relu(c)"),
        "c = Conv<pads=[1,1,1,1]>(x, w, b) y = Relu(c)", (1, 2, 4, 4),
        constants={**weight(3, 2, 3, 3), **bias(3, 0.0008), "bs": np.float32(0.0008),
                   "bz": np.int32(0)}),
    Row("QDQ-per-axis",
        QDQ.format(body="f = DequantizeLinear<axis=0>(w8, ws, wz) z = Conv(a, f)"),
        "y = Conv(x, w)", (1, 2, 4, 4),
        constants=weight(3, 2, 3, 3, scale=PER_CHANNEL, axis=0)),
    Row("QDQ-Add",
        "a = DequantizeLinear(x8, xs, xz) c = DequantizeLinear(v8, vs, vz) z = Add(a, c) "
        "q = QuantizeLinear(z, ys, yz) y = DequantizeLinear(q, ys, yz)",
        "y = Add(x, v)", (2, 3), (2, 3)),
    Row("QDQ-shared",  # one dequantized tensor read twice, by a copied chain and by a float node
        "a = DequantizeLinear(x8, xs, xz) p = MaxPool<kernel_shape=[2]>(a) "
        "q = QuantizeLinear(p, xs, xz) e = DequantizeLinear(q, xs, xz) "
        "r = Slice(a, start, end, axes) y = Add(e, r)",
        "p = MaxPool<kernel_shape=[2]>(x) r = Slice(x, start, end, axes) y = Add(p, r)",
        (1, 2, 6), constants={"start": np.array([0]), "end": np.array([5]),
                              "axes": np.array([2])}),
    Row("MaxPool-of-integers",
        "p = MaxPool<kernel_shape=[3], strides=[2], pads=[1,1]>(x8) "
        "y = DequantizeLinear(p, xs, xz)",
        "y = MaxPool<kernel_shape=[3], strides=[2], pads=[1,1]>(x)", (1, 2, 6)),
    Row("weight-only", "f = DequantizeLinear<axis=1>(w8, ws, wz) y = MatMul(x, f)",
        "y = MatMul(x, w)", (2, 4), dynamic=True,
        constants=weight(4, 3, scale=PER_CHANNEL, axis=1)),
    Row("weight-only-Cast", "f = Cast<to=1>(w8) g = Mul(f, ws) y = Gemm(x, g, b)",
        "y = Gemm(x, w, b)", (2, 4), dynamic=True,
        constants={**weight(4, 3), **bias(3, 0.01)}),
]  # fmt: skip


def explained(text: str, row: Row, feeds: dict[str, np.ndarray], composite: str) -> dict:
    compiled = lrp_onnx.compile(
        model(text, row, feeds), composite=composite, target="seed", start="one", check=False
    )
    names = [o.name for o in compiled.model.graph.output]
    size = next(iter(ort_run(model(text, row, feeds), feeds).values())).shape
    seed = np.random.default_rng(0).standard_normal(size).astype(np.float32)
    outputs = ort_run(compiled.model, {**feeds, "y_seed": seed})
    return {n: outputs[n] for n in names}


def ort_run(proto: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return run(proto, feeds, exact_integers=True)


@pytest.mark.parametrize("composite", ["epsilon", "zplus", "gradient"])
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_relevance_is_that_of_the_floats(row: Row, composite: str) -> None:
    quantized, real = row.feeds()
    found = explained(row.quantized, row, quantized, composite)
    expected = explained(row.real, row, real, composite)
    own = ort_run(model(row.quantized, row, quantized), quantized)["y"]
    assert_close(found["y"], own)
    step = {**Y8, **row.constants}["ys"]
    spread = np.abs(found["y"] - expected["y"]).max()
    assert spread <= (np.ptp(expected["y"]) / 100 if row.dynamic else 1.01 * step), "not the same"
    for q, x in zip(quantized, real, strict=True):
        integer = composite == "gradient" and not row.dynamic
        factor = {**X8, **V8}[f"{x}s"] if integer else 1
        assert_close(found[f"{q}_relevance"], factor * expected[f"{x}_relevance"], 2e-5, q)


@pytest.mark.parametrize("axis", [None, 1])
def test_gradient_stops_where_a_quantizer_saturates(axis: int | None) -> None:
    scale = np.float32(0.01) if axis is None else np.float32([0.01, 0.02, 0.01])
    zero = np.zeros(scale.shape, np.uint8)
    attribute = "" if axis is None else "<axis=1>"
    text = f"q = QuantizeLinear{attribute}(x, s, z) y = DequantizeLinear{attribute}(q, s, z)"
    x = np.float32([[-1.0, 0.5, 3.0], [1.0, 5.05, 2.0]])
    row = Row("", "", "", (2, 3), constants={"s": scale, "z": zero})
    compiled = lrp_onnx.compile(
        model(text, row, {"x": x}), composite="gradient", target="all", start="one"
    )
    inside = (x >= 0) & (x <= 255 * scale)
    assert_close(ort_run(compiled.model, {"x": x})["x_relevance"], inside.astype(np.float32))
    assert any("straight through" in warning for warning in compiled.warnings)
