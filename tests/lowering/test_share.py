"""In which order c·a/Z is computed: by what the runtime has at hand."""

from __future__ import annotations

import onnx
import pytest
from models import network

import lrp_onnx

CHANNELS = {"w1": (8, 8, 1, 1), "w2": (8, 8, 3, 3), "w3": (8, 8, 1, 1)}
CONVOLVED = (
    "z1 = Conv(x, w1) a1 = Relu(z1) z2 = Conv<pads=[1,1,1,1]>(a1, w2) a2 = {activation} "
    "z3 = Conv(a2, w3) {behind}"
)


def factors(model: onnx.ModelProto, of: str) -> set[str]:
    """What the quotient of node z2 divides: the operators that make it."""
    made_by = {name: node for node in model.graph.node for name in node.output}
    (quotient,) = [n for n in model.graph.node if n.name == "lrp/z2/Div"]
    divided = made_by[quotient.input[0]]
    return {divided.op_type, *([of] if of in divided.input else [])}


def compiled(activation: str, behind: str, **options: object) -> onnx.ModelProto:
    text = CONVOLVED.format(activation=activation, behind=behind)
    model = network(text, (1, 8, 6, 6), (0,), low=0.0, six=6.0, **CHANNELS)
    return lrp_onnx.compile(model, "zplus", target="all", **options).model


@pytest.mark.parametrize("activation", ["Relu(z2)", "Clip(z2, low, six)"])
def test_the_product_first_where_a_convolution_makes_both(activation: str) -> None:
    assert factors(compiled(activation, "y = Sigmoid(z3)"), "a2") == {"Mul", "a2"}


@pytest.mark.parametrize(
    ("behind", "options"),
    [("p = Add(z3, a2) y = Sigmoid(p)", {}), ("y = Sigmoid(z3)", {"runtime": "cuda"})],
    ids=["relevance is a sum", "cuda"],
)
def test_else_what_is_kept_is_one_tensor(behind: str, options: dict[str, str]) -> None:
    assert factors(compiled("Relu(z2)", behind, **options), "a2") == {"Relu"}
