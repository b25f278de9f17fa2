"""Normalization that a model does by its own first nodes."""

import onnx
import onnx_ir as ir
import pytest

from lrp_onnx.data.implied import implied_preprocess

IMPLIED = """<ir_version: 8, opset_import: ["" : 17]>
g (%s[N, 3, 4, 4] x) => (float[N, 3, 4, 4] y)
<float[3, 1, 1] mean = {104.0, 117.0, 123.0}, float[3, 1, 1] share = {0.4, 0.5, 0.6},
 float k = {255.0}, float[3] one = {1.0, 1.0, 1.0}, float[3] var = {9e3, 9e3, 9e3},
 float[3] m = {120.0, 120.0, 120.0}, float minus = {-1.0}, float half = {0.5}>
{ %s }"""


@pytest.mark.parametrize(
    ("kind", "nodes", "expected"),
    [
        ("float", "a = Sub(x, mean) y = Relu(a)", "byte"),
        ("float", "a = Div(x, k) b = Sub(a, share) y = Div(b, share)", "byte"),
        ("float", "a = Cast<to=1>(x) b = Div(a, k) y = Relu(b)", "byte"),
        ("float", "y = BatchNormalization(x, one, one, m, var)", "byte"),
        ("float", "a = Sub(x, share) b = Div(a, share) y = Relu(b)", "unit"),
        ("float", "y = Relu(x)", None),
        ("float", "y = Sub(mean, x)", "byte"),
        ("float", "y = Mul(x, minus)", None),
        ("float", "y = Div(k, x)", None),
        ("float", "a = Relu(x) b = Sub(x, mean) y = Add(a, b)", None),
        ("uint8", "y = Cast<to=1>(x)", "byte"),
    ],
)
def test_first_nodes_that_normalize(kind, nodes, expected):
    model = ir.from_proto(onnx.parser.parse_model(IMPLIED % (kind, nodes)))
    found = implied_preprocess(model.graph.inputs[0], {})
    assert (found and found.name.split(",")[0]) == expected
