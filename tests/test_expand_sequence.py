"""Sequences with known elements become tensors."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from models import assert_close, run
from onnx import helper

import lrp_onnx
from lrp_onnx.errors import UnsupportedError
from lrp_onnx.expand import EXPANSIONS, sequence

AT = "i = Constant<value = int64 {1}> () y = SequenceAt(s, i)"
CASES = {
    "at": f"s = SequenceConstruct(x, z, x) {AT}",
    "concat": "s = SequenceConstruct(x, z, x) y = ConcatFromSequence<axis = 1>(s)",
    "stack": "s = SequenceConstruct(x, z) y = ConcatFromSequence<axis = 1, new_axis = 1>(s)",
    "inserted": "e = SequenceEmpty() f = SequenceInsert(e, x) s = SequenceInsert(f, z) " + AT,
    "erased": "f = SequenceConstruct(x, x, z) o = Constant<value = int64 {0}> () "
    "s = SequenceErase(f, o) " + AT,
    "single": f"s = SplitToSequence<axis = 1, keepdims = 0>(z) {AT}",
    "parts": "n = Constant<value = int64 {2}> () s = SplitToSequence<axis = 1>(z, n) " + AT,
    "lengths": "n = Constant<value = int64[2] {1, 2}> () s = SplitToSequence<axis = 1>(z, n) " + AT,
    "length": "s = SequenceConstruct(x, z) n = SequenceLength(s) f = Cast<to = 1>(n) y = Mul(z, f)",
    "optional": "o = Optional(z) y = OptionalGetElement(o)",
}
FEEDS = {"x": np.arange(6, dtype=np.float32).reshape(2, 3) - 2}


def model(body: str, inputs: str = "float[2,3] x") -> onnx.ModelProto:
    graph = onnx.parser.parse_graph(f"g ({inputs}) => (float y) {{ z = Neg(x) {body} }}")
    for node in graph.node:
        node.name = node.output[0]
    opsets = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


@pytest.mark.parametrize("name", CASES)
def test_relevance_goes_through_known_elements(name: str) -> None:
    given = model(CASES[name])
    del given.graph.output[0].type.tensor_type.shape.dim[:]
    given.graph.output[0].type.tensor_type.ClearField("shape")
    compiled = lrp_onnx.compile(given, composite="gradient", target="all", start="one", check=False)
    before, after = run(given, FEEDS), run(compiled.model, FEEDS)
    assert_close(after["y"], before["y"])
    assert not any("Sequence" in node.op_type for node in compiled.model.graph.node)
    shifted = [
        run(given, {"x": FEEDS["x"] + e})["y"].sum()
        for e in np.eye(6, dtype=np.float32).reshape(6, 2, 3)
    ]
    slope = np.array(shifted) - before["y"].sum()
    assert_close(after["x_relevance"].ravel(), slope.astype(np.float32))


def test_unknown_position_is_refused() -> None:
    given = model("s = SequenceConstruct(x, z) y = SequenceAt(s, i)", "float[2,3] x, int64 i")
    given.graph.output[0].type.tensor_type.ClearField("shape")
    with pytest.raises(UnsupportedError, match="position is computed"):
        lrp_onnx.compile(given, explain="x", check=False)


def test_every_expansion_has_a_case() -> None:
    own = {op for (_, op), f in EXPANSIONS.items() if f.__module__ == sequence.__name__}
    assert all(any(op in body for body in CASES.values()) for op in own)
