"""Ids by one-hot rows or as floats: relevance per id, as through a Gather of integer ids."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from models import assert_close, run
from onnx import helper, numpy_helper

import lrp_onnx

TABLE = np.random.default_rng(2).standard_normal((6, 4)).astype(np.float32)
CONSTANTS = {
    "table": TABLE, "turned": TABLE.T.copy(), "numbers": np.arange(6), "row": np.arange(6)[None],
    "others": np.arange(6)[::-1].copy(), "last": np.array([-1]), "column": np.array([2, 3, 1]),
    "depth": np.array(6), "values": np.array([0, 1], np.float32),
    "one": np.float32(1), "zero": np.float32(0), "unit": np.eye(6, dtype=np.float32),
    "third": np.array([2]), "far": np.array([0, 2], np.float32), "shape": np.array([2, 3, 4]),
    "front": np.array([0]), "deep": np.arange(6).reshape(6, 1, 1),
    "narrow": np.array([2, 3]), "wide": np.array([2, 3, 1]),
}  # fmt: skip
HOT = "u = Unsqueeze(ids, last) e = Equal(u, numbers) o = Cast<to=1>(e)"
SPELLINGS = {
    "Equal": f"{HOT} r = MatMul(o, table)",
    "range first": f"{HOT.replace('(u, numbers)', '(numbers, u)')} r = MatMul(o, table)",
    "range of rank two": f"{HOT.replace('numbers', 'row')} r = MatMul(o, table)",
    "Reshape": f"{HOT.replace('Unsqueeze(ids, last)', 'Reshape(ids, column)')} "
        "r = MatMul(o, table)",
    "Where": "u = Unsqueeze(ids, last) e = Equal(u, numbers) o = Where(e, one, zero) "
        "r = MatMul(o, table)",
    "not another": "u = Unsqueeze(ids, last) e = Equal(u, numbers) k = Not(e) h = Not(k) "
        "o = Cast<to=1>(h) r = MatMul(o, table)",
    "OneHot along axis 1, turned": "h = OneHot<axis=1>(ids, depth, values) "
        "o = Transpose<perm=[0, 2, 1]>(h) r = MatMul(o, table)",
    "OneHot along axis 1, table first": "o = OneHot<axis=1>(ids, depth, values) "
        "m = MatMul(turned, o) r = Transpose<perm=[0, 2, 1]>(m)",
    "Equal along axis 0, turned": "u = Unsqueeze(ids, front) e = Equal(u, deep) o = Cast<to=1>(e) "
        "t = Transpose<perm=[1, 2, 0]>(o) r = MatMul(t, table)",
    "unit matrix": "o = Gather(unit, ids) r = MatMul(o, table)",
    "Einsum": 'o = OneHot(ids, depth, values) r = Einsum<equation="btv,vc->btc">(o, table)',
    "spread and summed": f"{HOT} w = Unsqueeze(o, last) k = Mul(w, table) "
        "r = ReduceSum<keepdims=0>(k, third)",
    "OneHot": "o = OneHot(ids, depth, values) r = MatMul(o, table)",
    "Gemm": "f = Reshape(ids, last) u = Unsqueeze(f, last) e = Equal(u, numbers) "
        "o = Cast<to=1>(e) g = Gemm<transB=1>(o, turned) r = Reshape(g, shape)",
}  # fmt: skip
OTHERS = {
    "another order": f"{HOT.replace('numbers', 'others')} r = MatMul(o, table)",
    "twice": "o = OneHot(ids, depth, far) r = MatMul(o, table)",
}
FLOATS = {
    "Cast": "i = Cast<to=7>(x) r = Gather(table, i)",
    "Cast to int32": "i = Cast<to=6>(x) r = Gather(table, i)",
    "moved": "u = Reshape(x, wide) i = Cast<to=7>(u) s = Reshape(i, narrow) r = Gather(table, s)",
}


def model_with(body: str, name: str = "ids", dtype: str = "int64") -> onnx.ModelProto:
    body = f"{body} a = Relu(r) y = ReduceSum<keepdims=0>(a, last)"
    nodes = onnx.parser.parse_graph(f"g (float q) => (float y) {{ {body} }}").node
    used = [numpy_helper.from_array(v, k) for k, v in CONSTANTS.items()
            if f"{k}," in body or f"{k})" in body or f"({k}" in body]  # fmt: skip
    element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    graph = helper.make_graph(
        nodes,
        "lookup",
        [helper.make_tensor_value_info(name, element, [2, 3])],
        [helper.make_tensor_value_info("y", 1, [2, 3])],
        used,
    )
    opsets = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


HOW = ("attnlrp", "epsilon", "input-x-gradient", "integrated-gradients")


def relevance(model: onnx.ModelProto, x: np.ndarray, how: str) -> np.ndarray:
    named = {"method": how} if "gradient" in how else {"composite": how}
    compiled = lrp_onnx.compile(model, target="all", **named)
    name = model.graph.input[0].name
    return run(compiled.model, {name: x})[f"{name}_relevance"]


IDS = np.array([[1, 5, 0], [3, 3, 2]])


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("name", SPELLINGS)
def test_a_one_hot_product_is_a_lookup(name: str, how: str) -> None:
    expected = relevance(model_with("r = Gather(table, ids)"), IDS, how)
    assert np.abs(expected).max() > 0
    assert_close(relevance(model_with(SPELLINGS[name]), IDS, how), expected)


@pytest.mark.parametrize("name", OTHERS)
def test_another_product_is_none(name: str) -> None:
    with pytest.raises(lrp_onnx.LrpError, match="no input reaches it"):
        relevance(model_with(OTHERS[name]), IDS, "epsilon")


def test_an_id_outside_of_the_table_gives_zeros_as_before() -> None:
    model = model_with(SPELLINGS["Equal"])
    compiled = lrp_onnx.compile(model, "epsilon", target="all").model
    far = IDS + 4
    assert_close(run(compiled, {"ids": far})["y"], run(model, {"ids": far})["y"])


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("name", FLOATS)
def test_ids_as_floats(name: str, how: str) -> None:
    expected = relevance(model_with("r = Gather(table, ids)"), IDS, how)
    model = model_with(FLOATS[name], "x", "float32")
    assert_close(relevance(model, IDS.astype(np.float32), how), expected)
