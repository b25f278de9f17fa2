"""Elementwise operators beyond the rows of test_vjp: special values, other dtypes, what is refused.

Each vector-Jacobian product is compared with central differences of the forward in float64.
"""

from __future__ import annotations

import math

import numpy as np
import onnx
import pytest
from models import model_of, network, run
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import lrp_onnx
from lrp_onnx.errors import UnsupportedError

LARGE = np.array([1e4, 5e3, 88.0, 20.0, 3.5, 1e-4, 0.0], np.float32)
POINTS = np.concatenate([-LARGE, LARGE])[:, None]
STABLE = [
    "Relu", "LeakyRelu", "Elu", "Selu", "Celu", "HardSigmoid", "Tanh", "Softplus", "Softsign",
    "HardSwish", "Mish", "ThresholdedRelu", "Shrink", "Erf", "Gelu", 'Gelu<approximate="tanh">',
    "Abs", "Sqrt", "Atan", "Asinh", "Sin", "Cos", "Neg", "Identity",
]  # fmt: skip


def compiled_gradient(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model compiled for the gradient of its whole output, checked in full."""
    compiled = lrp_onnx.compile(
        model, composite="gradient", target="all", start="one", check=False
    ).model
    onnx.checker.check_model(compiled, full_check=True)
    return compiled


def gradient(model: onnx.ModelProto, **feeds: np.ndarray) -> dict[str, np.ndarray]:
    """Outputs of the compiled model."""
    return run(compiled_gradient(model), feeds)


def elementwise(body: str, x: np.ndarray, opset: int = 18, **constants: object) -> np.ndarray:
    """The gradient of `y = body` at each element of x, behind a Relu-free final node."""
    nodes = onnx.parser.parse_graph(f"g (float x) => (float y) {{ {body} y = Neg(h) }}").node
    drawn = {k: np.asarray(v) for k, v in constants.items()}
    model = model_of(nodes, drawn, {"x": x.shape}, (0,), opset)
    return -gradient(model, x=x)["x_relevance"]


@pytest.mark.parametrize("op", STABLE)
def test_derivatives_stay_finite(op: str) -> None:
    with np.errstate(all="ignore"):
        found = elementwise(f"h = {op}(x)", POINTS, opset=20)
    inside = np.ones_like(POINTS, bool) if op != "Sqrt" else POINTS >= 0
    assert np.isfinite(found[inside]).all()
    assert np.abs(found[inside]).max() <= 100


@pytest.mark.parametrize(
    ("op", "left", "right"),
    [("Gelu", 0, 1), ('Gelu<approximate="tanh">', 0, 1), ("Mish", 0, 1), ("HardSwish", 0, 1),
     ("Softplus", 0, 1), ("Erf", 0, 0), ("Tanh", 0, 0), ("Elu", 0, 1), ("Celu", 0, 1),
     ("Shrink", 1, 1), ("Abs", -1, 1)],
)  # fmt: skip
def test_derivatives_far_out(op: str, left: float, right: float) -> None:
    found = elementwise(f"h = {op}(x)", np.array([[-1e4], [1e4]], np.float32), opset=20)
    np.testing.assert_allclose(found.ravel(), [left, right], atol=1e-6)


@pytest.mark.parametrize(
    ("body", "at", "expected"),
    [
        ("h = Relu(x)", [0], [0]),
        ("h = LeakyRelu<alpha=0.25>(x)", [0], [0.25]),
        ("h = PRelu(x, c)", [0], [2]),
        ("h = Abs(x)", [0], [0]),
        ("h = Sqrt(x)", [0], [0]),
        ("h = Asin(x)", [1, -1], [0, 0]),
        ("h = Clip(x, zero, c)", [0, 2, 1], [0, 0, 1]),  # ends are the flat side's
        ("h = Clip(x, c, zero)", [0, 1, 3], [0, 0, 0]),  # min > max
        ("h = HardSigmoid<alpha=0.5, beta=0.5>(x)", [-1, 1, 0], [0, 0, 0.5]),
        ("h = HardSwish(x)", [-3, 3, 0], [0, 1, 0.5]),
        ("h = ThresholdedRelu(x)", [1], [0]),
        ("h = Shrink(x)", [0.5, -0.5, 0.75], [0, 0, 1]),
        ("h = Elu<alpha=2.0>(x)", [0], [2]),
        ("h = Max(x, c)", [2, 3, 1], [0, 1, 0]),
        ("h = Min(c, x)", [2, 3, 1], [0, 0, 1]),
        ("h = Pow(x, c)", [0, -2, 3], [0, -4, 6]),
        ("h = Pow(x, zero)", [0, -2, 3], [0, 0, 0]),
        ("h = Pow(x, half)", [0, 4], [0, 0.25]),
        ("h = Pow(x, three)", [0, -2], [0, 12]),  # an exponent of integers
        ("h = Pow(c, x)", [0, 1], [math.log(2), 2 * math.log(2)]),
        ("h = Pow(zero, x)", [1, 2], [0, 0]),
        ("h = Where(yes, x, c)", [5], [1]),
        ("h = Where(yes, c, x)", [5], [0]),
        ("h = Sub(c, x)", [5], [-1]),
        ("h = Div(c, x)", [4], [-0.125]),
        ("h = CastLike(x, c)", [4], [1]),
        ("h = Dropout(x, half, no)", [4], [1]),
        ("h = Dropout(x, zero, yes)", [4], [1]),
    ],
    ids=str,
)  # fmt: skip
def test_derivative_at_points(body: str, at: list[float], expected: list[float]) -> None:
    constants = {"zero": np.float32(0), "c": np.float32(2), "half": np.float32(0.5),
                 "three": np.int64(3), "yes": np.array(True), "no": np.array(False)}  # fmt: skip
    found = elementwise(body, np.array(at, np.float32)[:, None], **constants)
    np.testing.assert_allclose(found.ravel(), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("op", ["Sin", "Cos", "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh",
                                "Asinh", "Acosh", "Atanh", "Log", "Sqrt", "Exp", "Reciprocal",
                                "Sigmoid", "Erf", "Tanh", "Gelu", "Mish", "Softplus"])  # fmt: skip
def test_derivative_is_the_slope(op: str) -> None:
    x = np.linspace(0.07, 0.93, 9, dtype=np.float32)[:, None] + np.float32(op == "Acosh")
    wide, step = x.astype(float), 1e-5
    expected = (FORWARD[op](wide + step) - FORWARD[op](wide - step)) / (2 * step)
    np.testing.assert_allclose(elementwise(f"h = {op}(x)", x, opset=20), expected, rtol=1e-5)


FORWARD = {
    **{name: getattr(np, "arc" + name[1:].lower() if name[0] == "A" else name.lower())
       for name in ("Sin", "Cos", "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Asinh", "Acosh",
                    "Atanh", "Log", "Sqrt", "Exp", "Reciprocal", "Tanh")},
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "Erf": np.vectorize(math.erf),
    "Gelu": lambda x: x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2,
    "Softplus": lambda x: np.log1p(np.exp(x)),
    "Mish": lambda x: x * np.tanh(np.log1p(np.exp(x))),
}  # fmt: skip


@pytest.mark.parametrize(("op", "expected"), [("Max", [2, -2, -2, 2]), ("Min", [-2, 2, -2, -2])])
def test_of_equals_the_first_wins(op: str, expected: list[float]) -> None:
    body = f"b = Mul(x, two) c = Neg(b) h = {op}(c, x, b) y = Mul(h, one)"
    model = network(body, (1, 4), two=2.0, one=1.0)
    found = gradient(model, x=np.array([[2, -1, 0, 3]], np.float32))["x_relevance"]
    np.testing.assert_array_equal(found, [expected])  # at 0 all are equal, and c is the first


def test_a_constant_wins_ties() -> None:
    model = network("a = Relu(x) h = Max(a, x, zero) y = Neg(h)", (1, 3), zero=0.0)
    found = gradient(model, x=np.array([[-1, 0, 2]], np.float32))["x_relevance"]
    np.testing.assert_array_equal(found, [[0, 0, -1]])


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("shape", [(2, 5, 3, 2), (1, 3, 4), (3, 2)])
def test_lrn(size: int, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(size)
    x, seed = rng.standard_normal(shape), rng.standard_normal(shape).astype(np.float32)
    expected = np.zeros(shape)
    for index in np.ndindex(shape):
        shift = np.zeros(shape)
        shift[index] = 1e-6
        expected[index] = np.sum(seed * (lrn(x + shift, size) - lrn(x - shift, size))) / 2e-6
    body = f"h = LRN<size={size}, alpha=0.8, beta=0.6, bias=1.5>(x) y = Mul(h, seed)"
    nodes = onnx.parser.parse_graph(f"g (float x) => (float y) {{ {body} }}").node
    model = model_of(nodes, {"seed": seed}, {"x": shape}, tuple({0, len(shape) - 1} - {1}))
    compiled = compiled_gradient(model)
    feeds = {"x": x.astype(np.float32), "h": lrn(x, size).astype(np.float32)}
    found = run(given(compiled, "h", shape), feeds)["x_relevance"]
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def lrn(x: np.ndarray, size: int) -> np.ndarray:
    """The row's LRN-13 in float64."""
    before, behind = (size - 1) // 2, size // 2
    squares = [np.sum(x[:, max(c - before, 0) : c + behind + 1] ** 2, 1) for c in range(x.shape[1])]
    return x / (1.5 + 0.8 / size * np.stack(squares, 1)) ** 0.6


def given(model: onnx.ModelProto, tensor: str, shape: tuple[int, ...]) -> onnx.ModelProto:
    """The model with a tensor fed in: ONNX Runtime's LRN has only odd sizes and 4 axes."""
    model.graph.node.remove(next(n for n in model.graph.node if tensor in n.output))
    model.graph.input.append(helper.make_tensor_value_info(tensor, TensorProto.FLOAT, shape))
    return model


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4), (2, 3, 2, 2), (1, 3, 2, 2, 2)])
def test_batch_normalization(shape: tuple[int, ...]) -> None:
    scale, variance = np.array([1, -2, 0.5], np.float32), np.array([0.5, 1, 2], np.float32)
    model = network(
        "h = BatchNormalization<epsilon=0.1>(x, s, m, m, v) y = Neg(h)",
        shape, s=scale, m=np.zeros(3, np.float32), v=variance,
    )  # fmt: skip
    found = gradient(model, x=np.ones(shape, np.float32))["x_relevance"]
    slope = np.reshape(-scale / np.sqrt(variance + 0.1), (3, *[1] * (len(shape) - 2)))
    np.testing.assert_allclose(found, np.broadcast_to(slope, shape), rtol=1e-6)


def typed(body: str, dtypes: str, **constants: object) -> onnx.ModelProto:
    """A model x -> y of the two element types given, from ONNX text."""
    source, result = dtypes.split()
    text = f"g ({source}[N, 2] x) => ({result}[N, 2] y) {{ {body} }}"
    graph = onnx.parser.parse_graph(text)
    graph.initializer.extend(
        numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@pytest.mark.parametrize(
    ("body", "dtypes"),
    [
        ("a = Cast<to=11>(x) b = Tanh(a) c = Cast<to=1>(b) y = Sin(c)", "float float"),
        ("a = Cast<to=1>(x) b = Tanh(a) c = Cast<to=11>(b) y = Sin(c)", "double double"),
        ("a = Cast<to=1>(x) b = Tanh(a) c = Cast<to=10>(b) y = Sin(c)", "float16 float16"),
        ("a = Tanh(x) y = Sin(a)", "double double"),
        ("a = Tanh(x) y = Sin(a)", "float16 float16"),
        ("a = Cast<to=1>(x) b = Tanh(a) y = Sin(b)", "int64 float"),
        ("a = Neg(x) b = Cast<to=1>(a) c = Tanh(b) d = Neg(c) y = Sin(d)", "int32 float"),
    ],
)
def test_dtypes(body: str, dtypes: str) -> None:
    model = typed(body, dtypes)
    dtype = {"float": np.float32, "double": np.float64, "float16": np.float16,
             "int64": np.int64, "int32": np.int32}[dtypes.split()[0]]  # fmt: skip
    x = np.array([[0, 1], [-1, 0.5]]).astype(dtype)
    found = gradient(model, x=x)["x_relevance"]
    wide = x.astype(float)
    expected = np.cos(np.tanh(wide)) * (1 - np.tanh(wide) ** 2)
    assert found.dtype == (dtype if dtype(0.5) else np.float32)
    np.testing.assert_allclose(found, expected, rtol=2e-3 if dtype == np.float16 else 1e-5)


OPERANDS = {"PRelu": ", c", "Pow": ", c", "Clip": ", c, d", "Max": ", c", "Div": ", c",
            "BatchNormalization": ", v, v, v, v"}  # fmt: skip
TYPED = [op for op in (*STABLE, "Exp", "Sigmoid", *OPERANDS) if op != "Celu"]  # which is float32


def derivative(op: str, dtype: type[np.floating]) -> np.ndarray:
    """At four points, by a model of that element type."""
    name = {np.float16: "float16", np.float32: "float", np.float64: "double"}[dtype]
    constants = {"c": dtype(0.5), "d": dtype(1), "v": np.ones(2, dtype)}
    body = f"h = {op}(x{OPERANDS.get(op, '')}) y = Neg(h)"
    compiled = compiled_gradient(typed(body, f"{name} {name}", **constants))
    x = np.array([[0.25, 1.5], [0.75, 0.5]], dtype)
    if dtype == np.float64:  # few operators of float64 have a kernel
        return ReferenceEvaluator(compiled).run(["x_relevance"], {"x": x})[0]
    return run(compiled, {"x": x})["x_relevance"]


@pytest.mark.parametrize("op", TYPED)
def test_dtypes_agree(op: str) -> None:
    single = derivative(op, np.float32)
    np.testing.assert_allclose(derivative(op, np.float16), single, rtol=3e-3)
    np.testing.assert_allclose(derivative(op, np.float64), single, rtol=1e-5)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("h, m, v = BatchNormalization<training_mode=1>(x, s, s, s, s)", "training mode"),
        ("h = Dropout(x, half, yes)", "training mode"),
    ],
)
def test_refused(body: str, reason: str) -> None:
    model = network(
        f"{body} y = Neg(h)", (1, 2), half=0.5, s=np.ones(2, np.float32), yes=np.array(True)
    )
    with pytest.raises(UnsupportedError, match=reason):
        gradient(model)


@pytest.mark.parametrize(
    "body",
    [
        "m = Floor(x)",
        "k = Cast<to=7>(x) m = Cast<to=1>(k)",
        "k = Greater(x, one) m = Cast<to=1>(k)",
    ],
)
def test_what_is_rounded_has_no_derivative(body: str) -> None:
    model = network(f"{body} h = Mul(m, x) y = Neg(h)", (1, 3), one=1.0)
    found = gradient(model, x=np.array([[0.5, 1.5, 2.5]], np.float32))["x_relevance"]
    expected = [[0, -1, -1]] if "Greater" in body else [[0, -1, -2]]
    np.testing.assert_array_equal(found, expected)
