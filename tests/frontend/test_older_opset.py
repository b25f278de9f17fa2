"""Compiled models at opset 13 to 17: the same numbers, in words that the older opset has."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from models import assert_close, run
from onnx_ir.passes import common

import lrp_onnx
from lrp_onnx.errors import ModelError
from lrp_onnx.frontend.opset import OLDER
from lrp_onnx.frontend.opset.older import write_at

WEIGHTS = "<float[4,3,3,3] w = {" + ", ".join(f"{k % 7 - 3}" for k in range(108)) + "}>"
NETWORKS = {
    "picture": f"""(float[N,3,6,6] x) => (float[N,4] y) {WEIGHTS} {{
        c = Conv<pads=[1,1,1,1]>(x, w) a = HardSwish(c) p = GlobalAveragePool(a)
        y = Flatten(p) }}""",
    "norm": """(float[N,5] x) => (float[N,5] y)
        <float[5] s = {1,2,3,4,5}, float[5] b = {5,4,3,2,1}, int64[1] last = {-1}> {
        n = LayerNormalization(x, s, b) g = Sigmoid(n) m = Mul(n, g) r = ReduceMean(m, last)
        y = Sub(m, r) }""",
}
FORMS = {
    "ReduceMax": "axes = Constant<value_ints=[-1]>() y = ReduceMax<keepdims=0>(x, axes)",
    "ReduceMin of all": "y = ReduceMin<keepdims=1>(x)",
    "ReduceL2 of nothing": "y = ReduceL2<noop_with_empty_axes=1>(x)",
    "uneven Split": "a, b, y = Split<axis=1, num_outputs=3>(x)",
    "even Split": "y, b, c = Split<axis=0, num_outputs=3>(x)",
    "Pad of axes": """p = Constant<value_ints=[1,2]>() a = Constant<value_ints=[-1]>()
        v = Constant<value_float=3.0>() y = Pad(x, p, v, a)""",
    "Pad without axes": """p = Constant<value_ints=[0,1,2,0]>() v = Constant<value_float=3.0>()
        y = Pad(x, p, v)""",
    "part of a Shape": "s = Shape<start=1>(x) t = Shape<start=-2, end=-1>(x) i = Add(s, t) "
    "y = CastLike(i, x)",
    "Mish": "y = Mish(x)",
    "Reshape": "s = Constant<value_ints=[5,-1]>() y = Reshape<allowzero=1>(x, s)",
}


def parsed(body: str, opset: int = 18) -> onnx.ModelProto:
    head = f'<ir_version: 8, opset_import: ["": {opset}]> g '
    return onnx.parser.parse_model(head + body)


def version(model: onnx.ModelProto) -> int:
    (own,) = (entry.version for entry in model.opset_import if not entry.domain)
    return own


@pytest.mark.parametrize("opset", OLDER)
@pytest.mark.parametrize("network", NETWORKS)
def test_relevance_is_the_same(network: str, opset: int) -> None:
    model = parsed(NETWORKS[network])
    shape = [d.dim_value or 2 for d in model.graph.input[0].type.tensor_type.shape.dim]
    feeds = {"x": np.random.default_rng(opset).standard_normal(shape).astype(np.float32)}
    older = lrp_onnx.compile(model, opset=opset).model
    onnx.checker.check_model(older, full_check=True)
    assert version(older) == opset
    read = {name for node in older.graph.node for name in node.input}
    assert {tensor.name for tensor in older.graph.initializer} <= read
    assert older.ir_version == (7 if opset < 15 else 8)
    expected = run(lrp_onnx.compile(model).model, feeds)
    for name, array in run(older, feeds).items():
        assert_close(array, expected[name])


@pytest.mark.parametrize("form", FORMS)
def test_each_form_computes_the_same(form: str) -> None:
    proto = parsed(f"(float[3,5] x) => (float y) {{ {FORMS[form]} }}")
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    proto = onnx.shape_inference.infer_shapes(proto, data_prop=True)
    onnx.checker.check_model(proto)
    feeds = {"x": np.arange(15, dtype=np.float32).reshape(3, 5) - 7}
    model = ir.serde.deserialize_model(proto)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    write_at(model, 13)
    older = ir.serde.serialize_model(model)
    onnx.checker.check_model(older)
    np.testing.assert_allclose(run(older, feeds)["y"], run(proto, feeds)["y"], rtol=1e-6)


def test_what_has_no_older_form_is_named() -> None:
    model = parsed("""(float[3,4] x, float[1,4] u) => (float[3,4] y)
        <int64[1,4] i = {1, 1, 1, 1}> { y = ScatterElements<axis=0, reduction="add">(x, i, u) }""")
    lrp_onnx.compile(model, opset=16)
    with pytest.raises(ModelError, match=r"\(ScatterElements\): reduction = add has no form"):
        lrp_onnx.compile(model, opset=15)


def test_an_opset_that_is_too_old_is_refused() -> None:
    with pytest.raises(ModelError, match=r"opset 12 is not one .* 13 to 21"):
        lrp_onnx.compile(parsed(NETWORKS["norm"]), opset=12)
