"""Composite auto: what it takes for each kind of network, and that it says so."""

from __future__ import annotations

import onnx
import pytest
from models import network

import lrp_onnx
from lrp_onnx.compiler.stages import load_original, prepare
from lrp_onnx.errors import CompositeError
from lrp_onnx.options import CompileOptions

PICTURE, TOKENS, TABLE = (2, 3, 8, 8), (2, 4, 3), (2, 6)
ATTENTION = (
    "q = MatMul(t, u) k = MatMul(t, v) r = Transpose<perm=[0,2,1]>(k) s = MatMul(q, r) "
    "a = Softmax<axis=-1>(s) m = MatMul(a, t) y = MatMul(m, u)"
)
LSTM = "h, c, e = LSTM<hidden_size=2>(x, wl, rl) f = Squeeze(h, one) y = MatMul(f, o)"
WEIGHTS = {
    **{"w": (4, 3, 3, 3), "w2": (4, 4, 3, 3), "w1": (3, 2, 2), "u": (3, 3), "v": (3, 3)},
    **{"p": (6, 5), "p2": (5, 3), "wl": (1, 8, 3), "rl": (1, 8, 2), "o": (2, 2), "one": [1]},
    **{"high": [0, 2, 1, 4], "wide": (3, 2, 1, 2), "alone": (3, 2, 1)},
}
NETWORKS = {
    "convolutions": (
        "c = Conv(x, w) r = Relu(c) d = Conv(r, w2) y = Flatten(d)",
        PICTURE,
        "graded",
    ),
    "a series": ("c = Conv(x, w1) r = Relu(c) y = Flatten(r)", (2, 2, 4), "zplus"),
    "a series as a picture of height 1": (
        "r = Reshape(x, high) c = Conv(r, wide) t = Tanh(c) y = Flatten(t)",
        (2, 2, 4),
        "zplus",
    ),
    "a layer at each point alone, as of a point cloud": (
        "c = Conv(x, alone) r = Relu(c) y = GlobalMaxPool(r)",
        (2, 2, 4),
        "epsilon-relative",
    ),
    "one convolution": ("c = Conv(x, w) y = Flatten(c)", PICTURE, "graded"),
    "dense": ("h = MatMul(x, p) r = Relu(h) y = MatMul(r, p2)", TABLE, "epsilon-relative"),
    "attention": (f"t = Identity(x) {ATTENTION}", TOKENS, "attnlrp"),
    "both": (
        f"n = Conv(x, w1) t = Transpose<perm=[0,2,1]>(n) {ATTENTION}",
        (2, 2, 4),
        "attnlrp-gamma",
    ),
    "recurrent": (LSTM, (4, 2, 3), "epsilon"),
    "softmax of a detector's boxes": (
        "c = Conv(x, w) s = Softmax<axis=1>(c) d = Conv(s, w2) y = Flatten(d)",
        PICTURE,
        "graded",
    ),
}


def taken(model: onnx.ModelProto, **options: object) -> dict[str, str]:
    """What the compiled model's metadata say."""
    compiled = lrp_onnx.compile(model, **options)
    return {p.key.removeprefix("lrp."): p.value for p in compiled.model.metadata_props}


def tiny(text: str, shape: tuple[int, ...]) -> onnx.ModelProto:
    return network(text, shape, **{k: w for k, w in WEIGHTS.items() if f" {k}" in text})


@pytest.mark.parametrize(("text", "shape", "composite"), NETWORKS.values(), ids=NETWORKS)
def test_what_is_taken(text, shape, composite):
    stamp = taken(tiny(text, shape))
    assert stamp["composite"] == composite
    assert stamp["chosen_because"]


def test_what_the_user_names_is_no_choice():
    text, shape, _ = NETWORKS["convolutions"]
    stamp = taken(tiny(text, shape), composite="epsilon")
    assert stamp["composite"] == "epsilon"
    assert "chosen_because" not in stamp


def test_a_known_range_of_the_input_is_used():
    text, shape, _ = NETWORKS["convolutions"]
    model = tiny(text, shape)
    options = CompileOptions()
    ranges = {"x": ([-1.0] * 3, [1.0] * 3)}
    prepared = prepare(load_original(model), options, ranges)
    assert prepared.assignment.composite_name == "graded-box"
    given = taken(model, parameters={"low": -1.0, "high": 1.0})
    assert given["composite"] == "graded-box"


def test_rules_and_parameters_go_with_it():
    text, shape, _ = NETWORKS["convolutions"]
    compiled = lrp_onnx.compile(
        tiny(text, shape), rules={"c": "zplus"}, parameters={"epsilon.epsilon": 0.5}
    )
    rules = {line.name: line.rule for line in compiled.report}
    assert rules == {"c": "zplus", "r": "pass", "d": "epsilon", "y": "move"}


def test_gradient_methods_have_no_composite_to_choose():
    text, shape, _ = NETWORKS["convolutions"]
    stamp = taken(tiny(text, shape), method="gradient")
    assert (stamp["composite"], stamp["start"]) == ("gradient", "one")
    assert "chosen_because" not in stamp


def test_a_parameter_that_the_choice_does_not_take_says_so():
    text, shape, _ = NETWORKS["dense"]
    fact = r"'epsilon-relative', which auto takes here \(dense layers.*\): nothing takes .*'gamma'"
    with pytest.raises(CompositeError, match=f"{fact}.*Leave it out, or name another"):
        lrp_onnx.compile(tiny(text, shape), parameters={"gamma": 0.5})
