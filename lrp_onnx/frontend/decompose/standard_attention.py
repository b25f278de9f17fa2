"""Attention-23 to -25 of the standard.

Its function says the same in some seventy nodes, with shapes and types computed on the way and keys
that are not seen at minus infinity, which a backward pass would multiply by zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from lrp_onnx.errors import UnsupportedError
from lrp_onnx.frontend.decompose.heads import (
    Scores,
    both,
    default_scale,
    known_size,
    merged,
    positions,
    rank_of,
    repeated,
    size_of,
    size_of_a_head,
    split_heads,
)
from lrp_onnx.frontend.decompose.registry import decomposes
from lrp_onnx.graph.replacement import Build, attribute

__all__: list[str] = []

Value = ir.Value | None


@decomposes("Attention")
def attention(build: Build, node: ir.Node) -> Sequence[Value]:
    """softmax(mask(scale · q kᵀ)) v, with a cache, groups of heads, a soft cap, masks and windows.

    q: (B, N, S, H) or (B, S, N·H)    k, v: (B, G, T, ·) or (B, T, G·)    ->    shaped like q.
    Spec: ONNX Attention-23 to -25.
    """
    query, _, _, mask, past_key, past_value, valid = [*node.inputs, *[None] * 7][:7]
    (q, k, v), (heads, groups), size = _separate(build, node)
    before = None
    if past_key is not None:
        before = size_of(build, past_key, 2)
        k = build.op("Concat", past_key, k, axis=2)
        v = build.op("Concat", past_value, v, axis=2)
    scale = default_scale(attribute(node, "scale"), size)
    scores = Scores.of(build, q, repeated(build, k, groups, heads), query, scale)
    shown = [scores.value]
    scores.cap(node.attributes.get_float("softcap", 0.0))
    shown.append(scores.value)
    keys = size_of(build, k, 2)
    sight = Sight(build, node, size_of(build, q, 2), keys, before, valid)
    mask = sight.as_long_as_the_keys(_of_their_type(build, mask, query))
    real = sight.allowed_by(mask)
    seen = both(build, sight.in_reach(), real)
    if mask is not None and mask.dtype != ir.DataType.BOOL:
        scores.add(mask)
    unmasked = scores.value
    scores.select(seen)
    weights = _softmax(build, node, scores.value, query)
    if real is not None or sight.may_be_empty():
        weights = build.op("Where", seen, weights, build.like(0.0, query))
    y = build.op("MatMul", weights, repeated(build, v, groups, heads))
    y = merged(build, y) if rank_of(query, "query") == 3 else y
    if len(node.outputs) < 4:
        return [y, k, v]
    infinity = build.like(float("-inf"), query)
    hidden = unmasked if seen is None else build.op("Where", seen, unmasked, infinity)
    mode = node.attributes.get_int("qk_matmul_output_mode", 0)
    return [y, k, v, [*shown, hidden, weights][mode]]


def _of_their_type(build: Build, mask: Value, query: Value) -> Value:
    """The mask as numbers that can be added to scores; one of truths as it is."""
    if mask is None or query is None or mask.dtype in (None, ir.DataType.BOOL, query.dtype):
        return mask
    cast = build.op("CastLike", mask, query)
    cast.shape, cast.type = mask.shape, query.type
    return cast


def _separate(build: Build, node: ir.Node) -> tuple[tuple[ir.Value, ...], tuple[int, int], int]:
    """Query, key and value with an axis of heads, the numbers of heads, and the size of one."""
    query, key = node.inputs[:2]
    if rank_of(query, "query") == 4:
        counts = known_size(query, 1, "number of heads"), known_size(key, 1, "number of heads")
        size = known_size(query, 3, "head size")
        return tuple(v for v in node.inputs[:3] if v is not None), counts, size
    heads, groups = (node.attributes.get_int(f"{k}_num_heads") for k in ("q", "kv"))
    size = size_of_a_head(known_size(query, 2, "hidden size"), heads)
    numbers = (heads, groups, groups)
    parts = [split_heads(build, x, n) for x, n in zip(node.inputs, numbers, strict=False)]
    return tuple(parts), (heads, groups), size


def _softmax(build: Build, node: ir.Node, scores: ir.Value, like: Value) -> ir.Value:
    """The weights, computed in `softmax_precision` where that is given."""
    wanted = node.attributes.get_int("softmax_precision", 0)
    if not wanted or like is None or like.dtype == wanted:
        return build.op("Softmax", scores, axis=-1)
    precise = build.op("Softmax", build.op("Cast", scores, to=wanted), axis=-1)
    return build.op("CastLike", precise, like)


@dataclass
class Sight:
    """Which keys a query may see; its place among them is its index behind `before` keys.

    valid: (B,), of each sample the keys that are no padding: then the queries are the last of them.
    """

    build: Build
    node: ir.Node
    queries: ir.Value
    keys: ir.Value
    before: Value
    valid: Value

    def as_long_as_the_keys(self, mask: Value) -> Value:
        """The mask, with the keys that it leaves out at the end, from version 24 on, not seen."""
        if mask is None or self.build.opset < 24:
            return mask
        rank_of(mask, "mask")
        missing = self.build.op("Sub", self.keys, size_of(self.build, mask, -1))
        ends = self.build.op("Reshape", missing, self.build.ints(1))
        pads = self.build.op("Concat", self.build.ints(0), ends, axis=0)
        if mask.dtype == ir.DataType.BOOL:
            unseen = self.build.constant(False, ir.DataType.BOOL)
        else:
            unseen = self.build.like(float("-inf"), mask)
        padded = self.build.op("Pad", mask, pads, unseen, self.build.ints(-1))
        padded.type = mask.type
        return padded

    def allowed_by(self, mask: Value) -> Value:
        """Where neither the mask nor padding hides a key."""
        seen = mask
        if mask is not None and mask.dtype is None:
            raise UnsupportedError("the element type of its mask is unknown")
        if mask is not None and mask.dtype != ir.DataType.BOOL:
            hidden = self.build.op("Equal", mask, self.build.like(float("-inf"), mask))
            seen = self.build.op("Not", hidden)  # NaN hides nothing: what it meets is NaN
        if self.valid is None:
            return seen
        counts = self.build.op("Unsqueeze", self.valid, self.build.ints(1, 2, 3))
        real = self.build.op("Less", positions(self.build, self.keys), counts)
        return both(self.build, seen, real)

    def reach(self) -> tuple[int, int]:
        """How far back and ahead a query sees, -1 for any distance."""
        ahead = int(self.node.attributes.get_int("right_window_size", -1))
        causal = self.node.attributes.get_int("is_causal", 0)
        return int(self.node.attributes.get_int("left_window_size", -1)), 0 if causal else ahead

    def may_be_empty(self) -> bool:
        """Whether a query may see no key at all."""
        back, ahead = self.reach()
        return back >= 0 or ahead > 0

    def in_reach(self) -> Value:
        """(B or 1, 1, S, T) or (S, T): the keys in reach."""
        back, ahead = self.reach()
        if back < 0 and ahead < 0:
            return None
        own, place = self.own_place(), positions(self.build, self.keys)
        first = last = None
        if ahead >= 0:
            end = self.build.op("Add", own, self.build.constant(ahead)) if ahead else own
            last = self.build.op("LessOrEqual", place, end)
        if back >= 0:
            start = self.build.op("Sub", own, self.build.constant(back))
            first = self.build.op("GreaterOrEqual", place, start)
        return both(self.build, first, last)

    def own_place(self) -> ir.Value:
        """The place of each query among the keys, to be compared with those."""
        own = self.build.op("Unsqueeze", positions(self.build, self.queries), self.build.ints(1))
        if self.valid is not None:
            offset = self.build.op("Sub", self.valid, self.queries)
            return self.build.op(
                "Add", own, self.build.op("Unsqueeze", offset, self.build.ints(1, 2, 3))
            )
        return own if self.before is None else self.build.op("Add", own, self.before)
