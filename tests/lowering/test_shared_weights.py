"""A convolution and a transposed one read no square weight together in a portable file."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from models import assert_close, network, run

import lrp_onnx

NETWORKS = {
    "convolution": "h = Conv<strides=[2,2]>(x, w)\n y = Tanh(h)",
    "transposed": "h = ConvTranspose<strides=[2,2]>(x, w)\n y = Tanh(h)",
    "twice": "h = Conv<strides=[2,2]>(x, w)\n t = Tanh(h)\n y = Conv<strides=[2,2]>(t, w)",
}


def kinds_of_readers(model: onnx.ModelProto) -> dict[str, set[str]]:
    kinds: dict[str, set[str]] = {}
    for node in model.graph.node:
        if node.op_type in ("Conv", "ConvTranspose"):
            kinds.setdefault(node.input[1], set()).add(node.op_type)
    return kinds


def test_products_with_a_square_weight_and_its_transpose_are_apart() -> None:
    text = "h = Gemm<transB=1>(x, w) t = Tanh(h) y = Gemm<transB=1>(t, v)"
    model = network(text, ("N", 4), w=(4, 4), v=(2, 4))
    compiled = lrp_onnx.compile(model, "epsilon").model
    ways: dict[str, set[int]] = {}
    for node in compiled.graph.node:
        if node.op_type == "Gemm":
            turned = next((a.i for a in node.attribute if a.name == "transB"), 0)
            ways.setdefault(node.input[1], set()).add(turned)
    assert sorted(map(len, ways.values())) == [1, 1, 2]  # v is not square
    shared = lrp_onnx.compile(model, "epsilon", runtime="cpu").model
    x = np.random.default_rng(0).standard_normal((2, 4)).astype(np.float32)
    assert_close(*(run(m, {"x": x})["x_relevance"] for m in (compiled, shared)))


@pytest.mark.parametrize("optimize", [True, False])
@pytest.mark.parametrize("name", NETWORKS)
def test_they_are_apart(name: str, optimize: bool) -> None:
    model = network(NETWORKS[name], (1, 4, 8, 8), (0,), w=(4, 4, 2, 2))
    request = {"composite": "epsilon", "target": "all", "optimize": optimize}
    compiled = lrp_onnx.compile(model, **request).model
    assert all(len(kinds) == 1 for kinds in kinds_of_readers(compiled).values())
    shared = lrp_onnx.compile(model, runtime="cpu", **request).model
    assert any(len(kinds) == 2 for kinds in kinds_of_readers(shared).values())
    x = np.random.default_rng(0).standard_normal((2, 4, 8, 8)).astype(np.float32)
    apart, together = (run(m, {"x": x})["x_relevance"] for m in (compiled, shared))
    assert_close(apart, together)


def test_others_are_shared() -> None:
    """Only a square one is copied: a file does not grow without need."""
    model = network(NETWORKS["convolution"], (1, 2, 8, 8), (0,), w=(4, 2, 2, 2))
    compiled = lrp_onnx.compile(model, "epsilon", target="all", optimize=False)
    assert any(len(kinds) == 2 for kinds in kinds_of_readers(compiled.model).values())
