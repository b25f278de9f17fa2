"""Whole networks under every composite against the oracle's walk, node by node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import onnx
import oracle
import pytest
from models import assert_close, network, run, session
from oracle_walk import LINEAR, explain
from reference import Network, finite_difference

import lrp_onnx
from lrp_onnx.lrp.library import library

NETWORKS = {
    "cnn": network(
        """c0 = Conv<pads=[1,1,1,1]>(x, w0, b0)  r0 = Relu(c0)
        p0 = MaxPool<kernel_shape=[2,2], strides=[2,2]>(r0)
        c1 = Conv(p0, w1, b1)  r1 = Relu(c1)  f = Flatten(r1)
        d0 = Gemm<transB=1>(f, w2, b2)  r2 = Relu(d0)  y = Gemm<transB=1>(r2, w3, b3)""",
        x=(2, 2, 6, 6), w0=(3, 2, 3, 3), b0=(3,), w1=(4, 3, 2, 2), b1=(4,),
        w2=(5, 16), b2=(5,), w3=(3, 5), b3=(3,),
    ),
    "residual": network(
        """c0 = Conv<strides=[2,2], pads=[1,1,1,1]>(x, w0, b0)  r0 = Relu(c0)
        c1 = Conv<pads=[1,1,1,1]>(r0, w1, b1)  s = Add(c1, r0)  r1 = Relu(s)
        a = GlobalAveragePool(r1)  f = Flatten(a)  y = Gemm<transB=1>(f, w2, b2)""",
        x=(2, 2, 5, 6), w0=(3, 2, 3, 3), b0=(3,), w1=(3, 3, 3, 3), b1=(3,), w2=(4, 3), b2=(4,),
    ),
    "branches": network(
        """c0 = Conv(x, w0, b0)  r0 = Relu(c0)  c1 = Conv<pads=[1,1,1,1]>(x, w1, b1)  r1 = Relu(c1)
        k = Concat<axis=1>(r0, r1)  p = AveragePool<kernel_shape=[2,2], strides=[2,2]>(k)
        c2 = Conv<group=2>(p, w2, b2)  t = Tanh(c2)  f = Flatten(t)  y = Gemm(f, w3, b3)""",
        x=(1, 2, 4, 4), w0=(2, 2, 1, 1), b0=(2,), w1=(2, 2, 3, 3), b1=(2,),
        w2=(4, 2, 2, 2), b2=(4,), w3=(4, 3), b3=(3,),
    ),
    "deep": network(
        """c0 = Conv(x, w0, b0)  r0 = LeakyRelu<alpha=0.3>(c0)
        c1 = Conv<pads=[1,1,1,1]>(r0, w1, b1)  r1 = LeakyRelu<alpha=0.3>(c1)  c2 = Conv(r1, w2)
        r2 = LeakyRelu<alpha=0.3>(c2)  c3 = Conv(r2, w3)  r3 = LeakyRelu<alpha=0.2>(c3)
        c4 = Conv(r3, w4, b4)  r4 = LeakyRelu<alpha=0.3>(c4)  c5 = Conv(r4, w5)
        r5 = LeakyRelu<alpha=0.3>(c5)  f = Flatten(r5)  y = Gemm(f, w6)""",
        x=(2, 2, 3, 3), w0=(3, 2, 2, 2), b0=(3,), w1=(3, 3, 3, 3), b1=(3,), w2=(3, 3, 1, 1),
        w3=(4, 3, 1, 1), w4=(4, 4, 2, 2), b4=(4,), w5=(3, 4, 1, 1), w6=(3, 3),
    ),
    "arithmetic": network(
        """a = Gemm(x, w0, b0)  b = Gemm(x, w1, b1)  m = Mul(a, b)  o = Tanh(a)  d = Sub(m, o)
        e = Softplus(b)  q = Div(d, e)  h = Mul(q, w2)  i = Sub(h, b2)  n = Neg(i)
        r = Relu(n)  y = Gemm(r, w3, b3)""",
        x=(2, 3), w0=(3, 4), w1=(3, 4), b0=(4,), b1=(4,), w2=(4,), b2=(4,),
        w3=(4, 3), b3=(3,),
    ),
    "decoder": network(
        """d0 = MatMul(x, w0)  h0 = Add(d0, b0)  r0 = Relu(h0)  u = Unsqueeze(r0, last)
        c0 = ConvTranspose<strides=[2]>(u, w1, b1)  r1 = LeakyRelu<alpha=0.2>(c0)
        t = Transpose<perm=[0,2,1]>(r1)  d1 = MatMul(t, w2)  y = Flatten(d1)""",
        x=(2, 3), last=[2], w0=(3, 4), b0=(4,), w1=(4, 3, 3), b1=(3,), w2=(3, 2),
    ),
}  # fmt: skip

BOX = {"low": -3.0, "high": 4.0}


@dataclass(frozen=True)
class Recipe:
    """A composite in the oracle's words: rules of convolutions, of dense layers, of the first."""

    conv: oracle.Rule
    dense: oracle.Rule
    first: oracle.Rule | None = None
    first_of: tuple[str, ...] = LINEAR
    graded: tuple[float, ...] = ()
    """Gamma of the convolutions in the lower and the middle third, where they go by depth."""


EPSILON, ZPLUS, GAMMA = ("epsilon", {}), ("zplus", {}), ("gamma", {})
FLAT, WSQUARE, ZBOX = ("flat", {}), ("wsquare", {}), ("zbox", BOX)


def relative(part: float, z: np.ndarray) -> np.ndarray:
    """part·rms(z) of each of the two samples that z is of."""
    samples = z.reshape(2, -1)
    rms = np.sqrt((samples**2).mean(1, keepdims=True))
    return (part * rms + 0 * samples).reshape(z.shape)


RELATIVE = ("epsilon", {"epsilon": partial(relative, 0.25)})
HUNDREDTH = ("epsilon", {"epsilon": partial(relative, 0.01)})
ALPHA2, ALPHA1 = ("alpha-beta", {"beta": 1.0}), ("alpha-beta", {"beta": 0.0})
CONVOLUTIONS = ("Conv", "ConvTranspose")
ACTS_AS = {"c5": "Gemm", "d1": "Conv"}
"""Layers at each place alone: a convolution with one place is dense, a product next to windows over
the same places a convolution.
"""
RECIPES = {
    "epsilon-gamma-box": Recipe(GAMMA, EPSILON, ZBOX, CONVOLUTIONS),
    "epsilon-plus": Recipe(ZPLUS, EPSILON),
    "epsilon-plus-flat": Recipe(ZPLUS, EPSILON, FLAT),
    "epsilon-alpha2-beta1": Recipe(ALPHA2, EPSILON),
    "epsilon-alpha2-beta1-flat": Recipe(ALPHA2, EPSILON, FLAT),
    "excitation-backprop": Recipe(ZPLUS, ZPLUS),
    "deep-taylor": Recipe(ZPLUS, ZPLUS, WSQUARE),
    "deep-taylor-bounded": Recipe(ZPLUS, ZPLUS, ZBOX),
    "epsilon": Recipe(EPSILON, EPSILON),
    "gamma": Recipe(GAMMA, GAMMA),
    "zplus": Recipe(ZPLUS, ZPLUS),
    "alpha2-beta1": Recipe(ALPHA2, ALPHA2),
    "alpha1-beta0": Recipe(ALPHA1, ALPHA1),
    "flat": Recipe(FLAT, FLAT),
    "wsquare": Recipe(WSQUARE, WSQUARE),
    "zbox": Recipe(ZBOX, ZBOX),
    "attnlrp": Recipe(EPSILON, EPSILON),  # attention itself is in test_attention
    "cp-lrp": Recipe(EPSILON, EPSILON),
    "attnlrp-gamma": Recipe(GAMMA, EPSILON),
    "epsilon-relative": Recipe(HUNDREDTH, HUNDREDTH),
    "graded": Recipe(RELATIVE, RELATIVE, FLAT, CONVOLUTIONS, graded=(1.0, 0.25)),
    "graded-box": Recipe(RELATIVE, RELATIVE, ZBOX, CONVOLUTIONS, graded=(1.0, 0.25)),
    "montavon-vgg16": Recipe(GAMMA, GAMMA, ZBOX),  # no more than 17 layers here
}
PLAIN = {"gradient": "gradient", "guided-backprop": "guided", "deconvnet": "deconvnet",
         "beta-smooth": "beta-smooth"}  # fmt: skip


def rules_of(composite: str, model: onnx.ModelProto) -> dict[str, oracle.Rule]:
    """The recipe spelled out for each linear node of a model whose nodes are in order."""
    if composite in PLAIN:
        gradient = {node.op_type: ("gradient", {}) for node in model.graph.node}
        return {**gradient, "Relu": (PLAIN[composite], {})}
    recipe = RECIPES[composite]
    nodes = [node for node in model.graph.node if node.op_type in LINEAR]
    rules = {n.name: recipe.conv if kind(n) in CONVOLUTIONS else recipe.dense for n in nodes}
    if recipe.first:
        sought = [n for n in nodes if kind(n) in recipe.first_of]
        names = {n.name for n in sought}
        rules |= {n.name: recipe.first for n in sought if not ancestors(model, n) & names}
    if recipe.graded:
        rules |= graded(model, rules, recipe.graded)
    if composite == "montavon-vgg16":
        rules["MaxPool"] = ("average", {})
    return rules


def kind(node: onnx.NodeProto) -> str:
    """The operator that a layer acts as."""
    return ACTS_AS.get(node.name, node.op_type)


def graded(
    model: onnx.ModelProto, rules: Mapping[str, oracle.Rule], gammas: tuple[float, ...]
) -> dict[str, oracle.Rule]:
    """Those of convolutions behind the first, by how many linear nodes stand before them; that of
    the last linear node of all.
    """
    levels: dict[str, int] = {}
    for node in (n for n in model.graph.node if n.name in rules):
        above = [level for name, level in levels.items() if name in ancestors(model, node)]
        levels[node.name] = max(above, default=-1) + 1
    deepest, changed = max(levels.values()), dict[str, oracle.Rule]()
    for node in (n for n in model.graph.node if n.name in rules):
        depth = levels[node.name] / deepest
        if depth == 1:
            changed[node.name] = RELATIVE
        elif kind(node) in CONVOLUTIONS and rules[node.name] is RELATIVE and depth <= 0.67:
            changed[node.name] = ("gamma", {"gamma": gammas[depth > 0.33]})
    return changed


def ancestors(model: onnx.ModelProto, node: onnx.NodeProto) -> set[str]:
    """Names of the nodes that `node` depends on."""
    found: set[str] = set()
    wanted = set(node.input)
    for other in reversed(model.graph.node):
        if wanted & set(other.output):
            found.add(other.name)
            wanted |= set(other.input)
    return found


@cache
def oracle_of(model: bytes) -> Network:
    """With its layers' matrices, for all composites."""
    return Network(onnx.load_from_string(model))


def start_of(model: onnx.ModelProto, start: str) -> tuple[np.ndarray, np.ndarray]:
    """An input and the relevance of class 1 at the output."""
    shape = [d.dim_value or 2 for d in model.graph.input[0].type.tensor_type.shape.dim]
    x = np.random.default_rng(2).standard_normal(shape).astype(np.float32)
    y = oracle_of(model.SerializeToString()).forward({"x": x})["y"]
    R = np.zeros_like(y)
    R[:, 1] = y[:, 1] if start == "logit" else 1
    return x, R


@pytest.mark.parametrize("composite", [*RECIPES, *PLAIN])
@pytest.mark.parametrize("name", NETWORKS)
def test_composite_on_network(name: str, composite: str) -> None:
    start = "one" if composite in PLAIN else "logit"
    model, x, R = NETWORKS[name], *start_of(NETWORKS[name], start)
    boxed = BOX if "zbox" in str(rules_of(composite, model)) else {}
    compiled = lrp_onnx.compile(
        model, composite=composite, parameters=boxed, target=1, start=start, check=False
    )
    network = oracle_of(model.SerializeToString())
    expected = explain(network, {"x": x}, R, rules_of(composite, model))["x"]
    assert_close(run(compiled.model, {"x": x})["x_relevance"], expected)


@pytest.mark.parametrize("composite", ["epsilon-plus-flat", "epsilon-gamma-box", "montavon-vgg16"])
@pytest.mark.parametrize("name", NETWORKS)
def test_batch_equals_single_samples(name: str, composite: str) -> None:
    model, (x, _) = NETWORKS[name], start_of(NETWORKS[name], "logit")
    boxed = BOX if "zbox" in str(rules_of(composite, model)) else {}
    explaining = lrp_onnx.compile(model, composite=composite, parameters=boxed, check=False).model
    compiled = session(explaining)
    x = np.concatenate([x[:1], 0.3 * x[:1] - 0.1, -x[:1]])
    together = compiled({"x": x})["x_relevance"]
    singles = np.concatenate([compiled({"x": x[k : k + 1]})["x_relevance"] for k in range(3)])
    assert_close(together, singles)
    if name != "decoder":  # the runtime's MatMul refuses an empty batch in the original too
        empty = session(explaining, blocked=False)({"x": x[:0]})
        assert empty["x_relevance"].shape == (0, *x.shape[1:])


def test_no_sample_of_unknown_size() -> None:
    model = network(
        "z = Conv(x, w) y = GlobalAveragePool(z)", (1, 2, 5, 5), (0, 2, 3), w=(3, 2, 3, 3)
    )
    explaining = session(lrp_onnx.compile(model, "epsilon").model, blocked=False)
    found = explaining({"x": np.empty((0, 2, 6, 4), np.float32)})["x_relevance"]
    assert found.shape == (0, 2, 6, 4)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_walk_by_gradient_is_the_gradient(name: str) -> None:
    model, x, R = NETWORKS[name], *start_of(NETWORKS[name], "one")
    found = explain(model, {"x": x}, R, rules_of("gradient", model))["x"]
    forward = Network(model).forward
    expected = finite_difference(lambda v: forward({"x": v})["y"], x.astype(float), R)
    assert_close(found, expected, 1e-6)


def test_every_composite_has_a_recipe() -> None:
    files = library().joinpath("composites").iterdir()
    names = {f.name.removesuffix(".toml") for f in files if f.name.endswith(".toml")}
    assert names - {"base"} == {*RECIPES, *PLAIN}, "add a Recipe"
