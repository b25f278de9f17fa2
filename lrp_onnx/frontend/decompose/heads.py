"""Scaled dot-product attention in standard operators, heads on an axis of their own.

    scores = scale · q kᵀ      y = softmax(mask(scores)) v

q: (B, N, S, H)    k: (B, N, T, H)    v: (B, N, T, V)    ->    y: (B, N, S, V).  Masks select: a
key that a query may not see gets the lowest finite number, so that no infinity meets a zero in the
backward pass.
Source: Vaswani et al. 2017, Attention is all you need, equation 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from lrp_onnx.errors import UnsupportedError
from lrp_onnx.graph.replacement import Build

__all__ = [
    "Scores",
    "both",
    "causal",
    "column",
    "known_size",
    "lowest",
    "merged",
    "positions",
    "rank_of",
    "repeated",
    "size_of",
    "size_of_a_head",
    "split_heads",
]

Value = ir.Value | None


def rank_of(value: Value, what: str = "input") -> int:
    """The rank of an input; UnsupportedError where it is unknown."""
    if value is None or value.shape is None:
        raise UnsupportedError(f"the rank of its {what} is unknown. Export the model with shapes")
    return len(value.shape)


def known_size(value: Value, axis: int, what: str) -> int:
    """The size of one axis as a number; UnsupportedError where it is open."""
    size = value.shape[axis] if value is not None and value.shape is not None else None
    if not isinstance(size, int):
        raise UnsupportedError(f"its {what} is unknown. Export the model with that size")
    return size


def size_of_a_head(size: int, heads: int | None) -> int:
    """That of one of so many heads in a hidden size; UnsupportedError where they do not fit."""
    if not heads or heads < 0 or not size or size % heads:
        raise UnsupportedError(
            f"its hidden size {size} cannot be divided among {heads} heads. Export it again"
        )
    return size // heads


def size_of(build: Build, value: Value, axis: int) -> ir.Value:
    """The size of one axis as a scalar."""
    shape = build.op("Shape", value, start=axis, end=axis + 1 or None)
    return build.op("Squeeze", shape, build.ints(0))


def column(build: Build, value: Value) -> ir.Value:
    """An integer as a tensor of one int64."""
    return build.op("Reshape", build.op("Cast", value, to=int(ir.DataType.INT64)), build.ints(1))


def split_heads(build: Build, x: Value, heads: int) -> ir.Value:
    """(B, S, N·H) -> (B, N, S, H)."""
    apart = build.op("Reshape", x, build.ints(0, 0, heads, -1))
    return build.op("Transpose", apart, perm=[0, 2, 1, 3])


def merged(build: Build, y: ir.Value) -> ir.Value:
    """(B, N, S, H) -> (B, S, N·H)."""
    return build.op("Reshape", build.op("Transpose", y, perm=[0, 2, 1, 3]), build.ints(0, 0, -1))


def repeated(build: Build, x: ir.Value, groups: int, heads: int) -> ir.Value:
    """Each of `groups` heads as often as there are heads that share it."""
    if groups == heads:
        return x
    return build.op("Gather", x, build.ints(*np.arange(groups).repeat(heads // groups)), axis=1)


def positions(build: Build, count: ir.Value) -> ir.Value:
    """0, 1, … count - 1."""
    return build.op("Range", build.constant(0), count, build.constant(1))


def causal(build: Build, queries: ir.Value, keys: ir.Value, past: ir.Value | None) -> ir.Value:
    """(S, T): whether a query sees a key: not those behind its own position past + s."""
    own = build.op("Unsqueeze", positions(build, queries), build.ints(1))
    own = own if past is None else build.op("Add", own, past)
    return build.op("LessOrEqual", positions(build, keys), own)


def both(build: Build, a: Value, b: Value) -> Value:
    """Whether both hold; one that is missing always does."""
    if a is None or b is None:
        return b if a is None else a
    return build.op("And", a, b)


def lowest(build: Build, like: Value) -> ir.Value:
    """The lowest finite number of an element type."""
    if like is None or like.dtype is None:
        raise UnsupportedError("the element type of its input is unknown")
    return build.like(float(like.dtype.min), like)


@dataclass
class Scores:
    """The scores of one attention on their way to the product with the values.

    like: an input with the element type of them all.
    """

    build: Build
    like: Value
    value: ir.Value

    @classmethod
    def of(cls, build: Build, q: Value, k: Value, like: Value, scale: float) -> Scores:
        """scale · q kᵀ."""
        product = build.op("MatMul", q, build.op("Transpose", k, perm=[0, 1, 3, 2]))
        if scale == 1.0:
            return cls(build, like, product)
        return cls(build, like, build.op("Mul", product, build.like(scale, like)))

    def cap(self, bound: float) -> None:
        """bound · tanh(scores / bound), of a bound above 0, as ONNX Runtime reads it."""
        if bound > 0:
            limit = self.build.like(bound, self.like)
            soft = self.build.op("Tanh", self.build.op("Div", self.value, limit))
            self.value = self.build.op("Mul", soft, limit)

    def add(self, bias: Value) -> None:
        """Scores + bias."""
        if bias is not None:
            self.value = self.build.op("Add", self.value, bias)

    def select(self, seen: Value) -> None:
        """The lowest number where a key is not seen."""
        if seen is not None:
            low = lowest(self.build, self.like)
            self.value = self.build.op("Where", seen, self.value, low)

    def weights(self) -> ir.Value:
        """Their softmax over the keys."""
        return self.build.op("Softmax", self.value, axis=-1)


def default_scale(scale: float | None, head_size: int) -> float:
    """1/√H unless the operator says otherwise."""
    return scale or 1 / math.sqrt(head_size)
