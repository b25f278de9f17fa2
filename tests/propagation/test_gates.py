"""Relevance through activations, gates, products, quotients and broadcast operands."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from models import model_of, network, run

import lrp_onnx

ROOT, GELU = np.sqrt(2.0).astype(np.float32), np.float32(np.sqrt(2 / np.pi))
CONSTANTS = {
    "half": 0.5, "one": 1.0, "two": 2.0, "three": 3.0, "six": 6.0, "zero": 0.0, "sixth": 1 / 6,
    "root": ROOT, "inverse": 1 / ROOT, "cube": 0.044715, "gelu": GELU, "quick": 1.702,
}  # fmt: skip

GATES = {
    "SiLU": "g = Sigmoid(a) y = Mul(a, g)",
    "SiLU, gate first": "g = Sigmoid(a) y = Mul(g, a)",
    "SiLU, as a quotient": "n = Neg(a) e = Exp(n) d = Add(one, e) y = Div(a, d)",
    "SiLU, sigmoid spelled out":
        "n = Neg(a) e = Exp(n) d = Add(one, e) g = Div(one, d) y = Mul(a, g)",
    "SiLU, cast around":
        "g = Sigmoid(a) w = Cast<to=11>(g) v = Cast<to=11>(a) q = Mul(v, w) y = Cast<to=1>(q)",
    "GELU, PyTorch legacy":
        "d = Div(a, root) e = Erf(d) p = Add(e, one) m = Mul(a, p) y = Mul(m, half)",
    "GELU, PyTorch dynamo":
        "d = Mul(a, inverse) e = Erf(d) p = Add(e, one) h = Mul(a, half) y = Mul(h, p)",
    "GELU, tf2onnx": "d = Div(a, root) e = Erf(d) p = Add(one, e) q = Mul(half, p) y = Mul(a, q)",
    "GELU, Keras": "d = Div(a, root) e = Erf(d) p = Add(e, one) h = Mul(half, a) y = Mul(h, p)",
    "GELU, tanh with Pow":
        "c = Pow(a, three) r = Mul(cube, c) s = Add(a, r) u = Mul(gelu, s) t = Tanh(u) p = "
        "Add(t, one) h = Mul(half, a) y = Mul(h, p)",
    "GELU, tanh with products":
        "b = Mul(a, a) c = Mul(b, a) r = Mul(c, cube) s = Add(a, r) u = Mul(s, gelu) t = "
        "Tanh(u) p = Add(t, one) q = Mul(p, half) y = Mul(a, q)",
    "HardSwish": "p = Add(a, three) c = Clip(p, zero, six) m = Mul(a, c) y = Div(m, six)",
    "HardSwish, divided first":
        "p = Add(a, three) c = Clip(p, zero, six) g = Div(c, six) y = Mul(a, g)",
    "HardSwish, signal divided":
        "p = Add(a, three) c = Clip(p, zero, six) q = Mul(a, sixth) y = Mul(q, c)",
    "HardSwish, Relu and Min":
        "p = Add(a, three) r = Relu(p) c = Min(r, six) m = Mul(a, c) y = Mul(m, sixth)",
    "HardSwish, HardSigmoid": "g = HardSigmoid<alpha=0.16666667>(a) y = Mul(a, g)",
    "Mish": "s = Softplus(a) g = Tanh(s) y = Mul(a, g)",
    "Mish, softplus spelled out": "e = Exp(a) p = Add(e, one) s = Log(p) g = Tanh(s) y = Mul(a, g)",
    "QuickGELU": "q = Mul(quick, a) g = Sigmoid(q) y = Mul(a, g)",
    "square": "y = Mul(a, a)",
    "cube": "b = Mul(a, a) y = Mul(b, a)",
    "Swish behind BatchNormalization":
        "n = BatchNormalization(a, ones, ones, ones, ones) g = Sigmoid(n) y = Mul(a, g)",
    "two gates": "f = Sigmoid(a) g = Tanh(a) m = Mul(a, f) y = Mul(m, g)",
    "select": "r = Greater(a, zero) m = Cast<to=1>(r) y = Mul(a, m)",
}  # fmt: skip

ACTIVATIONS = [
    "Relu(a)", "LeakyRelu(a)", "PRelu(a, half)", "Elu(a)", "Selu(a)", "Celu(a)", "HardSigmoid(a)",
    "Tanh(a)", "Softplus(a)", "Softsign(a)", "HardSwish(a)", "Mish(a)", "ThresholdedRelu(a)",
    "Shrink(a)", "Erf(a)", "Exp(a)", "Abs(a)", "Sin(a)", "Atan(a)", "Clip(a, zero, six)",
    "Max(a, zero)", "Min(six, a)", "Pow(a, two)", "Pow(two, a)", "Reciprocal(a)", "LRN<size=3>(a)",
    "BatchNormalization(a, ones, ones, ones, ones)", "Add(a, one)", "Sub(one, a)", "Mul(a, two)",
    "Div(a, two)", "Div(two, a)", "Neg(a)", "Identity(a)",
]  # fmt: skip

SHAPE = (2, 3, 2, 2)


def relevance(
    body: str,
    composite: str = "epsilon",
    shape: tuple[int, ...] = SHAPE,
    symbolic: tuple[int, ...] = (0,),
    **constants: object,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The seed and the outputs with `x_relevance`, relevance starting at the seed."""
    body = f"a = Mul(x, scale) {body}"
    given = {**CONSTANTS, "scale": 1.5, "ones": np.ones(3, np.float32), **constants}
    used = {k: v for k, v in given.items() if f"{k}," in body or f"{k})" in body}
    model = network(body, shape, symbolic, **used)
    compiled = lrp_onnx.compile(
        model, composite=composite, target="seed", start="one", check=False
    ).model
    onnx.checker.check_model(compiled, full_check=True)
    rng = np.random.default_rng(1)
    x = rng.standard_normal(shape).astype(np.float32)
    y = run(model, {"x": x})["y"]
    seed = rng.standard_normal(y.shape).astype(np.float32)
    return seed, run(compiled, {"x": x, "y_seed": seed})


@pytest.mark.parametrize("name", GATES)
def test_a_gate_passes(name: str) -> None:
    seed, found = relevance(GATES[name])
    np.testing.assert_array_equal(found["x_relevance"], seed)


@pytest.mark.parametrize("body", ACTIVATIONS)
@pytest.mark.parametrize("symbolic", [(), (0, 2, 3)], ids=str)
def test_an_activation_passes(body: str, symbolic: tuple[int, ...]) -> None:
    seed, found = relevance(f"y = {body}", symbolic=symbolic)
    np.testing.assert_array_equal(found["x_relevance"], seed)


PRODUCTS = {
    "squeeze and excite": (
        "p = GlobalAveragePool(a) c = Conv(p, w, b) g = Sigmoid(c) y = Mul(a, g)",
        {"w": (3, 3, 1, 1), "b": (3,)},
    ),
    "other activation": ("c = Conv(a, w) g = Sigmoid(c) y = Mul(g, a)", {"w": (3, 3, 1, 1)}),
    "gate over channels": ("n = LRN<size=3>(a) y = Mul(a, n)", {}),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_what_mixes_elements_is_no_gate(name: str) -> None:
    body, constants = PRODUCTS[name]
    model = network(f"a = Tanh(x) {body}", SHAPE, **constants)
    report = lrp_onnx.compile(model, composite="epsilon", check=False).report
    assert [(line.kind, line.rule) for line in report if line.name == "y"] == [("product", "half")]


def test_squeeze_and_excite_halves() -> None:
    """Half takes the direct way; the other goes through dense layer and pooling by their rules."""
    w = np.random.default_rng(3).standard_normal((3, 3, 1, 1)).astype(np.float32)
    body = "p = GlobalAveragePool(a) c = Conv(p, w) g = Sigmoid(c) y = Mul(a, g)"
    seed, found = relevance(body, w=w)
    rng = np.random.default_rng(1)
    a = 1.5 * rng.standard_normal(SHAPE).astype(np.float32).astype(float)
    pooled = a.mean((2, 3))
    z = pooled @ w[:, :, 0, 0].T.astype(float)
    per_channel = seed.sum((2, 3)) / 2
    r = pooled * ((per_channel / stabilized(z)) @ w[:, :, 0, 0])
    shared = a / a[0, 0].size * (r / stabilized(pooled))[:, :, None, None]
    np.testing.assert_allclose(found["x_relevance"], seed / 2 + shared, rtol=1e-3, atol=1e-5)


def stabilized(z: np.ndarray) -> np.ndarray:
    return z + np.where(z >= 0, 1e-6, -1e-6)


SHAPES = [
    ((2, 3, 2, 2), (2, 3, 2, 2)),
    ((2, 1, 2, 2), (1, 3, 1, 1)),
    ((2, 3, 2, 2), (3, 1, 1)),
    ((2,), (2, 3, 2)),
    ((1,), (2, 3)),
]


@pytest.mark.parametrize(("left", "right"), SHAPES, ids=str)
@pytest.mark.parametrize("symbolic", [(), (0,), (0, 1, 2, 3)], ids=str)
@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Max", "Min"])
def test_two_activations_share(
    op: str, symbolic: tuple[int, ...], left: tuple[int, ...], right: tuple[int, ...]
) -> None:
    node = onnx.helper.make_node(op, ["x", "z"], ["y"], "y")
    model = model_of([node], {}, {"x": left, "z": right}, symbolic)
    compiled = lrp_onnx.compile(
        model, composite="epsilon", target="seed", start="one", check=False
    ).model
    onnx.checker.check_model(compiled, full_check=True)
    rng = np.random.default_rng(2)
    x, z = (rng.standard_normal(shape).astype(np.float32) for shape in (left, right))
    seed = rng.standard_normal(np.broadcast_shapes(left, right)).astype(np.float32)
    found = run(compiled, {"x": x, "z": z, "y_seed": seed})
    for name, share, like in zip("xz", shares(op, x, z), (x, z), strict=True):
        expected = summed(share * seed, like.shape)
        np.testing.assert_allclose(found[f"{name}_relevance"], expected, rtol=1e-4, atol=1e-5)


def shares(op: str, x: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What part of the output's relevance each operand gets."""
    if op == "Mul":
        return np.full(1, 0.5), np.full(1, 0.5)
    if op in ("Max", "Min"):
        first = x >= z if op == "Max" else x <= z
        return first * 1.0, ~first * 1.0
    z = z if op == "Add" else -z
    total = stabilized(x.astype(float) + z)
    return x / total, z / total


def summed(relevance: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Relevance of the output summed over the axes along which an operand was broadcast."""
    relevance = relevance.sum(tuple(range(relevance.ndim - len(shape))))
    axes = tuple(k for k, n in enumerate(shape) if n == 1)
    return relevance.sum(axes, keepdims=True)


def test_a_divisor_gets_nothing() -> None:
    seed, found = relevance("p = GlobalAveragePool(a) y = Div(a, p)")
    np.testing.assert_array_equal(found["x_relevance"], seed)


@pytest.mark.parametrize("symbolic", [(), (0, 2, 3)], ids=str)
@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Max", "Min", "Pow", "Where"])
@pytest.mark.parametrize("shape", [(3, 1, 1), (1,), (2, 3, 2, 2), (4, 2, 3, 2, 2)], ids=str)
def test_constants_pass(op: str, shape: tuple[int, ...], symbolic: tuple[int, ...]) -> None:
    c = np.random.default_rng(4).uniform(0.5, 2, shape).astype(np.float32)
    node = "Where(yes, a, c)" if op == "Where" else f"{op}(a, c)"
    seed, found = relevance(f"y = {node}", symbolic=symbolic, c=c, yes=np.array(True))
    np.testing.assert_allclose(found["x_relevance"], summed(seed, SHAPE), rtol=1e-5, atol=1e-6)


SURROGATES = {
    "gradient": lambda x, seed, bound: seed * ((x > 0) & (x < bound)),
    "guided-backprop": lambda x, seed, bound: seed * ((x > 0) & (x < bound)) * (seed > 0),
    "deconvnet": lambda x, seed, bound: np.maximum(seed, 0),
    "beta-smooth": lambda x, seed, bound: seed * (x < bound) / (1 + np.exp(-10 * x)),
}
RECTIFIERS = {
    "y = Relu(a)": np.inf,
    "y = Clip(a, zero)": np.inf,
    "y = Clip(a, zero, six)": 6,
    "y = Clip(a, zero, one)": 1,
    "y = Max(a, zero)": np.inf,
    "y = Max(zero, a)": np.inf,
    "m = Max(a, zero) y = Min(m, one)": 1,
    "r = Relu(a) y = Min(r, one)": 1,
    "r = Relu(a) y = Clip(r, none, one)": 1,
    "y = LeakyRelu<alpha=0.0>(a)": np.inf,
    "y = PRelu(a, zero)": np.inf,
    "y = ThresholdedRelu<alpha=0.0>(a)": np.inf,
    "g = Greater(a, zero) y = Where(g, a, zero)": np.inf,
    "l = Less(zero, a) y = Where(l, a, zero)": np.inf,
    "l = LessOrEqual(a, zero) y = Where(l, zero, a)": np.inf,
}
BOUNDS = {"zero": np.float32(0), "one": np.float32(1), "six": np.float32(6)}


@pytest.mark.parametrize("composite", SURROGATES)
@pytest.mark.parametrize("body", RECTIFIERS)
def test_surrogates_change_rectifiers(composite: str, body: str) -> None:
    """An upper bound keeps its gradient."""
    seed, found = relevance(body.replace("none", ""), composite, scale=1.0, **used(body))
    x = np.random.default_rng(1).standard_normal(SHAPE).astype(np.float32).astype(float)
    bound = RECTIFIERS[body]
    slope = (x > 0) & (x < bound)
    expected = SURROGATES[composite](x, seed, bound)
    assert slope.any()
    np.testing.assert_allclose(found["x_relevance"], expected, rtol=1e-5, atol=1e-6)


def used(body: str) -> dict[str, np.ndarray]:
    return {name: bound for name, bound in BOUNDS.items() if name in body}


OTHERS = {
    "y = Clip(a, below, one)": lambda x: (x > -1) & (x < 1),
    "y = Clip(a, none, one)": lambda x: x < 1,
    "y = Max(a, one)": lambda x: x > 1,
    "y = LeakyRelu<alpha=0.5>(a)": lambda x: np.where(x > 0, 1, 0.5),
    "y = ThresholdedRelu<alpha=1.0>(a)": lambda x: x > 1,
}


@pytest.mark.parametrize("composite", SURROGATES)
@pytest.mark.parametrize("body", OTHERS)
def test_what_is_no_rectifier_keeps_its_gradient(composite: str, body: str) -> None:
    constants = {**used(body), **({"below": np.float32(-1)} if "below" in body else {})}
    seed, found = relevance(body.replace("none", ""), composite, scale=1.0, **constants)
    x = np.random.default_rng(1).standard_normal(SHAPE).astype(np.float32).astype(float)
    np.testing.assert_allclose(found["x_relevance"], seed * OTHERS[body](x), rtol=1e-5, atol=1e-6)


TOLD = {
    "r = Relu(x) y = Tanh(r)": "the path also has Tanh.",
    "r = Relu(x) c = Clip(r, below, one) y = Tanh(c)": "the path also has Clip, Tanh.",
    "c = Clip(x, zero, six) y = Neg(c)": "",
    "y = Tanh(x)": "its activations are Tanh: the map is the plain gradient.",
    "y = Neg(x)": "it has no activation: the map is the plain gradient.",
}


@pytest.mark.parametrize("composite", ["guided-backprop", "deconvnet", "beta-smooth"])
@pytest.mark.parametrize("body", TOLD)
def test_what_a_surrogate_leaves_alone_is_told(composite: str, body: str) -> None:
    constants = {**used(body), **({"below": np.float32(-1)} if "below" in body else {})}
    model = network(body, SHAPE, **constants)
    compiled = lrp_onnx.compile(model, composite, class_axis=1, check=False)
    assert all(repr(composite) in told for told in compiled.warnings)
    told = "".join(compiled.warnings)
    assert TOLD[body] in told
    assert bool(told) == bool(TOLD[body])


@pytest.mark.parametrize("composite", SURROGATES)
@pytest.mark.parametrize("body", [text for name, text in GATES.items() if "HardSwish" in name])
def test_a_hard_sigmoid_is_no_rectifier(composite: str, body: str) -> None:
    seed, found = relevance(body, composite, scale=1.0)
    x = np.random.default_rng(1).standard_normal(SHAPE).astype(np.float32).astype(float)
    slope = np.where(x < -3, 0, np.where(x < 3, x / 3 + 0.5, 1))
    np.testing.assert_allclose(found["x_relevance"], seed * slope, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("composite", SURROGATES)
def test_all_others_are_differentiated(composite: str) -> None:
    seed, found = relevance("g = Sigmoid(a) m = Mul(a, g) y = Tanh(m)", composite, scale=1.0)
    x = np.random.default_rng(1).standard_normal(SHAPE).astype(float)
    g = 1 / (1 + np.exp(-x))
    slope = (1 - np.tanh(x * g) ** 2) * (g + x * g * (1 - g))
    np.testing.assert_allclose(found["x_relevance"], seed * slope, rtol=1e-5, atol=1e-6)


def test_an_activation_needs_no_shape() -> None:
    """Behind a Reshape whose shape only the run knows, relevance passes without any arithmetic."""
    body = "s = Shape(a) f = Mul(s, unit) q = Reshape(a, f) r = Relu(q) y = Tanh(r)"
    seed, found = relevance(body, symbolic=(0, 1, 2, 3), unit=np.int64(1))
    np.testing.assert_array_equal(found["x_relevance"], seed)
