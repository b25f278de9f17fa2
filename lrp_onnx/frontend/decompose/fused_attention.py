"""Attention as ONNX Runtime fuses it: com.microsoft Attention and MultiHeadAttention.

Padding is masked as the runtime does it, by adding `mask_filter_value` to the scores, so that a
query that sees padding only has the same weights.
Source: ONNX Runtime, docs/ContribOperators.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from lrp_onnx.errors import UnsupportedError
from lrp_onnx.frontend.decompose.activation import MICROSOFT
from lrp_onnx.frontend.decompose.heads import (
    Scores,
    causal,
    default_scale,
    known_size,
    merged,
    positions,
    rank_of,
    size_of,
    size_of_a_head,
    split_heads,
)
from lrp_onnx.frontend.decompose.registry import decomposes
from lrp_onnx.graph.replacement import Build, attribute

__all__: list[str] = []

Value = ir.Value | None


@dataclass
class Mask:
    """What the fused operators mask: keys by a mask or by lengths, and the future."""

    build: Build
    node: ir.Node
    like: Value
    queries: ir.Value
    keys: ir.Value
    past: ir.Value | None
    batch: object
    """The size of the batch, a number or a name."""

    def applied(self, scores: Scores, mask: Value) -> None:
        """Add the filter value at padding, and hide the future where the node asks for that."""
        if mask is not None:
            filtered = self.build.like(
                self.node.attributes.get_float("mask_filter_value", -1e4), self.like
            )
            zero = self.build.like(0.0, self.like)
            scores.add(self.build.op("Where", self.padding(mask), zero, filtered))
        if self.node.attributes.get_int("unidirectional", 0):
            scores.select(causal(self.build, self.queries, self.keys, self.past))

    def padding(self, mask: ir.Value) -> ir.Value:
        """Where keys are real, to be broadcast against (B, N, S, T)."""
        rank = rank_of(mask, "mask")
        if rank == 1:
            return self.lengths(mask)
        if rank not in (2, 3):
            raise UnsupportedError(
                "its mask has four axes, which ONNX Runtime's CPU kernels do not take. Export a "
                "mask of shape (batch, keys) or (batch, queries, keys)"
            )
        real = self.build.op("Greater", mask, self.build.like(0, mask))
        return self.build.op("Unsqueeze", real, self.build.ints(*(1, 2)[: 4 - rank]))

    def lengths(self, mask: ir.Value) -> ir.Value:
        """Keys before the end and, given 2·B numbers, from the start on."""
        assert mask.shape is not None
        (count,) = mask.shape
        place = self.build.op("Cast", positions(self.build, self.keys), to=mask.dtype)
        if _same(count, self.batch):
            return self.build.op("Less", place, self.column(mask))
        if isinstance(count, int) and isinstance(self.batch, int) and count == 2 * self.batch:
            ends, starts = self.build.outputs("Split", 2, mask, axis=0, num_outputs=2)
        else:
            ends, starts = self.spans(mask)
        before = self.build.op("Less", place, self.column(ends))
        return self.build.op(
            "And", before, self.build.op("GreaterOrEqual", place, self.column(starts))
        )

    def spans(self, mask: ir.Value) -> tuple[ir.Value, ir.Value]:
        """The first B numbers and the next B, 0 if there are none: only the run knows B."""
        batch = self.build.op("Shape", self.like, start=0, end=1)
        twice = self.build.op("Add", batch, batch)
        zero = self.build.op("Expand", self.build.like(0, mask), batch)
        whole = self.build.op("Concat", mask, zero, axis=0)
        ends = self.build.op("Slice", whole, self.build.ints(0), batch)
        return ends, self.build.op("Slice", whole, batch, twice)

    def column(self, value: ir.Value) -> ir.Value:
        """(B,) -> (B, 1, 1, 1)."""
        return self.build.op("Unsqueeze", value, self.build.ints(1, 2, 3))


def _same(a: object, b: object) -> bool:
    """Whether two sizes are one number or one name."""
    if isinstance(a, int) and isinstance(b, int):
        return a == b
    names = [None if isinstance(s, int) else getattr(s, "value", None) for s in (a, b)]
    return None not in names and names[0] == names[1]


def _refuse_shared_buffer(node: ir.Node, *inputs: int) -> None:
    values = [*node.inputs, *[None] * 12]
    if node.attributes.get_int("past_present_share_buffer", 0) or any(
        values[i] is not None for i in inputs
    ):
        raise UnsupportedError(
            "its past and present share one buffer of fixed length. Export the model with past and "
            "present as tensors of their own length, or without a cache"
        )


@decomposes("Attention", domain=MICROSOFT)
def attention(build: Build, node: ir.Node) -> Sequence[Value]:
    """Attention of x·W + b, split into query, key and value.

    x: (B, S, D)    W: (D, Q + K + V)    ->    (B, S, V), present: (2, B, N, T, H).
    Spec: ONNX Runtime contrib operators, Attention.
    """
    x, w, b, mask, past, bias = [*node.inputs, *[None] * 6][:6]
    _refuse_shared_buffer(node, 6)
    if node.attributes.get_int("do_rotary", 0):
        raise UnsupportedError(
            "do_rotary turns query and key inside, which ONNX Runtime's CPU kernel does not do. "
            "Export the model with RotaryEmbedding as an operator of its own"
        )
    heads = node.attributes.get_int("num_heads")
    sizes = list(attribute(node, "qkv_hidden_sizes", ()))
    sizes = sizes or [known_size(w, 1, "hidden size") // 3] * 3
    z = build.op("MatMul", x, w)
    z = z if b is None else build.op("Add", z, b)
    q, k, v = (
        split_heads(build, part, heads)
        for part in build.outputs("Split", 3, z, build.ints(*sizes), axis=-1)
    )
    before = None
    if past is not None:
        key, value = (build.op("Gather", past, build.constant(i), axis=0) for i in (0, 1))
        before = size_of(build, past, 3)
        k, v = build.op("Concat", key, k, axis=2), build.op("Concat", value, v, axis=2)
    present = None
    if len(node.outputs) > 1:
        first, second = (build.op("Unsqueeze", part, build.ints(0)) for part in (k, v))
        present = build.op("Concat", first, second, axis=0)
    scale = default_scale(attribute(node, "scale"), sizes[0] // heads)
    scores = Scores.of(build, q, k, x, scale)
    scores.add(bias)
    batch = None if x is None or x.shape is None else x.shape[0]
    queries, keys = size_of(build, x, 1), size_of(build, k, 2)
    Mask(build, node, x, queries, keys, before, batch).applied(scores, mask)
    return [merged(build, build.op("MatMul", scores.weights(), v)), present]


@decomposes("MultiHeadAttention", domain=MICROSOFT)
def multi_head_attention(build: Build, node: ir.Node) -> Sequence[Value]:
    """Attention of query, key and value, in one tensor or apart, biases added before.

    query: (B, S, N·H)    key, value: (B, T, N·H) or (B, N, T, H)    ->    (B, S, N·V).
    Spec: ONNX Runtime contrib operators, MultiHeadAttention.
    """
    query, _, _, _, mask, bias, past_key, past_value = [*node.inputs, *[None] * 8][:8]
    _refuse_shared_buffer(node, 8, 9)
    (q, k, v), head_size = _separate(build, node)
    before = None
    if past_key is not None:
        before = size_of(build, past_key, 2)
        k = build.op("Concat", past_key, k, axis=2)
        v = build.op("Concat", past_value, v, axis=2)
    scores = Scores.of(build, q, k, query, default_scale(attribute(node, "scale"), head_size))
    scores.add(bias)
    batch = None if query is None or query.shape is None else query.shape[0]
    queries, keys = size_of(build, query, 1), size_of(build, k, 2)
    Mask(build, node, query, queries, keys, before, batch).applied(scores, mask)
    y = merged(build, build.op("MatMul", scores.weights(), v))
    return [y, k, v, scores.value]


def _separate(build: Build, node: ir.Node) -> tuple[tuple[ir.Value, ...], int]:
    """Query, key and value as (B, N, S, H), biases added, and the size of a head."""
    query, key, value, bias = [*node.inputs, *[None] * 4][:4]
    heads = node.attributes.get_int("num_heads")
    if rank_of(query, "query") == 5:  # (B, S, N, 3, H)
        size = known_size(query, 4, "head size")
        parts: list[Value] = list(_unpacked(build, query, 3))
    else:
        size = size_of_a_head(known_size(query, 2, "hidden size"), heads)
        packed = rank_of(key, "key") == 5  # (B, T, N, 2, H)
        parts = [query, *(_unpacked(build, key, 2) if packed else (key, value))]
    biases: Sequence[Value] = [None] * 3
    if bias is not None:
        rest = known_size(bias, 0, "number of biases") - 2 * heads * size
        lengths = build.ints(heads * size, heads * size, rest)
        biases = build.outputs("Split", 3, bias, lengths, axis=0)
    split = []
    for part, own in zip(parts, biases, strict=True):
        if part in (key, value) and rank_of(part, "key") == 4:  # (B, N, T, H) already
            split.append(part)
            continue
        shifted = part if own is None else build.op("Add", part, own)
        split.append(split_heads(build, shifted, heads))
    return tuple(v for v in split if v is not None), size


def _unpacked(build: Build, value: Value, count: int) -> Sequence[ir.Value]:
    """(B, S, N, count, H) as `count` tensors (B, S, N·H)."""
    parts = build.outputs("Split", count, value, axis=3, num_outputs=count)
    return [build.op("Reshape", part, build.ints(0, 0, -1)) for part in parts]
