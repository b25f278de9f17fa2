"""Which integer inputs are explained by default: ids that index a table, not masks beside them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from models import run

import lrp_onnx

MODEL = """<ir_version: 9, opset_import: ["": 18]>
g (int32[2,3] ids, int64[2,3] segments, int64[2,3] mask) => (float[2,4] y)
<float[4,2] w = {1,2,3,4,5,6,7,8}, float[2,4] u = {1,2,3,4,-5,6,7,8}, float[2,2] t = {3,1,-1,2},
 int64[1] last = {-1}, int64[1] one = {1}>
{
    %s
    f = Cast<to=1>(mask) g = Unsqueeze(f, last) h = Mul(e, g)
    s = ReduceSum<keepdims=0>(h, one) n = ReduceSum<keepdims=0>(g, one)
    q = Div(s, n) y = MatMul(q, u)
}"""
EMBEDDED = {
    "ids": "e = Gather(w, ids)",
    "ids, cast": "i = Cast<to=7>(ids) e = Gather(w, i)",
    "ids, moved": "i = Unsqueeze(ids, last) v = Gather(w, i) e = Squeeze(v, axis2)",
    "two tables": "a = Gather(w, ids) b = Gather(t, segments) e = Add(a, b)",
    "no table": "a = Cast<to=1>(ids) e = Unsqueeze(a, last)",
}
EXPLAINED = {
    "two tables": ["ids", "segments"],
    "no table": ["ids", "mask"],
}


def model_with(name: str) -> onnx.ModelProto:
    text = (MODEL % EMBEDDED[name]).replace("axis2)", "last2)")
    text = text.replace("int64[1] one", "int64[1] last2 = {2}, int64[1] one")
    if name == "no table":
        text = text.replace("MatMul(q, u)", "Concat<axis=-1>(q, q, q, q)")
    return onnx.parser.parse_model(text)


@pytest.mark.parametrize("name", EMBEDDED)
def test_ids_are_explained_and_masks_are_not(name: str) -> None:
    compiled = lrp_onnx.compile(model_with(name), "epsilon", target=1)
    names = [v.name for v in compiled.model.graph.output][1:]
    assert names == [f"{k}_relevance" for k in EXPLAINED.get(name, ["ids"])]
    feeds = {
        "ids": np.array([[0, 3, 1], [2, 2, 0]], np.int32),
        "segments": np.array([[0, 1, 1], [1, 0, 0]]),
        "mask": np.array([[1, 1, 0], [1, 1, 1]]),
    }
    outputs = run(compiled.model, feeds)
    assert outputs[names[0]].shape == (2, 3)
    if name != "no table":
        total = sum(outputs[k].sum(1) for k in names)
        np.testing.assert_allclose(total, outputs["y"][:, 1], rtol=1e-4)
        assert outputs["ids_relevance"][0, 2] == 0  # masked


def test_a_mask_is_explained_where_it_is_asked_for() -> None:
    compiled = lrp_onnx.compile(model_with("ids"), "epsilon", explain="mask")
    assert [v.name for v in compiled.model.graph.output] == ["y", "mask_relevance"]
