"""Signs and ranges as records declare them: what is proven of a node's first output.

A sign is +1 where nothing is below 0, -1 where nothing is above it, else 0; a range is the least
and the greatest number that an element can be.  Both are given those of the node's inputs; of an
input that is left out nothing is known.

What a runtime computes is rounded, so that a bound that arithmetic has moved is moved a little
further out; 0 is exact: of numbers whose sum is at least 0 the rounded sum is too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import onnx_ir as ir

__all__ = ["ANYTHING", "Bound", "Range", "Sign", "absolute_range", "any_range", "chosen_range",
           "clipped_range", "common_sign", "difference_range", "hull", "maximum_range",
           "minimum_range", "negative_range", "nonnegative", "of_sign", "product_range",
           "quotient_range", "same_if_positive", "same_range", "same_sign", "sign_by_slopes",
           "sign_of", "sum_range", "unit_range"]  # fmt: skip

Range = tuple[float, float]
Sign = Callable[[ir.Node, Sequence[int]], int]
Bound = Callable[[ir.Node, Sequence[Range]], Range]

ANYTHING: Range = (-math.inf, math.inf)
ROUNDING = 2.0**-7
"""More than any dtype rounds, of what it rounds."""
LEAST_NORMAL = 2.0**-14
"""Below it a product may round to 0."""


def of_sign(sign: int) -> Range:
    """All that has a sign."""
    return {1: (0.0, math.inf), -1: (-math.inf, 0.0)}.get(sign, ANYTHING)


def sign_of(known: Range) -> int:
    """The sign that a range proves."""
    low, high = known
    return 1 if low >= 0 else -1 if high <= 0 else 0


def nonnegative(node: ir.Node, of: Sequence[int]) -> int:
    """Of what is at least 0 whatever the input."""
    return 1


def same_sign(node: ir.Node, of: Sequence[int]) -> int:
    """That of the first input."""
    return of[0]


def same_if_positive(node: ir.Node, of: Sequence[int]) -> int:
    """That of the first input if it is at least 0: else a rounding may carry it past 0."""
    return max(of[0], 0)


def common_sign(node: ir.Node, of: Sequence[int]) -> int:
    """The one that all inputs have."""
    return of[0] if len(set(of)) == 1 else 0


def sign_by_slopes(sign: int, slope: int) -> int:
    """Of a function through 0 that rises where x > 0; `slope` is the sign of its slopes below 0."""
    return 1 if sign > 0 or slope < 0 else -slope if sign < 0 else 0


def hull(of: Sequence[Range]) -> Range:
    """What lies in any of them."""
    lows, highs = zip(*of, strict=True)
    return min(lows), max(highs)


def same_range(node: ir.Node, of: Sequence[Range]) -> Range:
    """Every element is one of the first input."""
    return of[0]


def any_range(node: ir.Node, of: Sequence[Range]) -> Range:
    """Every element is one of an input."""
    return hull(of)


def chosen_range(node: ir.Node, of: Sequence[Range]) -> Range:
    """Every element is one of an input but the first, the condition."""
    return hull(of[1:])


def unit_range(node: ir.Node, of: Sequence[Range]) -> Range:
    """0 to 1."""
    return 0.0, 1.0


def _rounded(ends: Sequence[float]) -> Range:
    """From the least to the greatest of the ends, where a runtime has rounded."""
    if any(math.isnan(end) for end in ends):
        return ANYTHING
    low, high = min(ends), max(ends)
    return -_outwards(-low), _outwards(high)


def _outwards(high: float) -> float:
    if math.isinf(high):
        return high
    further = high + abs(high) * ROUNDING
    return 0.0 if -LEAST_NORMAL < further < 0 else further


def sum_range(node: ir.Node, of: Sequence[Range]) -> Range:
    """a + b."""
    (low, high), (other_low, other_high) = of
    return _rounded((low + other_low, high + other_high))


def difference_range(node: ir.Node, of: Sequence[Range]) -> Range:
    """a - b."""
    return sum_range(node, (of[0], negative_range(node, of[1:])))


def _product(a: Range, b: Range) -> Range:
    return _rounded([x * y if x and y else 0.0 for x in a for y in b])


def product_range(node: ir.Node, of: Sequence[Range]) -> Range:
    """a · b, at least 0 where both are one tensor."""
    low, high = _product(*of)
    return max(low, 0.0) if node.inputs[0] is node.inputs[1] else low, high


def quotient_range(node: ir.Node, of: Sequence[Range]) -> Range:
    """a / b; where b may be 0 its sign alone."""
    low, high = of[1]
    if low <= 0 <= high:
        return of_sign(sign_of(of[0]) * sign_of(of[1]))
    return _product(of[0], (1 / high, 1 / low))


def negative_range(node: ir.Node, of: Sequence[Range]) -> Range:
    """-a."""
    low, high = of[0]
    return -high, -low


def absolute_range(node: ir.Node, of: Sequence[Range]) -> Range:
    """|a|."""
    low, high = of[0]
    return max(0.0, low, -high), max(-low, high)


def maximum_range(node: ir.Node, of: Sequence[Range]) -> Range:
    """The largest of all inputs."""
    lows, highs = zip(*of, strict=True)
    return max(lows), max(highs)


def minimum_range(node: ir.Node, of: Sequence[Range]) -> Range:
    """The smallest of all inputs."""
    lows, highs = zip(*of, strict=True)
    return min(lows), min(highs)


def clipped_range(node: ir.Node, of: Sequence[Range]) -> Range:
    """min(max(x, low), high), where a bound that is missing takes no part."""
    bounds = [None if v is None else r for v, r in zip(node.inputs, of, strict=True)]
    low, high = [*bounds[1:], None, None][:2]
    raised = of[0] if low is None else maximum_range(node, (of[0], low))
    return raised if high is None else minimum_range(node, (raised, high))
