"""Inputs lie side by side in one convolution where they are its smaller tensors."""

from __future__ import annotations

import pytest
from models import network

import lrp_onnx


@pytest.mark.parametrize(("channels", "outputs"), [(8, 16), (16, 8)])
def test_the_smaller_tensors_are_joined(channels: int, outputs: int) -> None:
    model = network("t = Tanh(x) z = Conv(t, w) y = Sigmoid(z)", (1, channels, 5, 5), (0,),
                    w=(outputs, channels, 1, 1))  # fmt: skip
    compiled = lrp_onnx.compile(model, "zplus", target="all").model
    emitted = [node.op_type for node in compiled.graph.node if node.name.startswith("lrp/z/")]
    joined = channels < outputs
    counts = [emitted.count(op) for op in ("Concat", "Conv", "Split")]
    assert counts == ([1, 2, 1] if joined else [0, 4, 0])
