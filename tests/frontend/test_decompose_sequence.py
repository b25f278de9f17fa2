"""Sequences with known elements become tensors."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import pytest
from models import assert_close, run
from onnx import helper

import lrp_onnx
from lrp_onnx.errors import UnsupportedError
from lrp_onnx.frontend.decompose import DECOMPOSITIONS, inline, sequence
from lrp_onnx.graph.annotations import RULE

AT = "i = Constant<value = int64 {1}> () y = SequenceAt(s, i)"
CHOSEN = """y = If(h) <then_branch = a () => (float[2,3] p) { p = Mul(x, z) },
  else_branch = b () => (float[2,3] q) { q = Neg(x) }>"""
CASES = {
    "at": f"s = SequenceConstruct(x, z, x) {AT}",
    "concat": "s = SequenceConstruct(x, z, x) y = ConcatFromSequence<axis = 1>(s)",
    "stack": "s = SequenceConstruct(x, z) y = ConcatFromSequence<axis = 1, new_axis = 1>(s)",
    "inserted": "e = SequenceEmpty() f = SequenceInsert(e, x) s = SequenceInsert(f, z) " + AT,
    "erased": "f = SequenceConstruct(x, x, z) o = Constant<value = int64 {0}> () "
    "s = SequenceErase(f, o) " + AT,
    "single": f"s = SplitToSequence<axis = 1, keepdims = 0>(z) {AT}",
    "unbound": "n = Constant<value = int64 {1}> () "
    "s = SplitToSequence<axis = 1, keepdims = 0>(z, n) i = Constant<value = int64 {1}> () "
    "p = SequenceAt(s, i) h = Shape(p) r = Shape(h) f = Cast<to = 1>(r) y = Mul(p, f)",
    "parts": "n = Constant<value = int64 {2}> () s = SplitToSequence<axis = 1>(z, n) " + AT,
    "lengths": "n = Constant<value = int64[2] {1, 2}> () s = SplitToSequence<axis = 1>(z, n) " + AT,
    "length": "s = SequenceConstruct(x, z) n = SequenceLength(s) f = Cast<to = 1>(n) y = Mul(z, f)",
    "optional": "o = Optional(z) y = OptionalGetElement(o)",
    "held": f"o = Optional(z) h = OptionalHasElement(o) {CHOSEN}",
    "bare": f"h = OptionalHasElement(z) {CHOSEN}",
    "empty": f"o = Optional<type = float[2,3]> () h = OptionalHasElement(o) {CHOSEN}",
    "map": "s = SequenceConstruct(x, z) t = SequenceMap<body = f (float[2,3] u) => (float[2,3] v) "
    "{ c = Constant<value = float[1] {2.5}> () w = Mul(u, c) v = Mul(w, u) }>(s) "
    + AT.replace("s,", "t,"),
    "maps": "s = SequenceConstruct(x, z) r = SequenceConstruct(z, x) "
    "t, q = SequenceMap<body = f (float[2,3] u, float[2,3] a, float[2,3] b) => "
    "(float[2,3] v, float[2,3] w) { k = Mul(u, a) v = Add(k, x) w = Sub(a, b) }>(s, r, z) "
    "p = SequenceConstruct(x) l = ConcatFromSequence<axis = 1>(t) m = ConcatFromSequence<axis = 0, "
    "new_axis = 1>(q) n = ReduceMean<keepdims = 0>(m) y = Add(l, n)",
    "loop": "n = Constant<value = int64 {3}> () e = SequenceEmpty() "
    "s, last, all = Loop<body = f (int64 i, bool go, seq(float[2,3]) t, float[2,3] a) => "
    "(bool still, seq(float[2,3]) r, float[2,3] b, float[2,3] c) "
    "{ still = Identity(go) b = Sub(a, z) r = SequenceInsert(t, b) c = Mul(b, x) }>(n, , e, x) "
    "j = ConcatFromSequence<axis = 0, new_axis = 1>(s) k = Add(all, last) y = Sub(j, k)",
    "optionals": "n = Constant<value = int64 {2}> () c = SequenceConstruct(x, z) "
    "o = Optional<type = seq(float[2,3])> () "
    "s = Loop<body = f (int64 i, bool go, optional(seq(float[2,3])) t) => "
    "(bool still, seq(float[2,3]) r) { still = Identity(go) h = OptionalHasElement(t) "
    "k = If(h) <then_branch = a () => (seq(float[2,3]) p) { p = OptionalGetElement(t) }, "
    "else_branch = b () => (seq(float[2,3]) q) { m = Mul(x, z) q = SequenceConstruct(m) }> "
    "r = SequenceInsert(k, z) }>(n, , o) y = ConcatFromSequence<axis = 1>(s)",
}
FEEDS = {"x": np.arange(6, dtype=np.float32).reshape(2, 3) - 2}
COMPUTED = {
    "at": ("s = SequenceConstruct(x, z, x) y = SequenceAt(s, i)", {"i": np.array(-2)}),
    "part": ("s = SplitToSequence<axis = 1>(z, n) y = SequenceAt(s, i)",
             {"i": np.array(1), "n": np.array(2, np.int32)}),
    "last": ("s = SplitToSequence<axis = -1>(z, n) y = SequenceAt(s, i)",
             {"i": np.array(-1, np.int32), "n": np.array(2)}),
    "length": ("s = SplitToSequence<axis = 1>(z, n) y = SequenceAt(s, i)",
               {"i": np.array(-2), "n": np.array([1, 1, 1])}),
    "one": (f"v = Reshape(z, m) s = SplitToSequence<axis = 0>(v) {AT}", {"m": np.array([2, 3])}),
    "unbound": ("v = Reshape(z, m) s = SplitToSequence<axis = 1, keepdims = 0>(v) "
                "y = SequenceAt(s, i)", {"m": np.array([3, 2]), "i": np.array(-1)}),
    "known": (f"s = SplitToSequence(z, n) {AT}", {"n": np.array([1, 1], np.int32)}),
}  # fmt: skip
"""With positions and lengths that are inputs of the run."""


def model(body: str, inputs: str = "float[2,3] x") -> onnx.ModelProto:
    graph = onnx.parser.parse_graph(f"g ({inputs}) => (float y) {{ z = Neg(x) {body} }}")
    for node in graph.node:
        node.name = node.output[0]
    opsets = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def assert_slopes(given: onnx.ModelProto, more: Mapping[str, np.ndarray]) -> None:
    """The relevance under `gradient` is the slope, and the explanation reads no sequence."""
    given.graph.output[0].type.tensor_type.ClearField("shape")
    compiled = lrp_onnx.compile(
        given, "gradient", target="all", start="one", check=False, explain="x"
    )
    feeds = {**FEEDS, **more}
    before, after = run(given, feeds), run(compiled.model, feeds)
    assert_close(after["y"], before["y"])
    emitted = [n for n in compiled.model.graph.node if any(p.key == RULE for p in n.metadata_props)]
    left = {node.op_type for node in emitted}
    assert not any("Sequence" in op or "Optional" in op or op == "Loop" for op in left)
    moved = [
        [
            run(given, {**feeds, "x": FEEDS["x"] + sign * e})["y"].sum(dtype=float)
            for sign in (1, -1)
        ]
        for e in np.eye(6, dtype=np.float32).reshape(6, 2, 3) / 8
    ]
    slopes = 4 * (np.array(moved) @ [1, -1])
    assert_close(after["x_relevance"].ravel(), slopes.astype(np.float32))


@pytest.mark.parametrize("name", CASES)
def test_relevance_goes_through_known_elements(name: str) -> None:
    assert_slopes(model(CASES[name]), {})


@pytest.mark.parametrize("name", COMPUTED)
def test_positions_and_lengths_may_be_computed(name: str) -> None:
    body, given = COMPUTED[name]
    inputs = [f"{v.dtype.name}{[len(v)] if v.ndim else ''} {n}" for n, v in given.items()]
    assert_slopes(model(body, ", ".join(["float[2,3] x", *inputs])), given)


def test_unknown_position_is_refused() -> None:
    body = "w = Concat<axis = 0>(x, z) s = SequenceConstruct(x, w) y = SequenceAt(s, i)"
    given = model(body, "float[2,3] x, int64 i")
    given.graph.output[0].type.tensor_type.ClearField("shape")
    with pytest.raises(UnsupportedError, match="position is computed"):
        lrp_onnx.compile(given, explain="x", check=False)


def test_every_expansion_has_a_case() -> None:
    here = (sequence.__name__, inline.__name__)
    own = {op for (_, op), f in DECOMPOSITIONS.items() if f.__module__ in here}
    assert all(any(op in body for body in CASES.values()) for op in own)
