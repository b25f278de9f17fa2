"""What counts as a short run: a few seconds of products at most, all sizes known."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from lrp_onnx.analysis.run_cost import endless_loop, is_short

PRODUCTS = """<ir_version: 8, opset_import: ["": 18]>
g (float[N,{n}] x) => (float[N,{n}] y) <float[{n},{n}] w> {{ {nodes} y = Identity(a{last}) }}"""


def products(count: int, n: int) -> ir.Graph:
    """So many products in a row with an n × n weight."""
    steps = [f"a{k} = MatMul({f'a{k - 1}' if k else 'x'}, w)" for k in range(count)]
    model = ir.from_onnx_text(PRODUCTS.format(n=n, nodes=" ".join(steps), last=count - 1))
    for node in model.graph:
        node.outputs[0].shape = model.graph.inputs[0].shape
    return model.graph


@pytest.mark.parametrize(("count", "n", "short"), [(60, 8000, True), (600, 16000, False)])
def test_products_are_counted(count: int, n: int, short: bool) -> None:
    assert is_short(products(count, n)) == short


@pytest.mark.parametrize(("size", "short"), [("M", True), ("P", False)])
def test_products_of_all_places_with_all_others(size: str, short: bool) -> None:
    """Where the run alone knows how many there are, their number may be the input's squared."""
    text = """<ir_version: 8, opset_import: ["": 18]> g (float[N,M,4] x) => (float[N,P,P] y) {
        a = Relu(x) t = Transpose<perm=[0,2,1]>(a) y = MatMul(a, t) }"""
    graph = ir.from_onnx_text(text).graph
    for node, shape in zip(graph, (["N", size, 4], ["N", 4, size], ["N", size, size]), strict=True):
        node.outputs[0].shape = ir.Shape(shape)
    assert is_short(graph) == short


@pytest.mark.parametrize(
    ("trips", "goes_on", "endless"),
    [(10**12, "Identity(c)", True), (10**6, "Identity(c)", False), (10**12, "Not(c)", False)],
)
def test_a_loop_of_more_trips_than_any_budget_has_time_for(
    trips: int, goes_on: str, endless: bool
) -> None:
    text = f"""<ir_version: 8, opset_import: ["": 18]> g (float[4] x, bool go) => (float[4] y)
        <int64 t = {{{trips}}}> {{ y = Loop <body = b (int64 i, bool c, float[4] s) => (bool d,
        float[4] r) {{ d = {goes_on} r = Neg(s) }}> (t, go, x) }}"""
    assert (endless_loop(ir.from_onnx_text(text).graph) is not None) == endless
