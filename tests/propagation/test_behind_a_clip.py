"""Behind a Clip rules read z only where they must: a runtime then clips while it convolves."""

from __future__ import annotations

import pytest
from models import network

import lrp_onnx

MODEL = network(
    "z1 = Conv(x, w1) a1 = Clip(z1, low, six) z2 = Conv(a1, w2) a2 = Clip(z2, low, six) "
    "z3 = Conv(a2, w3) y = Sigmoid(z3)",
    (1, 3, 6, 6), (0,), w1=(40, 3, 1, 1), w2=(40, 40, 1, 1), w3=(8, 40, 1, 1), low=0.0, six=6.0,
)  # fmt: skip


@pytest.mark.parametrize(
    ("composite", "parameters", "reads"),
    [
        ("gamma", {"gamma": 0.25}, {"z2": 1}),
        ("gamma", {"gamma": 0.01}, {"z2": 2}),  # one sum of both signs loses digits
        ("zplus", {}, {"z1": 1, "z2": 1}),
        ("epsilon", {}, {"z1": 2, "z2": 2}),
    ],
)
def test_z_is_read_so_often(composite: str, parameters: dict[str, float], reads: dict) -> None:
    model = lrp_onnx.compile(MODEL, composite, parameters=parameters, target="all").model
    inputs = [name for node in model.graph.node for name in node.input]
    assert {name: inputs.count(name) for name in reads} == reads
