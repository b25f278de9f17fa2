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


ARITHMETIC = {
    "offset": "c = Add(ids, two)",
    "scaled": "c = Mul(ids, two)",
    "negative ids count from the end": "low = Less(ids, zero) up = Add(ids, size)"
    " c = Where(low, up, ids)",
    "clipped": "c = Clip(ids, two, three)",
    "remainder": "big = Mul(ids, size) more = Add(big, ids) c = Mod(more, size)",
    "difference": "m = Sub(three, ids) c = Abs(m)",
    "bits": "c = BitwiseXor(ids, two)",
    "counted": "n = ReduceMax<keepdims=1>(ids, axis) k = Sub(n, n) c = Add(ids, k)",
    "cast": "f = Cast<to=6>(ids) g = Cast<to=7>(f) c = Add(g, two)",
    "in a body": "c = If<then_branch = a () => (int64[2,3] p) { p = Add(ids, two) },"
    " else_branch = b () => (int64[2,3] q) { q = Mul(ids, two) }>(yes)",
}
"""What makes codes c of the ids, each of one."""
EMBEDDING = """<ir_version: 9, opset_import: ["": 18]>
g (%s) => (float[2,4] y)
<float[9,4] table = {%s}, float[4,4] w = {1,2,-3,4,5,-6,7,8,2,-1,3,1,-1,4,2,-2}, int64 two = {2},
 int64 three = {3}, int64 zero = {0}, int64 size = {9}, int64[1] axis = {1}, bool yes = {1},
 int64[1] first = {0}, int64[1] last = {1}, int64[1] end = {3}, int64[1] back = {2}>
{ %s  e = Gather(table, c)  t = Tanh(e)  s = ReduceSum<keepdims=0>(t, axis)  y = MatMul(s, w) }"""
TABLE = ",".join(f"{v:.3f}" for v in np.random.default_rng(7).standard_normal(36))
REQUESTS = [
    *({"composite": name} for name in ("epsilon", "epsilon-plus-flat", "attnlrp", "zplus")),
    *({"method": name} for name in ("gradient", "input-x-gradient", "integrated-gradients")),
]


def relevance_of(feeds: str, body: str, ids: np.ndarray, request: dict[str, str]) -> np.ndarray:
    model = onnx.parser.parse_model(EMBEDDING % (feeds, TABLE, body))
    compiled = lrp_onnx.compile(model, target=1, **request)
    return run(compiled.model, {feeds.split()[-1]: ids})[f"{feeds.split()[-1]}_relevance"]


def codes_of(body: str, ids: np.ndarray) -> np.ndarray:
    model = onnx.parser.parse_model(EMBEDDING % ("int64[2,3] ids", TABLE, body))
    model.graph.output.append(onnx.helper.make_tensor_value_info("c", 7, None))
    return run(model, {"ids": ids})["c"]


PAIRS = [  # gradients are taken where integers become floats, which is not in a body
    pytest.param(name, request, id=f"{name}-{next(iter(request.values()))}")
    for name in ARITHMETIC
    for request in REQUESTS
    if name != "in a body" or "composite" in request
]


@pytest.mark.parametrize(("name", "request_"), PAIRS)
def test_codes_made_of_ids_are_as_codes_from_outside(name: str, request_: dict[str, str]) -> None:
    ids = np.array([[3, 2, 0], [-1, -3, 1]] if "negative" in name else [[3, 2, 0], [1, 3, 1]])
    codes = codes_of(ARITHMETIC[name], ids)
    expected = relevance_of("int64[2,3] c", "", codes, request_)
    found = relevance_of("int64[2,3] ids", ARITHMETIC[name], ids, request_)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda r: next(iter(r.values())))
def test_a_code_of_several_ids_is_shared_alike(request_: dict[str, str]) -> None:
    """A hashed pair of neighbors: each of both gets half."""
    body = (
        "a = Slice(ids, first, back, axis) b = Slice(ids, last, end, axis) m = Mul(a, three)"
        " h = Add(m, b) c = Mod(h, size)"
    )
    ids = np.array([[3, 2, 0], [1, 3, 1]])
    of_pair = relevance_of("int64[2,2] c", "", codes_of(body, ids), request_)
    expected = np.zeros((2, 3))
    expected[:, :-1] += of_pair / 2
    expected[:, 1:] += of_pair / 2
    found = relevance_of("int64[2,3] ids", body, ids, request_)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_integers_beside_floats_are_named() -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 18]>'
        " g (float[N,3] x, int64[N] ids, int64 k) => (float[N,3] y) { e = Gather(t, ids)"
        " s = Add(x, e) n = Shape(k) y = Relu(s) }"
    )
    table = np.ones((5, 3), np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(table, "t"))
    told = [text for text in lrp_onnx.compile(model, "epsilon").warnings if "left out" in text]
    assert [text.partition(":")[0] for text in told] == ["input 'ids'"]
    assert "--explain x --explain ids" in told[0]
    assert lrp_onnx.compile(model, "epsilon", explain=["x", "ids"]).warnings == ()
    assert lrp_onnx.compile(model, "epsilon", explain=["x"]).warnings == ()
