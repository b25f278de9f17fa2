"""Conditional relevance: an input masks the channels of an inner tensor's relevance."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from commands import picture_net
from models import assert_close, network, run

import lrp_onnx
from lrp_onnx import Explainer, InputError, TargetError

X = np.random.default_rng(3).standard_normal((3, 1, 8, 8)).astype(np.float32)


def _explainer(model: onnx.ModelProto | None = None, **request: object) -> Explainer:
    return Explainer(lrp_onnx.compile(model or picture_net(), check=False, **request))


DEEP = network(
    """h = Conv <pads=[1,1,1,1]> (x, w, b)
       g = Relu(h)
       d = Dropout(g)
       k = Conv <pads=[1,1,1,1]> (d, v, c)
       n = BatchNormalization(k, scale, shift, mean, variance)
       r = Relu(n)
       f = Flatten(r)
       y = Gemm(f, u)""",
    (3, 1, 8, 8),
    w=(4, 1, 3, 3), b=(4,), v=(5, 4, 3, 3), c=(5,), u=(320, 3),
    scale=(5,), shift=(5,), mean=(5,), variance=np.arange(1.0, 6.0, dtype=np.float32),
)  # fmt: skip

CHANNELS = {"h": 4, "g": 4, "d": 4, "k": 5, "n": 5, "r": 5}
"""`d` was dropped as a no-op, `k` folded with the BatchNormalization behind it."""


@pytest.mark.parametrize("composite", ["epsilon", "epsilon-plus-flat", "alpha2-beta1"])
@pytest.mark.parametrize("tensor", CHANNELS)
def test_heatmaps_of_single_channels_sum_to_the_whole(tensor: str, composite: str) -> None:
    whole = _explainer(DEEP, composite=composite)(X).relevance["x"]
    explainer = _explainer(DEEP, composite=composite, conditions=tensor)
    assert_close(explainer(X).relevance["x"], whole)
    parts = [explainer(X, conditions={tensor: k}).relevance["x"] for k in range(CHANNELS[tensor])]
    assert max(np.abs(part - whole).max() for part in parts) > 0.1 * np.abs(whole).max()
    assert_close(np.sum(parts, axis=0), whole)


@pytest.mark.parametrize("composite", ["epsilon", "epsilon-plus-flat", "alpha2-beta1"])
def test_masks_for_more_samples_than_one(composite: str) -> None:
    wide = network(
        """a = Conv<pads=[1,1,1,1]>(x, w) p = Relu(a) z = Conv<pads=[1,1,1,1]>(p, v) r = Relu(z)
        y = GlobalAveragePool(r)""",
        (1, 8, 8, 8), w=(8, 8, 3, 3), v=(12, 8, 3, 3),
    )  # fmt: skip
    compiled = lrp_onnx.compile(wide, composite, conditions="r", check=False).model
    x, masks = np.float32(np.random.default_rng(0).random((1, 8, 8, 8))), np.eye(12)[:5]
    together = run(compiled, {"x": x, "r_condition": np.float32(masks)})["x_relevance"]
    each = [run(compiled, {"x": x, "r_condition": np.float32(masks[k : k + 1])}) for k in range(5)]
    assert_close(together, np.concatenate([part["x_relevance"] for part in each]))


@pytest.mark.parametrize("method", ["gradient", "input-x-gradient"])
def test_gradients_have_conditions_too(method: str) -> None:
    whole = _explainer(DEEP, method=method)(X).relevance["x"]
    explainer = _explainer(DEEP, method=method, conditions="r")
    parts = [explainer(X, conditions={"r": k}).relevance["x"] for k in range(5)]
    assert_close(np.sum(parts, axis=0), whole)


def test_two_conditions_at_once() -> None:
    explainer = _explainer(DEEP, composite="epsilon", conditions=["g", "r"])
    pairs = [
        explainer(X, conditions={"g": a, "r": b}).relevance["x"]
        for a in range(4)
        for b in ([0, 2], [1, 3, 4])
    ]
    whole = _explainer(DEEP, composite="epsilon")(X).relevance["x"]
    assert_close(np.sum(pairs, axis=0), whole)


def test_a_mask_of_each_sample() -> None:
    explainer = _explainer(DEEP, composite="epsilon", conditions="g")
    masks = np.eye(4, dtype=np.float32)[[2, 0, 1]]
    each = explainer(X, conditions={"g": masks}).relevance["x"]
    for k, channel in enumerate([2, 0, 1]):
        one = explainer(X, conditions={"g": channel}).relevance["x"]
        assert_close(each[k], one[k])


def test_only_chosen_channels_arrive() -> None:
    explainer = _explainer(composite="epsilon", conditions="h", relevance_at="h")
    r = explainer(X, conditions={"h": [0, 2]}).relevance["h"]
    assert not r[:, 1].any()
    assert np.abs(r[:, [0, 2]]).max() > 0


def test_channels_are_last_in_rank_3() -> None:
    model = network("m = MatMul(x, w)\n r = Relu(m)\n y = MatMul(r, v)",
                    (2, 3, 4), w=(4, 6), v=(6, 2))  # fmt: skip
    x = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
    explainer = _explainer(model, composite="epsilon", conditions="r")
    parts = [explainer(x, conditions={"r": k}).relevance["x"] for k in range(6)]
    assert_close(np.sum(parts, axis=0), explainer(x).relevance["x"])


def test_the_input_is_in_the_signature() -> None:
    model = lrp_onnx.compile(DEEP, conditions=["g", "r"], target="input").model
    onnx.checker.check_model(model, full_check=True)
    assert [v.name for v in model.graph.input] == ["x", "target", "g_condition", "r_condition"]
    feeds = {"x": X, "target": np.zeros(3, np.int64),
             "g_condition": np.ones((1, 4), np.float32),
             "r_condition": np.ones((3, 5), np.float32)}  # fmt: skip
    assert run(model, feeds)["x_relevance"].shape == X.shape


@pytest.mark.parametrize(
    ("tensors", "fact"),
    [
        (["nowhere"], "the model has none"),
        (["w"], "the model has none"),
        (["side"], "no relevance reaches it"),
        (["r", "same"], "another one is for the same tensor"),
        (["total"], "no channels"),
    ],
)
def test_tensors_without_a_condition(tensors: list[str], fact: str) -> None:
    model = network(
        "r = MatMul(x, w)\n same = Identity(r)\n side = Sigmoid(r)\n"
        "total = ReduceSum<keepdims=0>(same)\n"
        "y = Add(r, total)\n z = Add(side, side)",
        (2, 3), w=(3, 2),
    )  # fmt: skip
    model.graph.output.append(onnx.helper.make_tensor_value_info("z", 1, [None, 2]))
    with pytest.raises(TargetError, match=fact):
        lrp_onnx.compile(model, "epsilon", output="y", conditions=tensors)


def test_a_node_with_several_outputs() -> None:
    model = network(
        "a, b = Split<axis=1, num_outputs=2>(x)\n c = Sigmoid(b)\n y = Add(a, c)", (2, 4)
    )
    model.graph.node[0].name = "halves"
    with pytest.raises(TargetError, match=r"'halves': that is a node; .* 'a', 'b'. Give one of"):
        lrp_onnx.compile(model, "epsilon", conditions="halves")


@pytest.mark.parametrize(
    ("given", "fact"),
    [
        ({"h": 3}, "3 channels"),
        ({"h": [-1]}, "3 channels"),
        ({"h": "dog"}, "neither channels"),
        ({"f": 0}, "not compiled for it"),
        ({"h": np.ones((1, 2))}, "h_condition"),
    ],
)
def test_wrong_channels(given: dict[str, object], fact: str) -> None:
    with pytest.raises(InputError, match=fact):
        _explainer(conditions="h")(X, conditions=given)
