"""Every method on the networks that are no chains of layers: recurrent, with bodies, attention,
integers; and conditions in a transformer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache

import numpy as np
import onnx
import pytest
import test_bodies
import test_quantized
import test_recurrent
from models import Array, assert_close, network, run, session

import lrp_onnx
from lrp_onnx import Explainer
from lrp_onnx.gradients.quadrature import quadrature

STEPS = 6
BLOCK = """
    q = MatMul(x, wq)\n k = MatMul(x, wk)\n v = MatMul(x, wv)
    kt = Transpose<perm=[0,2,1]>(k)\n a = MatMul(q, kt)\n s = Softmax<axis=-1>(a)
    o = MatMul(s, v)\n p = MatMul(o, wo)\n r = Add(p, x)
    n = LayerNormalization<axis=-1>(r, scale, shift)\n h = MatMul(n, w1)\n g = Tanh(h)
    m = MatMul(g, w2)\n z = Add(m, n)\n c = ReduceMean<keepdims=0>(z, axes)\n y = Gemm(c, head)"""
SIZES = {
    **dict.fromkeys(("wq", "wk", "wv", "wo"), (4, 4)),
    **{"scale": (4,), "shift": (4,), "w1": (4, 6), "w2": (6, 4), "axes": [1], "head": (4, 3)},
}
CHANNELS = {"q": 4, "v": 4, "o": 4, "p": 4, "r": 4, "n": 4, "h": 6, "g": 6, "m": 4, "z": 4, "c": 4}

Feeds = dict[str, Array]


TRANSFORMER = network(BLOCK, (2, 3, 4), (0, 1), **SIZES)
X = np.random.default_rng(5).standard_normal((2, 3, 4)).astype(np.float32)


def networks() -> Iterator[tuple[str, onnx.ModelProto, Feeds, Mapping[str, object]]]:
    """Name, model, the floats that are explained, and what else it takes."""
    for row in test_bodies.ROWS:
        yield row.name, test_bodies.model_of(row), test_bodies.feeds_of(row), row.others
    for cell in (row for row in test_recurrent.ROWS if "layout" not in row.attributes):
        yield str(cell), test_recurrent.model_of(cell), test_recurrent.feeds_of(cell), {}
    yield "attention", TRANSFORMER, {"x": X}, {}


NETWORKS = {name: rest for name, *rest in networks()}


Run = Callable[[Mapping[str, object]], Feeds]


@cache
def original(name: str) -> Run:
    return session(NETWORKS[name][0])


@cache
def compiled(name: str, method: str, **request: object) -> Run:
    model = NETWORKS[name][0]
    return session(
        lrp_onnx.compile(model, method=method, target="seed", check=False, **request).model
    )


def explained(name: str, method: str, **request: object) -> tuple[Feeds, Feeds, Array, Array]:
    """Relevance and what it is of: the floats, m and y."""
    model, floats, others = NETWORKS[name]
    y_name = model.graph.output[0].name
    y = original(name)({**floats, **others})[y_name]
    seed = np.random.default_rng(6).standard_normal(y.shape).astype(y.dtype)
    run_compiled = compiled(name, method, **request)
    results = run_compiled({**floats, **others, f"{y_name}_seed": seed})
    return {k: results[f"{k}_relevance"] for k in floats}, floats, seed, y


@pytest.mark.parametrize("name", NETWORKS)
def test_saliency_and_the_product_are_made_of_the_gradient(name: str) -> None:
    g, x, *_ = explained(name, "gradient")
    assert max(np.abs(v).max() for v in g.values()) > 0
    saliency, product = (explained(name, m)[0] for m in ("saliency", "input-x-gradient"))
    for key, value in g.items():
        assert_close(saliency[key], np.abs(value))
        assert_close(product[key], x[key] * value)


@pytest.mark.parametrize("name", NETWORKS)
def test_integrated_gradients(name: str) -> None:
    """Against the gradients at the points, and their nearest that are complete."""
    r, x, seed, y = explained(name, "integrated-gradients", steps=STEPS)
    model, _, others = NETWORKS[name]
    gradient = compiled(name, "gradient")
    y_name, points = model.graph.output[0].name, quadrature(STEPS)
    mean = {k: np.zeros(v.shape) for k, v in x.items()}
    for a, w in zip(points.fractions, points.weights, strict=True):
        at = {k: (a * v).astype(v.dtype) for k, v in x.items()}
        g = gradient({**at, **others, f"{y_name}_seed": seed})
        mean = {k: v + w * g[f"{k}_relevance"] for k, v in mean.items()}
    zero = original(name)({**{k: 0 * v for k, v in x.items()}, **others})[y_name]
    axis, behind = axes_of_samples(name) or (None, None)

    def inner(a: Feeds, b: Feeds, axis: int | None) -> Array:
        parts = [np.moveaxis(a[k] * b[k], axis or 0, 0) for k in a]
        return np.sum([v.sum(tuple(range(axis is not None, v.ndim))) for v in parts], axis=0)

    lacking = inner({y_name: seed}, {y_name: y - zero}, behind) - inner(x, mean, axis)
    for key, value in x.items():
        share = (lacking / inner(x, x, axis)).reshape(-1, *[1] * (value.ndim - 1))
        share = np.moveaxis(share, 0, axis or 0)
        assert_close(r[key].astype(float), value * (mean[key] + share * value), 1e-4)


def axes_of_samples(name: str) -> tuple[int, int] | None:
    """The first axis of what is explained each of whose indices changes one index of an axis of the
    prediction alone, and that axis; None where lengths of a fixed number leave it open.
    """
    model, x, others = NETWORKS[name]
    y_name, rng = model.graph.output[0].name, np.random.default_rng(8)
    for axis in range(min(v.ndim for v in x.values()) * ("lengths" not in name)):
        sizes = {v.shape[axis] for v in x.values()}
        if len(sizes) > 1:
            continue
        (size,) = sizes
        changed = []
        for n in range(size):
            many = np.zeros((), bool)
            for _ in range(5):
                drawn = {k: rng.standard_normal(v.shape).astype(v.dtype) for k, v in x.items()}
                moved = {k: v.copy() for k, v in drawn.items()}
                for value in moved.values():
                    np.moveaxis(value, axis, 0)[n] += 1
                ys = [original(name)({**given, **others})[y_name] for given in (drawn, moved)]
                many = many | (ys[0] != ys[1])
            changed.append(many)
        for behind in range(changed[0].ndim):
            if changed[0].shape[behind] != size:
                continue
            parts = [np.moveaxis(change, behind, 0) for change in changed]
            if not any(np.delete(part, n, 0).any() for n, part in enumerate(parts)):
                return axis, behind
    return None


@pytest.mark.parametrize("row", test_quantized.ROWS, ids=str)
def test_methods_on_integers(row: test_quantized.Row) -> None:
    """They run wherever the gradient does; the path leads over a staircase, and is complete."""
    feeds, floats = row.feeds()
    model = test_quantized.model(row.quantized, row, feeds)
    found = {}
    for method in ("gradient", "saliency", "input-x-gradient", "integrated-gradients"):
        compiled = lrp_onnx.compile(model, method=method, target="all", check=False)
        results = run(compiled.model, feeds)
        found[method] = {k: results[f"{k}_relevance"] for k in feeds}
        assert all(np.isfinite(r).all() for r in found[method].values())
    real = lrp_onnx.compile(
        test_quantized.model(row.real, row, floats), method="gradient", target="all", check=False
    )
    expected = run(real.model, floats)
    for (key, g), name in zip(found["gradient"].items(), floats, strict=True):
        step = 1 if row.dynamic else {**test_quantized.X8, **test_quantized.V8}[f"{name}s"]
        assert_close(g, step * expected[f"{name}_relevance"], 2e-5)
        assert_close(found["saliency"][key], np.abs(g))


@cache
def whole_relevance(composite: str) -> Array:
    return Explainer(lrp_onnx.compile(TRANSFORMER, composite=composite))(X).relevance["x"]


@pytest.mark.parametrize("composite", ["attnlrp", "epsilon", "epsilon-plus-flat"])
@pytest.mark.parametrize("tensor", CHANNELS)
def test_conditions_in_a_transformer(tensor: str, composite: str) -> None:
    whole = whole_relevance(composite)
    explainer = Explainer(
        lrp_onnx.compile(TRANSFORMER, composite=composite, conditions=tensor, check=False)
    )
    assert_close(explainer(X).relevance["x"], whole)
    channels = range(CHANNELS[tensor])
    past = explainer(X, conditions={tensor: []}).relevance["x"]  # around the tensor
    parts = [explainer(X, conditions={tensor: k}).relevance["x"] for k in channels]
    everything = past + np.sum([part - past for part in parts], axis=0)
    assert max(np.abs(part - whole).max() for part in parts) > 1e-3 * np.abs(whole).max()
    assert_close(everything, whole, 1e-4)
