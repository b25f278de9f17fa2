"""Rotary position embedding: pairs of features are turned by an angle that grows with the position.

    real = x₁ · cos - x₂ · sin      imaginary = x₁ · sin + x₂ · cos

Pairs are (x_i, x_{i + R/2}) of the first R features, or (x_{2i}, x_{2i + 1}) if interleaved.
Source: Su et al. 2021, RoFormer, equation 34; ONNX RotaryEmbedding-23 and ONNX Runtime,
docs/ContribOperators.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from lrp_onnx.errors import UnsupportedError
from lrp_onnx.frontend.decompose.activation import MICROSOFT
from lrp_onnx.frontend.decompose.heads import (
    known_size,
    merged,
    positions,
    rank_of,
    size_of,
    split_heads,
)
from lrp_onnx.frontend.decompose.registry import decomposes
from lrp_onnx.graph.replacement import Build

__all__ = ["turned"]

Value = ir.Value | None
ALL = 2**31 - 1


def turned(
    build: Build, x: ir.Value, cos: ir.Value, sin: ir.Value, turning: int, interleaved: bool
) -> ir.Value:
    """The first `turning` features (0: all) of each head turned.

    x: (B, N, S, H)    cos, sin: (B or 1, S, R/2)    ->    (B, N, S, H).
    """
    cos, sin = (build.op("Unsqueeze", part, build.ints(1)) for part in (cos, sin))
    rest = None
    if turning:
        rest = build.op("Slice", x, build.ints(turning), build.ints(ALL), build.ints(3))
        x = build.op("Slice", x, build.ints(0), build.ints(turning), build.ints(3))
    a, b = _pairs(build, x, interleaved)
    real = build.op("Sub", build.op("Mul", a, cos), build.op("Mul", b, sin))
    imaginary = build.op("Add", build.op("Mul", a, sin), build.op("Mul", b, cos))
    y = _joined(build, real, imaginary, interleaved)
    return y if rest is None else build.op("Concat", y, rest, axis=-1)


def _pairs(build: Build, x: ir.Value, interleaved: bool) -> Sequence[ir.Value]:
    if not interleaved:
        return build.outputs("Split", 2, x, axis=-1, num_outputs=2)
    axis, step = build.ints(3), build.ints(2)
    return [build.op("Slice", x, build.ints(k), build.ints(ALL), axis, step) for k in (0, 1)]


def _joined(build: Build, real: ir.Value, imaginary: ir.Value, interleaved: bool) -> ir.Value:
    if not interleaved:
        return build.op("Concat", real, imaginary, axis=-1)
    parts = [build.op("Unsqueeze", part, build.ints(-1)) for part in (real, imaginary)]
    return build.op("Reshape", build.op("Concat", *parts, axis=-1), build.ints(0, 0, 0, -1))


def _by_head(build: Build, node: ir.Node, cos: ir.Value, sin: ir.Value, heads: int) -> ir.Value:
    """The node's input turned, with an axis of heads, and brought into its own shape."""
    x, turning = node.inputs[0], node.attributes.get_int("rotary_embedding_dim", 0)
    interleaved = bool(node.attributes.get_int("interleaved", 0))
    if rank_of(x, "input") == 4 and x is not None:
        return turned(build, x, cos, sin, turning, interleaved)
    if not heads:
        raise UnsupportedError("its input has three axes and its num_heads is not given")
    apart = split_heads(build, x, heads)
    return merged(build, turned(build, apart, cos, sin, turning, interleaved))


@decomposes("RotaryEmbedding", domain=MICROSOFT)
def rotary_embedding(build: Build, node: ir.Node) -> Sequence[ir.Value]:
    """Turned by the rows of the caches that the position ids, or an offset, choose.

    x: (B, S, N·H) or (B, N, S, H)    ids: (B, S) or (1,)    caches: (M, R/2).
    Spec: ONNX Runtime contrib operators, RotaryEmbedding.
    """
    x, ids, cos, sin = node.inputs
    if node.attributes.get_int("is_packed_batching", 0):
        raise UnsupportedError("it takes sequences packed in one row. Export a padded batch")
    heads = node.attributes.get_int("num_heads", 0)
    if not heads and rank_of(x, "input") == 3:
        heads = known_size(x, 2, "hidden size") // (2 * known_size(cos, 1, "cache's width"))
    if rank_of(ids, "position ids") == 1:
        length = size_of(build, x, 1 if rank_of(x, "input") == 3 else 2)
        ids = build.op("Unsqueeze", build.op("Add", positions(build, length), ids), build.ints(0))
    cos, sin = (build.op("Gather", cache, ids, axis=0) for cache in (cos, sin))
    return [_by_head(build, node, cos, sin, heads)]


@decomposes("RotaryEmbedding")
def standard_rotary_embedding(build: Build, node: ir.Node) -> Sequence[ir.Value]:
    """Turned by caches (B, S, R/2), or by the rows of (M, R/2) that position ids choose.

    x: (B, S, N·H) or (B, N, S, H).  Spec: ONNX RotaryEmbedding-23.
    """
    _, cos, sin, ids = [*node.inputs, None][:4]
    assert cos is not None
    assert sin is not None
    if ids is not None:
        cos, sin = (build.op("Gather", cache, ids, axis=0) for cache in (cos, sin))
    return [_by_head(build, node, cos, sin, node.attributes.get_int("num_heads", 0))]
