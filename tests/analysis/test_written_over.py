"""What a ScatterND writes over has the updates' origins, what it leaves its own, else both."""

from __future__ import annotations

import onnx
import onnx_ir as ir
from onnx_ir.passes import common

from lrp_onnx.analysis.origins import Kind
from lrp_onnx.analysis.quantities import Quantities

MODEL = """<ir_version: 8, opset_import: ["": 18]>
g (float[2,3] x) => (float[2,3] y) <int64[3,2] at = {0, 0, 1, 0, 0, 1}, float[1] two = {2}> {
    p = Sigmoid(x)
    f = ReduceSum<keepdims=0>(x)
    u = Mul(f, two)
    s = Constant<value_ints = [3]>()
    e = Expand(u, s)
    y = ScatterND(p, at, e)
}"""


def test_whole_and_partly_written_columns_are_told_apart() -> None:
    proto = onnx.shape_inference.infer_shapes(onnx.parser.parse_model(MODEL), data_prop=True)
    model = ir.serde.deserialize_model(proto)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    p = next(iter(model.graph)).outputs[0]
    whole, partly, kept = Quantities(model.graph).along(model.graph.outputs[0], 1) or ()
    assert (whole.kind, partly.kind, kept.kind) == (Kind.NUMBER, Kind.NUMBER, Kind.SCORE)
    assert [p in origin.tensors for origin in (whole, partly, kept)] == [False, True, True]
