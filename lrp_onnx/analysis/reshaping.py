"""Which axes of a tensor are which of the one that it was moved or reshaped from.

A Reshape keeps blocks of axes of one product:
[N, 255, H, W] → [N, 3, 85, H, W] is the blocks (0 → 0), (1 → 1, 2), (2 → 3), (3 → 4); where sizes
are unknown, all axes between those that are known to agree are one block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from lrp_onnx.graph.arrays import Dimension
from lrp_onnx.graph.constant_values import constant_ints

__all__ = ["Block", "axes_before", "blocks"]


def axes_before(node: ir.Node) -> list[int | None] | None:
    """Of each axis of what Transpose, Squeeze or Unsqueeze makes the axis that it was, None for one
    of size 1 that was none; None where that is not known.
    """
    x, y = node.inputs[0], node.outputs[0]
    if y.shape is None:
        return None
    if node.op_type == "Transpose":
        return list(node.attributes.get_ints("perm", range(len(y.shape))[::-1]))
    axes = constant_ints(node.inputs[1]) if len(node.inputs) > 1 else None
    if axes is None or x is None or x.shape is None:
        return None
    rank = max(len(x.shape), len(y.shape))
    single = {axis % rank for axis in axes}
    others = [axis for axis in range(rank) if axis not in single]
    if node.op_type == "Squeeze":
        return list(others)
    return [others.index(axis) if axis in others else None for axis in range(rank)]


@dataclass(frozen=True)
class Block:
    """Neighboring axes of the original, and those of the result that hold the same elements."""

    before: tuple[int, ...]
    behind: tuple[int, ...]


def blocks(before: Sequence[Dimension], behind: Sequence[Dimension]) -> list[Block]:
    """The blocks in order, as small as what is known of the sizes allows."""
    first = _matched(before, behind)
    used = len(first) and first[-1][0][1]
    made = len(first) and first[-1][1][1]
    rest_before, rest_behind = list(before[used:]), list(behind[made:])
    last = _matched(rest_before[::-1], rest_behind[::-1])
    own = [_block(a, b) for a, b in first]
    ends = [
        _block(
            (len(before) - a[1], len(before) - a[0]),
            (len(behind) - b[1], len(behind) - b[0]),
        )
        for a, b in reversed(last)
    ]
    stop_before = ends[0].before[0] if ends and ends[0].before else len(before)
    stop_behind = ends[0].behind[0] if ends and ends[0].behind else len(behind)
    between = _block((used, stop_before), (made, stop_behind))
    return [*own, *([between] if between.before or between.behind else []), *ends]


Span = tuple[int, int]


def _block(before: Span, behind: Span) -> Block:
    return Block(tuple(range(*before)), tuple(range(*behind)))


def _matched(before: Sequence[Dimension], behind: Sequence[Dimension]) -> list[tuple[Span, Span]]:
    """The blocks from the front, until sizes are not known to agree."""
    spans: list[tuple[Span, Span]] = []
    i = j = 0
    while i < len(before) and j < len(behind):
        a, b = before[i], behind[j]
        begun = i, j
        if a is not None and a == b:
            i, j = i + 1, j + 1
        elif isinstance(a, int) and isinstance(b, int):
            i, j = i + 1, j + 1
            while a != b:
                smaller = before if a < b else behind
                at = i if a < b else j
                size = smaller[at] if at < len(smaller) else None
                if not isinstance(size, int):
                    return spans
                if a < b:
                    a, i = a * size, i + 1
                else:
                    b, j = b * size, j + 1
        else:
            return spans
        spans.append(((begun[0], i), (begun[1], j)))
    return spans
