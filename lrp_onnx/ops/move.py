"""Operators that rearrange or copy data: relevance moves with it; that of copies is summed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from lrp_onnx.graph.broadcasting import expand_like
from lrp_onnx.graph.builder import Emit
from lrp_onnx.graph.constant_values import constant_ints
from lrp_onnx.graph.ranks import known_rank
from lrp_onnx.ops.operands import operand, optional
from lrp_onnx.ops.registry import op
from lrp_onnx.ops.samples import along
from lrp_onnx.ops.scatter_add import Size, plus, reshape, size_of, slice_axis

__all__: list[str] = []


@op("Reshape", kind="move", gates=(1,), moves="reorders")
@op("Flatten", kind="move", moves="reorders")
@op("Squeeze", kind="move", gates=(1,), moves="reorders", statistic=True)
@op("Unsqueeze", kind="move", gates=(1,), moves="reorders", statistic=True)
def same_elements(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s in the shape of the input.  Spec: ONNX Reshape-14, Flatten-13, Squeeze-13, Unsqueeze-13."""
    return emit.reshape_like(s, operand(node))


@op("Transpose", kind="move", moves="reorders")
def transpose(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s with the axes put back.  Spec: ONNX Transpose-13."""
    perm = node.attributes.get_ints("perm", range(known_rank(operand(node)))[::-1])
    return emit.op("Transpose", s, perm=[int(k) for k in np.argsort(perm)])


@op("Expand", kind="move", gates=(1,), broadcasts=True, moves="repeats", statistic=True, fills=True)
def expand(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s, to be summed over the copies.  Spec: ONNX Expand-13."""
    return s


@op("Tile", kind="move", gates=(1,), moves="repeats")
def tile(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """The sum of the copies of s.

    s: (r₀·d₀, r₁·d₁, …), summed as (r₀, d₀, r₁, d₁, …)    ->    c: (d₀, d₁, …).
    Spec: ONNX Tile-13.
    """
    x, counts = operand(node), optional(node, 1)
    rank, repeats = known_rank(x), constant_ints(counts)
    sizes: list[Size] = []
    copied: list[int] = []
    for k in range(rank):
        count = slice_axis(emit, counts, 0, k, k + 1) if repeats is None and counts else None
        copies = repeats[k] if repeats else count or 1
        if copies != 1:
            copied.append(len(sizes))
            sizes.append(copies)
        sizes.append(size_of(emit, x, k))
    if not copied:
        return s
    return emit.op("ReduceSum", reshape(emit, s, sizes), emit.ints(*copied), keepdims=0)


@op("Concat", kind="move", inputs=None, moves="joins", samples_apart=along(0))
def concat(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """The part of s that came from input i.  Spec: ONNX Concat-13."""
    if len(node.inputs) == 1:
        return s
    axis = node.attributes.get_int("axis", 0) % known_rank(node.outputs[0])
    ends = emit.ends.setdefault(node, [0])
    for value in node.inputs[len(ends) - 1 : i + 1]:
        assert value is not None
        ends.append(plus(emit, ends[-1], size_of(emit, value, axis)))
    return slice_axis(emit, s, axis, ends[i], ends[i + 1])


@op("Split", kind="move", gates=(1,), outputs="all", moves="reorders", samples_apart=along(0))
def split(emit: Emit, node: ir.Node, s: Sequence[ir.Value | None], i: int) -> ir.Value:
    """The parts side by side, zeros where nothing came back.

    s: one part per output, None for no relevance    ->    c: shaped like the input.
    Spec: ONNX Split-18.
    """
    parts = [
        expand_like(emit, 0.0, value) if part is None else part
        for part, value in zip(s, node.outputs, strict=True)
    ]
    return (
        emit.op("Concat", *parts, axis=node.attributes.get_int("axis", 0))
        if len(parts) > 1
        else parts[0]
    )


@op("DepthToSpace", kind="move", moves="reorders")
def depth_to_space(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """Blocks of s back into channels, in the node's order.

    s: (N, C, H·b, W·b)    ->    c: (N, b·b·C, H, W) for DCR, (N, C·b·b, H, W) for CRD.
    Spec: ONNX DepthToSpace-13.
    """
    x, b = operand(node), node.attributes.get_int("blocksize", 1)
    height, width = (size_of(emit, x, k) for k in (2, 3))
    blocks = reshape(emit, s, [0, 0, height, b, width, b])
    depth_first = node.attributes.get_string("mode", "DCR") == "DCR"
    order = [0, 3, 5, 1, 2, 4] if depth_first else [0, 1, 3, 5, 2, 4]
    return emit.reshape_like(emit.op("Transpose", blocks, perm=order), x)


@op("SpaceToDepth", kind="move", moves="reorders")
def space_to_depth(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """Channels of s back into blocks.

    s: (N, b·b·C, H, W)    ->    c: (N, C, H·b, W·b).    Spec: ONNX SpaceToDepth-13.
    """
    return emit.op("DepthToSpace", s, blocksize=node.attributes.get_int("blocksize", 1), mode="DCR")
