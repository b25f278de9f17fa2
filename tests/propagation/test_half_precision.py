"""Half precision: relevance is computed in float32, so nothing inside overflows or loses its ε."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from models import assert_close, model_of, network, run
from onnx import TensorProto, helper, numpy_helper

import lrp_onnx

RNG = np.random.default_rng(17)


def drawn(*shape: int, scale: float = 0.4) -> np.ndarray:
    """Random weights that float16 holds exactly."""
    return (RNG.standard_normal(shape) * scale).astype(np.float16).astype(np.float32)


@dataclass
class Row:
    """A network by its text, its input's shape, its weights; `times` scales the input."""

    name: str
    body: str
    x: tuple[int, ...]
    constants: dict[str, Any] = field(default_factory=dict)
    times: float = 1.0
    composites: tuple[str, ...] = ("epsilon", "zplus", "gradient")
    tolerance: float = 5e-3
    """The forward's activations are rounded to 11 bits."""

    def __str__(self) -> str:
        return self.name

    def feed(self) -> np.ndarray:
        rng = np.random.default_rng(4)
        return (rng.standard_normal(self.x) * self.times).astype(np.float16)

    def model(self) -> onnx.ModelProto:
        return network(self.body, self.x, **self.constants)


def in_half(proto: onnx.ModelProto, kind: int = TensorProto.FLOAT16) -> onnx.ModelProto:
    """The same model with every float weight, input and output of that type."""
    made = onnx.ModelProto()
    made.CopyFrom(proto)
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    for tensor in made.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and tensor.name != "scales":
            array = numpy_helper.to_array(tensor).astype(dtype)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    for value in (*made.graph.input, *made.graph.output):
        value.type.tensor_type.elem_type = kind
    del made.graph.value_info[:]
    onnx.checker.check_model(made, full_check=True)
    return made


ATTENTION = (
    "q = MatMul(x, wq) k = MatMul(x, wk) v = MatMul(x, wv) t = Transpose<perm=[0,2,1]>(k) "
    "s = MatMul(q, t) d = Mul(s, scale) a = Softmax<axis=-1>(d) y = MatMul(a, v)"
)
HEADS = {"wq": drawn(4, 4), "wk": drawn(4, 4), "wv": drawn(4, 4), "scale": np.float32(0.5)}

SPELLED = (
    "m = ReduceMean(x, ax) d = Sub(x, m) q = Mul(d, d) v = ReduceMean(q, ax) e = Add(v, eps) "
    "r = Sqrt(e) n = Div(d, r)"
)

ROWS = [
    Row("network", "c = Conv<pads=[1,1,1,1]>(x, w, b) r = Relu(c) p = MaxPool<kernel_shape=[2,2], "
        "strides=[2,2]>(r) f = Flatten(p) y = Gemm(f, v, c2)", (2, 2, 4, 4),
        {"w": drawn(3, 2, 3, 3), "b": drawn(3), "v": drawn(12, 3), "c2": drawn(3)},
        composites=("epsilon", "epsilon-plus-flat", "gamma", "alpha2-beta1", "gradient")),
    Row("batchnorm", "c = Conv(x, w) n = BatchNormalization(c, g, b, m, v) r = Relu(n) "
        "y = GlobalAveragePool(r)", (2, 2, 4, 4),
        {"w": drawn(3, 2, 2, 2), "g": drawn(3), "b": drawn(3), "m": drawn(3),
         "v": np.float32([0.5, 1, 2])}),
    Row("layernorm", "n = LayerNormalization<axis=-1>(x, g, b) y = MatMul(n, w)", (2, 3, 4),
        {"g": drawn(4), "b": drawn(4), "w": drawn(4, 3)}, composites=("epsilon", "attnlrp")),
    Row("attention", ATTENTION, (2, 3, 4), HEADS, composites=("epsilon", "attnlrp", "gradient")),
    Row("gelu", "h = MatMul(x, w) e = Div(h, root) f = Erf(e) p = Add(f, one) m = Mul(h, p) "
        "y = Mul(m, half)", (2, 4),
        {"w": drawn(4, 3), "root": np.float32(np.sqrt(2)), "one": np.float32(1),
         "half": np.float32(0.5)}),
    Row("silu", "h = MatMul(x, w) s = Sigmoid(h) y = Mul(h, s)", (2, 4), {"w": drawn(4, 3)}),
    Row("branches", "a = MatMul(x, w) b = Tanh(a) c = Concat<axis=1>(b, x) d = Slice(c, st, en, ax)"
        " e = Sub(d, x) m = Mul(d, x) y = Add(e, m)", (2, 4),
        {"w": drawn(4, 4), "st": [2], "en": [6], "ax": [1]}),
    Row("quotient", "a = MatMul(x, w) q = Mul(a, a) s = ReduceSum<keepdims=1>(q, ax) r = Sqrt(s) "
        "y = Div(a, r)", (2, 4), {"w": drawn(4, 3), "ax": [1]}, composites=("epsilon", "zplus")),
    Row("einsum", 'y = Einsum<equation="bij,jk->bik">(x, w)', (2, 3, 4), {"w": drawn(4, 2)}),
    Row("resize", 'c = Conv(x, w) y = Resize<mode="linear">(c, , scales)', (1, 2, 3, 3),
        {"w": drawn(2, 2, 1, 1), "scales": np.float32([1, 1, 2, 2])}),
    Row("averages", "a = AveragePool<kernel_shape=[2,2]>(x) r = ReduceMean<keepdims=0>(a, ax) "
        "y = MatMul(r, w)", (2, 3, 4, 4), {"ax": [2, 3], "w": drawn(3, 2)}),
    Row("transposed", "y = ConvTranspose<strides=[2,2]>(x, w, b)", (1, 2, 3, 3),
        {"w": drawn(2, 3, 3, 3), "b": drawn(3)}, composites=("epsilon", "zplus", "gamma")),
    Row("masked attention", ATTENTION.replace("Softmax<axis=-1>(d)", "Softmax(e)").replace(
            " a =", " e = Add(d, m) a ="),
        (2, 3, 4), {**HEADS, "m": np.where(np.tri(3) > 0, 0, -np.inf).astype(np.float32)},
        composites=("attnlrp", "cp-lrp", "gradient")),
    Row("norm of channels", f"{SPELLED} h = Mul(n, g) k = Add(h, b) y = Conv(k, w)", (2, 3, 4, 4),
        {"g": drawn(3, 1, 1), "b": drawn(3, 1, 1), "w": drawn(2, 3, 1, 1), "ax": [1],
         "eps": np.float32(0.01)}, composites=("epsilon", "attnlrp", "gradient"), tolerance=1e-2),
    Row("groupnorm", "a = Reshape(x, gr) i = InstanceNormalization(a, one, zero) s = Shape(x) "
        "c = Reshape(i, s) h = Mul(c, g) k = Add(h, b) y = Conv(k, w)", (2, 4, 3, 3),
        {"g": drawn(4, 1, 1), "b": drawn(4, 1, 1), "w": drawn(2, 4, 1, 1), "gr": [0, 2, -1],
         "one": np.ones(2, np.float32), "zero": np.zeros(2, np.float32)},
        composites=("epsilon", "attnlrp", "gradient"), tolerance=1e-2),
    # activations near 65504, the largest float16
    Row("large", "h = Gemm(x, w) r = Relu(h) y = Gemm(r, v)", (2, 4),
        {"w": np.abs(drawn(4, 3)), "v": np.abs(drawn(3, 2))}, times=20000,
        composites=("epsilon", "zplus", "gamma", "alpha2-beta1")),
    Row("large-squares", "h = Gemm(x, w) n = LayerNormalization<axis=-1>(h, g) y = Gemm(n, v)",
        (2, 4), {"w": np.abs(drawn(4, 3)), "g": drawn(3), "v": drawn(3, 2)}, times=9000,
        composites=("epsilon", "attnlrp"), tolerance=1e-2),  # a mean taken off rounded numbers
    # z around 1e-6, where float16 has steps of 6e-8: ε counts as it does in float32
    Row("small", "y = Gemm(x, w)", (2, 4), {"w": drawn(4, 3, scale=2e-3)}, times=1e-3,
        tolerance=1e-3),
]  # fmt: skip

CASES = [pytest.param(row, c, id=f"{row}-{c}") for row in ROWS for c in row.composites]


def explained(proto: onnx.ModelProto, composite: str, x: np.ndarray) -> dict[str, np.ndarray]:
    """Outputs by name under a random starting relevance of every entry."""
    compiled = lrp_onnx.compile(proto, composite=composite, target="seed", start="one")
    y = run(proto, {"x": x})["y"]
    seed = np.random.default_rng(0).standard_normal(y.shape).astype(np.float32)
    return run(compiled.model, {"x": x, "y_seed": seed})


@pytest.mark.parametrize(("row", "composite"), CASES)
def test_relevance_of_half_is_that_of_single(row: Row, composite: str) -> None:
    x = row.feed()
    found = explained(in_half(row.model()), composite, x)
    single = explained(row.model(), composite, x.astype(np.float32))
    assert found["x_relevance"].dtype == np.float16
    relevance = found["x_relevance"].astype(np.float32)
    assert_close(relevance, single["x_relevance"], row.tolerance)


def test_sums_above_the_largest_half_stay_finite() -> None:
    """The hidden unit has relevance 240,000; the eight inputs share it."""
    x = np.full((1, 8), 100, np.float16)
    weights = {"w": np.full((8, 1), 50, np.float32), "v": np.full((1, 4), 1.5, np.float32)}
    proto = in_half(network("h = Gemm(x, w) r = Relu(h) y = Gemm(r, v)", (1, 8), **weights))
    compiled = lrp_onnx.compile(proto, composite="epsilon", target="all")
    found = run(compiled.model, {"x": x})["x_relevance"].astype(np.float32)
    assert_close(found, np.full((1, 8), 30000, np.float32), 1e-3)


def test_bfloat16_by_the_reference_evaluator() -> None:
    """ONNX Runtime's CPU provider has no kernels for it."""
    row = Row("", "h = Gemm(x, w, b) r = Relu(h) y = Gemm(r, v)", (2, 4),
              {"w": drawn(4, 3), "b": drawn(3), "v": drawn(3, 2)})  # fmt: skip
    x = row.feed().astype(ml_dtypes.bfloat16)
    weights = {k: v.astype(ml_dtypes.bfloat16).astype(np.float32) for k, v in row.constants.items()}
    rounded = network(row.body, row.x, **weights)
    compiled = lrp_onnx.compile(
        in_half(rounded, TensorProto.BFLOAT16), composite="epsilon", target="all", start="one"
    )
    names = [o.name for o in compiled.model.graph.output]
    values = onnx.reference.ReferenceEvaluator(compiled.model).run(None, {"x": x})
    found = dict(zip(names, values, strict=True))["x_relevance"]
    assert found.dtype == ml_dtypes.bfloat16
    single = lrp_onnx.compile(rounded, composite="epsilon", target="all", start="one")
    expected = run(single.model, {"x": x.astype(np.float32)})["x_relevance"]
    assert_close(found.astype(np.float32), expected, 2e-2)


ISLANDS = {
    "half inside": "a = MatMul(x, w) h = Cast<to=10>(a) r = Relu(h) m = MatMul(r, k) "
                   "f = Cast<to=1>(m) y = MatMul(f, v)",
    "half weights": "g = Cast<to=1>(k) a = MatMul(x, w) r = Relu(a) m = MatMul(r, g) "
                    "y = MatMul(m, v)",
}  # fmt: skip


@pytest.mark.parametrize("body", ISLANDS.values(), ids=ISLANDS)
@pytest.mark.parametrize("composite", ["epsilon", "zplus", "gamma"])
def test_islands_of_half(body: str, composite: str) -> None:
    """Parts of the model in float16 between Casts, or only its weights."""
    nodes = onnx.parser.parse_graph(f"g (float x) => (float y) {{ {body} }}").node
    for node in nodes:
        node.name = node.output[0]
    k = drawn(3, 3)
    weights = {"w": drawn(4, 3), "v": drawn(3, 2)}
    proto = model_of(list(nodes), {**weights, "k": k.astype(np.float16)}, {"x": (2, 4)})
    single = network("a = MatMul(x, w) r = Relu(a) m = MatMul(r, k) y = MatMul(m, v)", (2, 4),
                     **weights, k=k)  # fmt: skip
    x = RNG.standard_normal((2, 4)).astype(np.float32)
    found = explained(proto, composite, x)["x_relevance"]
    assert_close(found, explained(single, composite, x)["x_relevance"], 5e-3)
