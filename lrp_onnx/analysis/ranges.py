"""Between which numbers the elements of a tensor lie: behind Clip, Sigmoid or arithmetic of them.

What a runtime computes is rounded, so that a bound that arithmetic has moved is moved a little
further out; 0 is exact: of numbers whose sum is at least 0 the rounded sum is too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import onnx_ir as ir

__all__ = ["ANYTHING", "BOUNDS", "Range", "hull", "of_sign", "sign_of"]

Range = tuple[float, float]
"""The least and the greatest an element can be."""
Bound = Callable[[ir.Node, Sequence[Range]], Range]
"""The range of a node's first output, given those of its inputs."""

ANYTHING: Range = (-math.inf, math.inf)
ROUNDING = 2.0**-7
"""More than any dtype rounds, of what it rounds."""
LEAST_NORMAL = 2.0**-14
"""Below it a product may round to 0."""
SAME = (
    *("Identity", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Expand", "Tile"),
    *("Slice", "Split", "Gather", "GatherElements", "GatherND", "DepthToSpace", "SpaceToDepth"),
    *("MaxPool", "GlobalMaxPool"),
)
"""Every element of the output is one of the first input."""


def of_sign(sign: int) -> Range:
    """All that has a sign: +1 from 0 on, -1 up to 0, 0 anything."""
    return {1: (0.0, math.inf), -1: (-math.inf, 0.0)}.get(sign, ANYTHING)


def sign_of(known: Range) -> int:
    """+1 where nothing is below 0, -1 where nothing is above it, else 0."""
    low, high = known
    return 1 if low >= 0 else -1 if high <= 0 else 0


def hull(of: Sequence[Range]) -> Range:
    """What lies in any of them."""
    lows, highs = zip(*of, strict=True)
    return min(lows), max(highs)


def _rounded(ends: Sequence[float]) -> Range:
    """From the least to the greatest of the ends, where a runtime has rounded."""
    if any(math.isnan(end) for end in ends):
        return ANYTHING
    low, high = min(ends), max(ends)
    return -_outwards(-low), _outwards(high)


def _outwards(high: float) -> float:
    if math.isinf(high):
        return high
    moved = high + abs(high) * ROUNDING
    return 0.0 if -LEAST_NORMAL < moved < 0 else moved


def _sum(node: ir.Node, of: Sequence[Range]) -> Range:
    (low, high), (other_low, other_high) = of
    return _rounded((low + other_low, high + other_high))


def _difference(node: ir.Node, of: Sequence[Range]) -> Range:
    return _sum(node, (of[0], _negative(node, of[1:])))


def _product(node: ir.Node, of: Sequence[Range]) -> Range:
    return _rounded([a * b if a and b else 0.0 for a in of[0] for b in of[1]])


def _quotient(node: ir.Node, of: Sequence[Range]) -> Range:
    low, high = of[1]
    if low <= 0 <= high:
        return ANYTHING
    return _product(node, (of[0], (1 / high, 1 / low)))


def _negative(node: ir.Node, of: Sequence[Range]) -> Range:
    low, high = of[0]
    return -high, -low


def _absolute(node: ir.Node, of: Sequence[Range]) -> Range:
    low, high = of[0]
    return max(0.0, low, -high), max(-low, high)


def _maximum(node: ir.Node, of: Sequence[Range]) -> Range:
    lows, highs = zip(*of, strict=True)
    return max(lows), max(highs)


def _minimum(node: ir.Node, of: Sequence[Range]) -> Range:
    lows, highs = zip(*of, strict=True)
    return min(lows), min(highs)


def _clip(node: ir.Node, of: Sequence[Range]) -> Range:
    """min(max(x, low), high), where a bound that is missing takes no part."""
    given = [None if v is None else r for v, r in zip(node.inputs, of, strict=True)]
    low, high = [*given[1:], None, None][:2]
    raised = of[0] if low is None else _maximum(node, (of[0], low))
    return raised if high is None else _minimum(node, (raised, high))


BOUNDS: dict[str, Bound] = {
    **dict.fromkeys(SAME, lambda node, of: of[0]),
    **dict.fromkeys(("Sigmoid", "HardSigmoid"), lambda node, of: (0.0, 1.0)),
    "Relu": lambda node, of: _maximum(node, (of[0], (0.0, 0.0))),
    "Abs": _absolute,
    "Neg": _negative,
    "Add": _sum,
    "Sub": _difference,
    "Mul": _product,
    "Div": _quotient,
    "Max": _maximum,
    "Min": _minimum,
    "Clip": _clip,
    "Concat": lambda node, of: hull(of),
    "Where": lambda node, of: hull(of[1:]),
}
