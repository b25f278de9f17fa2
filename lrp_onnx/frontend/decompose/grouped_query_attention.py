"""Grouped-query attention as ONNX Runtime fuses it: several query heads share a key and value head.

Source: Ainslie et al. 2023, GQA; ONNX Runtime, docs/ContribOperators.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from lrp_onnx.errors import UnsupportedError
from lrp_onnx.frontend.decompose.activation import MICROSOFT
from lrp_onnx.frontend.decompose.heads import (
    Scores,
    default_scale,
    known_size,
    merged,
    positions,
    repeated,
    size_of,
    size_of_a_head,
    split_heads,
)
from lrp_onnx.frontend.decompose.registry import decomposes
from lrp_onnx.frontend.decompose.rotary import turned
from lrp_onnx.graph.replacement import Build, attribute

__all__: list[str] = []

Value = ir.Value | None

REFUSED = {
    "sliding_window_cache": "its cache holds a window only",
    "qk_output": "it puts out its scores",
    "smooth_softmax": "its softmax has a sink",
}
REFUSED_INPUTS = {
    11: "its softmax has a sink",
    12: "its cache is quantized",
    14: "it normalizes query and key inside, which ONNX Runtime's CPU kernel does not do",
}


def _require_plain(node: ir.Node) -> None:
    """UnsupportedError for what no decomposition has been written for."""
    inputs = [*node.inputs, *[None] * 16]
    reasons = [why for name, why in REFUSED.items() if attribute(node, name, 0)]
    reasons += [why for i, why in REFUSED_INPUTS.items() if inputs[i] is not None]
    if reasons:
        raise UnsupportedError(f"{reasons[0]}. Export the model without that")


@decomposes("GroupQueryAttention", domain=MICROSOFT)
def group_query_attention(build: Build, node: ir.Node) -> Sequence[Value]:
    """Attention of N query heads over G key and value heads with a cache, causal as a rule.

    query: (B, S, N·H) or all three packed, key, value: (B, S, G·H)    past: (B, G, P, H)
    ->    (B, S, N·H), present: (B, G, T, H).    Of each sample seqlens + 1 keys are real.
    Spec: ONNX Runtime contrib operators, GroupQueryAttention.
    """
    _require_plain(node)
    inputs = [*node.inputs, *[None] * 12][:11]
    query, key, _, past_key, past_value, lengths, total, _, _, ids, bias = inputs
    heads, groups = (node.attributes.get_int(k) for k in ("num_heads", "kv_num_heads"))
    width = known_size(query, 2, "hidden size")
    size = size_of_a_head(width, heads if key is not None else heads + 2 * groups)
    q, k, v = _separate(build, node, heads, groups, size)
    cache = Cache.of(build, query, lengths, total, past_key)
    if node.attributes.get_int("do_rotary", 0):
        q, k = _turned(build, node, q, k, cache.places_by_ids(ids), size)
    k, v = (
        cache.appended(past, new, groups, size) for past, new in ((past_key, k), (past_value, v))
    )
    scale = default_scale(attribute(node, "scale"), size)
    scores = Scores.of(build, q, repeated(build, k, groups, heads), query, scale)
    scores.cap(node.attributes.get_float("softcap", 0.0))
    scores.add(bias)
    seen = _seen(build, node, cache, size_of(build, k, 2), lengths)
    scores.select(seen)
    # a query of padding may see nothing in its window
    weights = build.op("Where", seen, scores.weights(), build.like(0.0, query))
    y = build.op("MatMul", weights, repeated(build, v, groups, heads))
    return [merged(build, y), k, v]


def _separate(
    build: Build, node: ir.Node, heads: int, groups: int, size: int
) -> tuple[ir.Value, ...]:
    """Query, key and value as (B, heads, S, H)."""
    parts: Sequence[Value] = node.inputs[:3]
    if parts[1] is None:
        lengths = build.ints(heads * size, groups * size, groups * size)
        parts = build.outputs("Split", 3, parts[0], lengths, axis=-1)
    counts = (heads, groups, groups)
    return tuple(split_heads(build, x, n) for x, n in zip(parts, counts, strict=True))


@dataclass
class Cache:
    """Where the queries stand behind the keys of earlier calls.

    In a first prompt, as long as the longest sequence, nothing stands before them.
    """

    build: Build
    past: Value
    queries: ir.Value
    total: ir.Value
    first: ir.Value
    before: ir.Value | None
    """(B, 1): how many keys stand before; None without a cache."""

    @classmethod
    def of(cls, build: Build, query: Value, lengths: Value, total: Value, past: Value) -> Cache:
        """lengths: (B,), of each sample one less than its keys with the new ones; total: most."""
        queries = size_of(build, query, 1)
        whole = build.op("Cast", build.op("Reshape", total, build.ints(-1)), to=ir.DataType.INT64)
        first = build.op("Equal", whole, queries)
        if past is None:
            return cls(build, past, queries, whole, first, None)
        counts = build.op("Cast", lengths, to=ir.DataType.INT64)
        real = build.op("Add", build.op("Sub", counts, queries), build.constant(1))
        column = build.op("Where", first, build.constant(0), real)
        before = build.op("Unsqueeze", column, build.ints(1))
        return cls(build, past, queries, whole, first, before)

    def places(self) -> ir.Value:
        """(B or 1, S): the positions of the queries."""
        own = self.build.op("Unsqueeze", positions(self.build, self.queries), self.build.ints(0))
        return own if self.before is None else self.build.op("Add", own, self.before)

    def places_by_ids(self, ids: Value) -> ir.Value:
        """Of a first prompt the runtime reads the first id only and counts on from there."""
        if ids is None:
            return self.places()
        flat = self.build.op("Reshape", ids, self.build.ints(-1))
        start = self.build.op("Gather", flat, self.build.ints(0), axis=0)
        counted = self.build.op("Add", positions(self.build, self.queries), start)
        return self.build.op("Where", self.first, counted, ids)

    def appended(self, past: Value, new: ir.Value, groups: int, size: int) -> ir.Value:
        """(B, G, T, H): of each sample what stands before, then what is new, then zeros."""
        if self.before is None:
            return new
        build = self.build
        old = size_of(build, past, 2)
        rows = build.op("Concat", past, new, axis=2)
        rows = build.op("Pad", rows, build.ints(0, 0, 0, 0, 0, 0, 1, 0))
        length = build.op("Squeeze", build.op("Max", self.total, old), build.ints(0))
        place = build.op("Unsqueeze", positions(build, length), build.ints(0))
        behind = build.op("Add", build.op("Sub", place, self.before), old)
        behind = build.op("Min", behind, build.op("Add", old, self.queries))
        row = build.op("Where", build.op("Less", place, self.before), place, behind)
        count = build.op("Add", build.op("Add", old, self.queries), build.constant(1))
        sample = build.op("Unsqueeze", positions(build, size_of(build, past, 0)), build.ints(1))
        row = build.op("Add", row, build.op("Mul", sample, count))
        flat = build.op("Transpose", rows, perm=[0, 2, 1, 3])
        flat = build.op("Reshape", flat, build.ints(-1, groups, size))
        return build.op("Transpose", build.op("Gather", flat, row, axis=0), perm=[0, 2, 1, 3])


def _turned(
    build: Build, node: ir.Node, q: ir.Value, k: ir.Value, places: ir.Value, size: int
) -> tuple[ir.Value, ...]:
    """Query and key turned by the rows of the caches at their positions."""
    caches = node.inputs[7:9]
    if len(caches) < 2 or None in caches:
        raise UnsupportedError("do_rotary needs its caches of cosines and sines")
    cos, sin = (build.op("Gather", cache, places, axis=0) for cache in caches)
    width = 2 * known_size(caches[0], 1, "cache's width")
    interleaved = bool(node.attributes.get_int("rotary_interleaved", 0))
    turning = 0 if width == size else width
    return tuple(turned(build, part, cos, sin, turning, interleaved) for part in (q, k))


def _seen(build: Build, node: ir.Node, cache: Cache, keys: ir.Value, lengths: Value) -> ir.Value:
    """(B, 1, S or 1, T): the real keys, up to the query's own position and in its window unless the
    attention is not causal.
    """
    place = positions(build, keys)
    counts = build.op("Cast", lengths, to=ir.DataType.INT64)
    real = build.op("LessOrEqual", place, build.op("Unsqueeze", counts, build.ints(1, 2, 3)))
    if not node.attributes.get_int("causal", 1):
        return real
    own = build.op("Unsqueeze", cache.places(), build.ints(1, 3))
    seen = build.op("And", real, build.op("LessOrEqual", place, own))
    window = node.attributes.get_int("local_window_size", -1)
    if window <= 0:
        return seen
    before = build.op("Sub", own, build.constant(window))
    return build.op("And", seen, build.op("Greater", place, before))
