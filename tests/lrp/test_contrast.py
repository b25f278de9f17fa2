"""Start contrast: what all classes share changes no probability, and no relevance."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from models import Array, assert_close, network

import lrp_onnx
from lrp_onnx.errors import TargetError

CLASSES, FEATURES = 5, 4
RNG = np.random.default_rng(5)
W, B, SHARED = (RNG.standard_normal(n) for n in ((FEATURES, CLASSES), CLASSES, FEATURES))
HIDDEN = RNG.standard_normal((3, FEATURES))
KERNEL = RNG.standard_normal((FEATURES, 3, 3, 3))
CONV = "h = Conv<pads=[1,1,1,1]>(x, k) a = Relu(h) "
DENSE = "h = MatMul(x, u) a = Relu(h) "
LAYERS = {
    "Gemm": (DENSE + "z = Gemm(a, w, b) y = Softmax(z)", (2, 3)),
    "Gemm, transposed": (DENSE + "z = Gemm<transB=1>(a, wt, b) y = Softmax(z)", (2, 3)),
    "MatMul": (DENSE + "z = MatMul(a, w) y = Softmax(z)", (2, 3)),
    "MatMul, Add": (DENSE + "m = MatMul(a, w) z = Add(m, b) y = LogSoftmax(z)", (2, 3)),
    "of rank 3": (DENSE + "m = MatMul(a, w) z = Add(m, b) y = Softmax(z)", (2, 6, 3)),
    "temperature": (DENSE + "m = Gemm(a, w, b) z = Mul(m, half) y = Softmax(z)", (2, 3)),
    "weights on the left": (
        DENSE + "t = Transpose(a) z = MatMul(wt, t) p = Softmax<axis=0>(z) y = Transpose(p)",
        (2, 3),
    ),
    "convolution": (CONV + "z = Conv(a, wk, b) y = Softmax<axis=1>(z)", (2, 3, 5, 5)),
    "convolution, pooled": (
        CONV + "c = Conv(a, wk, b) g = GlobalAveragePool(c) z = Flatten(g) y = Softmax(z)",
        (2, 3, 5, 5),
    ),
    "squeezed behind the softmax": (
        CONV + "g = GlobalAveragePool(a) z = Conv(g, wk, b) p = Softmax<axis=1>(z) "
        "y = Flatten(p)",
        (2, 3, 5, 5),
    ),
}  # fmt: skip
COMPOSITES = ("epsilon", "epsilon-relative", "zplus", "gamma", "alpha2-beta1", "graded", "auto")


def drawn(shape: tuple[int, ...]) -> Array:
    return np.random.default_rng(6).standard_normal(shape).astype(np.float32)


def model_with(text: str, shape: tuple[int, ...], shared: Array) -> onnx.ModelProto:
    """The model with a vector added to the weights of every class."""
    w = W + shared[:, None]
    return network(
        text, shape, u=HIDDEN, k=KERNEL, w=w, wt=w.T, b=B, half=0.5, wk=w.T[:, :, None, None]
    )


def explained(model: onnx.ModelProto, x: Array, **options: object) -> Array:
    return lrp_onnx.Explainer(lrp_onnx.compile(model, **options))(x).relevance["x"]


@pytest.mark.parametrize("composite", COMPOSITES)
@pytest.mark.parametrize(("text", "shape"), LAYERS.values(), ids=LAYERS)
def test_what_all_classes_share_changes_no_relevance(text, shape, composite):
    x = drawn(shape)
    plain, shifted = (model_with(text, shape, s * SHARED) for s in (0, 3))
    r = explained(plain, x, composite=composite)
    assert np.abs(r).max() > 0.01
    assert_close(explained(shifted, x, composite=composite), r, 1e-4)


def test_start_logit_sees_it():
    text, shape = LAYERS["Gemm"]
    x = drawn(shape)
    plain, shifted = (
        explained(model_with(text, shape, s * SHARED), x, composite="epsilon", start="logit")
        for s in (0, 3)
    )
    assert np.abs(plain - shifted).max() > 0.1 * np.abs(plain).max()


def logits_of(x: Array) -> Array:
    return np.maximum(x.astype(np.float64) @ HIDDEN, 0) @ W + B


TARGETS = {
    "argmax": lambda z: z.max(1) - z.mean(1),
    "2": lambda z: z[:, 2] - z.mean(1),
    "2-0": lambda z: z[:, 2] - z[:, 0],
    "max": lambda z: z.max(1) - z.mean(1),
    "all": lambda z: z.sum(1),
}


@pytest.mark.parametrize("target", TARGETS)
def test_relevance_starts_with_the_class_less_the_mean(target):
    text, shape = LAYERS["Gemm"]
    x = drawn(shape)
    compiled = lrp_onnx.compile(
        model_with(text, shape, 0 * SHARED), target=target, relevance_at="y"
    )
    start = lrp_onnx.Explainer(compiled)(x).relevance["y"].sum(1)
    assert_close(start, TARGETS[target](logits_of(x)), 1e-5)


def test_the_largest_classes_are_those_of_the_logits():
    text, shape = LAYERS["Gemm"]
    x = drawn(shape)
    compiled = lrp_onnx.compile(
        model_with(text, shape, 0 * SHARED), target="top-2", relevance_at="y"
    )
    result, z = lrp_onnx.Explainer(compiled)(x), logits_of(x)
    order = np.argsort(-z)[:, :2]
    np.testing.assert_array_equal(result.outputs["y_topk_index"], order)
    sums = np.take_along_axis(z, order, 1) - z.mean(1, keepdims=True)
    assert_close(result.relevance["y"].sum(2), sums, 1e-5)


def test_epsilon_shares_the_contrast_by_the_weights_less_their_mean():
    text, shape = LAYERS["MatMul"]
    x = drawn(shape)
    compiled = lrp_onnx.compile(
        model_with(text, shape, 0 * SHARED), composite="epsilon", target=1, relevance_at="a"
    )
    a = np.maximum(x.astype(np.float64) @ HIDDEN, 0)
    expected = a * (W[:, 1] - W.mean(1))
    assert_close(lrp_onnx.Explainer(compiled)(x).relevance["a"], expected, 1e-4)


def test_without_a_layer_in_front_the_mean_is_a_node():
    text = "a = MatMul(x, u) z = Sin(a) y = Softmax(z)"
    x = drawn((2, 3))
    compiled = lrp_onnx.compile(
        network(text, (2, 3), u=HIDDEN), composite="epsilon", target=1, relevance_at="z"
    )
    z = np.sin(x.astype(np.float64) @ HIDDEN)
    expected = (np.eye(4)[1] - 1 / 4) * z
    assert_close(lrp_onnx.Explainer(compiled)(x).relevance["z"], expected, 1e-4)


STARTS = {
    "softmax": ("z = MatMul(x, w) y = Softmax(z)", "argmax", "contrast"),
    "log-softmax": ("z = MatMul(x, w) y = LogSoftmax(z)", "argmax", "contrast"),
    "logits": ("y = MatMul(x, w)", "argmax", "logit"),
    "sigmoid": ("z = MatMul(x, w) y = Sigmoid(z)", "argmax", "logit"),
    "softmax of one class": ("z = MatMul(x, w1) y = Softmax(z)", "argmax", "logit"),
    "sum": ("z = MatMul(x, w) y = Softmax(z)", "all", "logit"),
    "seed": ("z = MatMul(x, w) y = Softmax(z)", "seed", "logit"),
}


@pytest.mark.parametrize(("text", "target", "start"), STARTS.values(), ids=STARTS)
def test_auto_is_contrast_behind_a_softmax(text, target, start):
    model = network(text, (2, 4), w=W, w1=W[:, :1])
    compiled = lrp_onnx.compile(model, target=target)
    stamped = {p.key: p.value for p in compiled.model.metadata_props}
    assert stamped["lrp.start"] == start


def test_contrast_of_logits_without_a_softmax_is_there_for_the_asking():
    text, shape = LAYERS["Gemm"]
    x = drawn(shape)
    bare = text.replace("y = Softmax(z)", "y = Identity(z)")
    r = explained(model_with(bare, shape, 0 * SHARED), x, start="contrast")
    assert_close(r, explained(model_with(text, shape, 0 * SHARED), x), 1e-5)


def test_one_class_has_nothing_to_be_compared_with():
    model = network("z = MatMul(x, w) y = Squeeze(z, one)", (2, 4), w=W[:, :1], one=[1])
    with pytest.raises(TargetError, match="has one class"):
        lrp_onnx.compile(model, start="contrast")
