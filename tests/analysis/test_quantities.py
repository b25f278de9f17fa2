"""Scores are known as such behind chains of any length of what keeps their order or moves them."""

from __future__ import annotations

from itertools import pairwise

import onnx_ir as ir
import pytest
from models import network, normalized

import lrp_onnx
from lrp_onnx.analysis.origins import Kind
from lrp_onnx.analysis.quantities import Quantities
from lrp_onnx.graph.model_file import load

LONG = 1200
LINKS = {
    "Sqrt": "Sqrt({})",
    "Clip": "Clip({}, zero, one)",
    "Max": "Max({}, zero)",
    "Cast": "Cast<to=1>({})",
    "Transpose": "Transpose<perm=[1,0]>({})",
}
APART = "products of two"


def chain(link: str, number: int = LONG) -> ir.Model:
    names = ["p", *(f"c{k}" for k in range(number - 1)), "y"]
    if link == APART:
        pairs = [f"a{k} = Max({n}, zero) b{k} = Sqrt({n}) {m} = Mul(a{k}, b{k})"
                 for k, (n, m) in enumerate(pairwise(names))]  # fmt: skip
    else:
        pairs = [f"{m} = {LINKS[link].format(n)}" for n, m in pairwise(names)]
    text = "h = MatMul(x, w) p = Sigmoid(h) " + " ".join(pairs)
    return load(network(text, (4, 4), (), w=(4, 4), zero=0.0, one=1.0))


@pytest.mark.parametrize("link", [*LINKS, APART])
def test_scores_are_known_behind_a_long_chain(link: str) -> None:
    graph = normalized(chain(link)).graph
    (y,) = graph.outputs
    assert Quantities(graph).of(y).kind is Kind.SCORE
    along = Quantities(graph).along(y, 1)
    assert along is not None
    assert [origin.kind for origin in along] == [Kind.SCORE] * 4


@pytest.mark.parametrize("link", ["Clip", "Max"])
def test_such_a_model_is_compiled(link: str) -> None:
    compiled = lrp_onnx.compile(chain(link), "epsilon", check=False)
    assert compiled.report
