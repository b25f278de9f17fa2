"""The optimized emission against every rule as its file says, on networks that nobody chose."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from models import TOLERANCE, assert_close, model_of, network, session
from onnx import numpy_helper
from random_networks import Random
from reference import Network

import lrp_onnx

Array = np.ndarray
SEEDS = range(96)
"""Networks; each is compiled under a composite of its own."""


BOX = {"low": -1.0, "high": 2.0}


COMPOSITES: tuple[tuple[str, dict[str, float]], ...] = (
    ("epsilon", {}), ("epsilon", {"epsilon": 0.25}), ("epsilon", {"epsilon": 0.0}), ("zplus", {}),
    ("gamma", {}), ("gamma", {"gamma": 3.0}), ("gamma", {"gamma": 0.0}), ("alpha1-beta0", {}),
    ("alpha2-beta1", {}), ("alpha2-beta1", {"alpha-beta.beta": 0.5}), ("zbox", BOX), ("flat", {}),
    ("wsquare", {}), ("epsilon-plus-flat", {}), ("deep-taylor-bounded", BOX), ("gradient", {}),
)  # fmt: skip


def compiled(
    model: onnx.ModelProto, composite: str, parameters: dict[str, float], **options: object
) -> list[onnx.ModelProto]:
    """The optimized model, and the one in which every rule stands as its file says."""
    pair = [
        lrp_onnx.compile(
            model, composite, parameters=parameters, optimize=optimize, check=False, **options
        ).model
        for optimize in (True, False)
    ]
    for each in pair:
        onnx.checker.check_model(each)
    return pair


def in_doubles(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same network with float64 weights, inputs and outputs."""
    wide = onnx.ModelProto.FromString(model.SerializeToString())
    del wide.graph.value_info[:]
    for value in (*wide.graph.input, *wide.graph.output):
        value.type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    for tensor in wide.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype == np.float32:
            tensor.CopyFrom(numpy_helper.from_array(array.astype(np.float64), tensor.name))
    return wide


def agree(
    model: onnx.ModelProto,
    feeds: dict[str, Array],
    composite: str = "epsilon",
    parameters: dict[str, float] | None = None,
    **options: object,
) -> None:
    """Both emissions are the same in float64, by the referee's operators, and in float32 on the
    runtime, as far as its rounding of the rules as they stand allows.
    """
    doubles = {k: v.astype(np.float64) for k, v in feeds.items()}
    pair = compiled(in_doubles(model), composite, parameters or {}, **options)
    exact, plain = (Network(each).forward(doubles)["x_relevance"] for each in pair)
    assert_close(exact, plain, TOLERANCE["float64"], "algebra")
    pair = compiled(model, composite, parameters or {}, **options)
    found, stated = (session(each)(feeds)["x_relevance"] for each in pair)
    assert np.isfinite(found).all()
    if np.abs(stated - plain).max() <= 3e-6 * np.abs(plain).max():
        assert_close(found, stated, TOLERANCE[str(stated.dtype)], "runtime")


@pytest.mark.parametrize("seed", SEEDS)
def test_random_network(seed: int) -> None:
    drawn = Random(seed)
    composite, parameters = COMPOSITES[seed % len(COMPOSITES)]
    start = ("logit", "one")[seed // len(COMPOSITES) % 2]
    agree(drawn.model(), drawn.feeds(), composite, parameters, start=start)


@pytest.mark.parametrize("seed", range(len(COMPOSITES)))
def test_random_network_of_doubles(seed: int) -> None:
    drawn = Random(1000 + seed, "float64")
    agree(drawn.model(), drawn.feeds(), *COMPOSITES[seed])


IMAGES = (2, 3, 5, 5)
LAYER = {"w": (6, 3, 3, 3), "b": (6,)}
BEHIND = "y = GlobalAveragePool(r)"
ONE_SIDED = np.abs(np.random.default_rng(0).standard_normal((4, 8, 3, 3)))


ONE_SIDED[:, 0, 1, 1] = -1e-4


LITTLE = np.abs(np.random.default_rng(1).standard_normal((8, 8, 3, 3)))


LITTLE[:, 0, 1, 1] = -1.5


SPARSE = np.where(np.arange(4 * 64).reshape(4, 64, 1, 1) % 29, 0, [[[[1.0]]], [[[-1]]]] * 2)
NETWORKS = {
    "a clip behind a relu that others read": network(
        """z = Conv<pads=[1,1,1,1]>(x, w, b) r = Relu(z) c = Conv<pads=[1,1,1,1]>(r, v)
        k = Clip(z, low, high) s = Add(c, k) y = GlobalAveragePool(s)""",
        IMAGES, **LAYER, v=(6, 6, 3, 3), low=np.float32(0), high=np.float32(6),
    ),
    "two clips of the same": network(
        """z = Conv<pads=[1,1,1,1]>(x, w, b) k = Clip(z, low, high) l = Clip(z, low, one)
        a = Conv(k, v) c = Conv(l, u) s = Add(a, c) r = Relu(s)""" + BEHIND,
        IMAGES, **LAYER, v=(6, 6, 1, 1), u=(6, 6, 1, 1),
        low=np.float32(0), high=np.float32(6), one=np.float32(1),
    ),
    "a clip of the input": network(
        "k = Clip(x, low, high) z = Conv(k, w, b) r = Relu(z)" + BEHIND,
        IMAGES, **LAYER, low=np.float32(0), high=np.float32(6),
    ),
    "a clip whose higher bound is below 0": network(
        "z = Conv(x, w, b) k = Clip(z, low, high) r = Conv(k, v)" + BEHIND,
        IMAGES, **LAYER, v=(6, 6, 1, 1), low=np.float32(0), high=np.float32(-1),
    ),
    "a clip whose higher bound is computed": network(
        """m = ReduceMax<keepdims=0>(x) high = Neg(m) z = Conv(x, w, b) k = Clip(z, low, high)
        r = Conv(k, v)""" + BEHIND,
        IMAGES, **LAYER, v=(6, 6, 1, 1), low=np.float32(0),
    ),
    "a scale that broadcasts": network(
        "a = Conv(x, w, b) p = GlobalAveragePool(a) k = Mul(p, m) r = Conv(k, v)" + BEHIND,
        IMAGES, **LAYER, v=(6, 6, 2, 2), m=(1, 6, 4, 3),
    ),
    "many weights and input of both signs": network(
        "a = Conv(x, w, b) z = Conv<pads=[1,1,1,1]>(a, v, c) r = Relu(z)" + BEHIND,
        IMAGES, **LAYER, v=(4, 6, 3, 3), c=(4,),
    ),
    "groups of several channels": network(
        "a = Conv(x, w, b) z = Conv<pads=[1,0,0,1], group=2>(a, v, c) r = Relu(z)" + BEHIND,
        IMAGES, w=(8, 3, 3, 3), b=(8,), v=(6, 4, 2, 2), c=(6,),
    ),
    "the larger of two behind a relu": network(
        """a = Conv<pads=[1,1,1,1]>(x, w, b) p = Relu(a)
        m = MaxPool<kernel_shape=[3,2], strides=[2,2]>(p) z = Conv(m, v) r = Relu(z)""" + BEHIND,
        IMAGES, **LAYER, v=(6, 6, 1, 1),
    ),
    "next to nothing lowers z": network(
        """a = Conv<pads=[1,1,1,1]>(x, w, b) p = Relu(a) z = Conv<pads=[1,1,1,1]>(p, v)
        r = Relu(z)""" + BEHIND,
        IMAGES, w=(8, 3, 3, 3), b=(8,), v=ONE_SIDED,
    ),
    "next to nothing lowers z and input of both signs": network(
        """a = Conv<pads=[1,1,1,1]>(x, w, b) p = LeakyRelu<alpha=0.0001>(a)
        z = Conv<pads=[1,1,1,1]>(p, v) r = Relu(z)""" + BEHIND,
        IMAGES, w=(8, 3, 3, 3), b=(8,), v=ONE_SIDED,
    ),
    "little lowers a summand": network(
        """a = Conv<pads=[1,1,1,1]>(x, w, b) p = Relu(a) z = Conv<pads=[1,1,1,1]>(p, v)
        r = Add(z, a)""" + BEHIND,
        IMAGES, w=(8, 3, 3, 3), b=(8,), v=LITTLE,
    ),
    "gates": network(
        """z = Conv<pads=[1,1,1,1]>(x, w, b) s = Sigmoid(z) h = Mul(z, s)
        m = GlobalAveragePool(h) e = Conv(m, c, d) g = Sigmoid(e) k = Mul(h, g)
        l = Conv<pads=[1,1,1,1]>(k, v) t = Tanh(l) r = Mul(t, l)""" + BEHIND,
        IMAGES, w=(32, 3, 3, 3), b=(32,), c=(32, 32, 1, 1), d=(32,), v=(8, 32, 3, 3),
    ),
    "a scale below 0": network(
        """z = Conv<pads=[1,1,1,1]>(x, w, b) m = Mul(z, scale) p = Sigmoid(m) r = Mul(m, p)"""
        + BEHIND,
        IMAGES, w=(8, 3, 3, 3), b=(8,), scale=np.full((8, 1, 1), -1.5, np.float32),
    ),
    "few weights that are not 0": network(
        """a = Conv<pads=[1,1,1,1]>(x, w, b) p = LeakyRelu<alpha=0.001>(a) z = Conv(p, v)
        r = Relu(z)""" + BEHIND,
        IMAGES, w=(64, 3, 3, 3), b=(64,), v=SPARSE,
    ),
    "an input of both signs that is mostly 0": network(
        """a = Conv<pads=[1,1,1,1]>(x, w) s = Sub(a, shift) h = HardSwish(s) r = Conv(h, v)"""
        + BEHIND,
        IMAGES, w=(40, 3, 3, 3), v=(64, 40, 1, 1), shift=np.float32(14),
    ),
    "a smooth activation in front of many weights": network(
        """a = Conv<pads=[1,1,1,1]>(x, w, b) e = Erf(a) o = Add(e, one) h = Mul(a, o)
        z = Conv<pads=[1,1,1,1]>(h, v, c)
        k = Elu(z) t = Transpose<perm=[0,1,3,2]>(k) j = Concat<axis=1>(t, z) r = Conv(j, u)"""
        + BEHIND,
        IMAGES, w=(8, 3, 3, 3), b=(8,), v=(20, 8, 3, 3), c=(20,), u=(6, 40, 1, 1),
        one=np.float32(1),
    ),
}  # fmt: skip


@pytest.mark.parametrize("epsilon", [1e-6, 0.25])
@pytest.mark.parametrize("composite", ["epsilon", "epsilon-plus", "gamma", "alpha2-beta1"])
@pytest.mark.parametrize("name", NETWORKS)
def test_network(name: str, composite: str, epsilon: float) -> None:
    x = np.random.default_rng(3).standard_normal(IMAGES).astype(np.float32)
    agree(NETWORKS[name], {"x": x}, composite, {"epsilon": epsilon})


@pytest.mark.parametrize("name", NETWORKS)
def test_a_stabilizer_computed_from_z(name: str) -> None:
    x = np.random.default_rng(3).standard_normal(IMAGES).astype(np.float32)
    x[1] = 0
    agree(NETWORKS[name], {"x": x}, "epsilon-relative", {})


EDGES = np.zeros((6, 3, 3, 3), np.float32)
EDGES[:, :, 1, 0], EDGES[:, :, 1, 2] = 1, -1


@pytest.mark.parametrize("behind", ["Relu", "Identity", "Sigmoid"])
def test_a_stabilizer_computed_from_z_that_is_0(behind: str) -> None:
    body = f"z = Conv(x, w) g = {behind}(z) r = Mul(z, g) y = Conv(r, v)"
    model = network(body, (3, 3, 5, 5), w=EDGES, v=(4, 6, 3, 3))
    x = np.random.default_rng(3).standard_normal((3, 3, 5, 5)).astype(np.float32)
    x[1], x[2] = 1.5, 0  # no edges
    agree(model, {"x": x}, "epsilon-relative", {})


def test_a_condition_in_front_of_a_maximum() -> None:
    x = np.random.default_rng(3).standard_normal(IMAGES).astype(np.float32)
    channels = np.array([[0, 1, 0, 0, 1, 0]], np.float32)
    model = NETWORKS["the larger of two behind a relu"]
    agree(model, {"x": x, "p_condition": channels}, "epsilon", conditions="p")


@pytest.mark.parametrize("composite", ["epsilon", "zplus", "gamma", "alpha2-beta1", "flat"])
@pytest.mark.parametrize(
    "layer", ["Conv<group=2, kernel_shape=[2,2]>", "ConvTranspose<group=2, kernel_shape=[2,2]>"]
)
def test_weight_of_a_size_that_the_run_decides(layer: str, composite: str) -> None:
    body = f"p = Relu(x) z = {layer}(p, w) y = Relu(z)"
    rng = np.random.default_rng(0)
    feeds = {"x": rng.standard_normal((1, 4, 3, 3)), "w": rng.standard_normal((4, 2, 2, 2))}
    model = model_of(
        onnx.parser.parse_graph(f"g (float x) => (float y) {{ {body} }}").node, {},
        {k: v.shape for k, v in feeds.items()}, (0, 2, 3),
    )  # fmt: skip
    model.graph.input[1].type.tensor_type.shape.dim[1].dim_param = "channels"
    agree(model, {k: v.astype(np.float32) for k, v in feeds.items()}, composite, explain="x")


def test_gamma_in_doubles() -> None:
    rng, names = np.random.default_rng(0), {"v": (4, 6), "w": (6, 5), "u": (5, 3)}
    body = "a = Gemm(x, v) r = Relu(a) z = Gemm(r, w) y = Gemm(z, u)"
    nodes = onnx.parser.parse_graph(f"g (double x) => (double y) {{ {body} }}").node
    for node in nodes:
        node.name = node.output[0]
    constants = {k: rng.standard_normal(shape) for k, shape in names.items()}
    model = model_of(nodes, constants, {"x": (3, 4)}, dtype=np.dtype("float64"))
    feeds = {"x": rng.standard_normal((3, 4))}
    agree(model, feeds, "gamma", {"gamma.gamma": 0.3}, rules={"y": "epsilon"})


@pytest.mark.parametrize("optimize", [True, False])
def test_z_of_0_counts_as_positive(optimize: bool) -> None:
    weights = {"w": np.float32([[1], [-1]]), "v": np.float32([[1]])}
    model = network("z = MatMul(x, w) s = Sigmoid(z) y = MatMul(s, v)", (1, 2), **weights)
    compiled = lrp_onnx.compile(
        model, "epsilon", parameters={"epsilon": 0.25}, check=False, optimize=optimize
    )
    found = session(compiled.model)({"x": np.ones((1, 2), np.float32)})["x_relevance"]
    np.testing.assert_allclose(found, [[4 / 3, -4 / 3]], rtol=1e-6)


@pytest.mark.parametrize("optimize", [True, False])
def test_an_epsilon_that_rounds_to_0_is_lrp_0(optimize: bool) -> None:
    model = network("p = Relu(x) z = Conv(p, w) r = Relu(z)" + BEHIND, IMAGES, w=(6, 3, 3, 3))
    x = np.zeros(IMAGES, np.float32)
    found = [
        lrp_onnx.compile(model, "zplus", parameters={"epsilon": e}, optimize=optimize, check=False)
        for e in (1e-46, 0.0)
    ]
    tiny, none = (session(c.model)({"x": x})["x_relevance"] for c in found)
    assert_close(tiny, none)


def test_a_number_that_overflows() -> None:
    model = network("r = Conv(x, w)" + BEHIND, IMAGES, w=(6, 3, 3, 3))
    with pytest.raises(lrp_onnx.RuleError, match="'gamma' is 1e\\+39, too large for FLOAT"):
        lrp_onnx.compile(model, "gamma", parameters={"gamma": 1e39})


@pytest.mark.parametrize("optimize", [True, False])
def test_pads_of_too_few_axes(optimize: bool) -> None:
    model = network("r = Conv<pads=[1,1,1,1]>(x, w)" + BEHIND, IMAGES, w=(6, 3, 3, 3))
    del model.graph.node[0].attribute[0].ints[2:]
    with pytest.raises(lrp_onnx.UnsupportedError, match="2 pads for 2 axes"):
        lrp_onnx.compile(model, "epsilon-plus-flat", optimize=optimize)


def test_more_steps_than_there_can_be() -> None:
    model = network("r = Conv(x, w)" + BEHIND, IMAGES, w=(6, 3, 3, 3))
    with pytest.raises(lrp_onnx.TargetError, match="at most 10000"):
        lrp_onnx.compile(model, method="integrated-gradients", steps=10**11)
    with pytest.raises(lrp_onnx.TargetError, match=r"above 0 such as 10, at most 1e\+06"):
        lrp_onnx.compile(model, budget=1e308)
