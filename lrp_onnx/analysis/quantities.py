"""What the numbers along an axis of a tensor are: scores, other numbers, or nothing of the input's.

Followed back from the tensor through everything that only moves, chooses or joins elements, each
index along the axis has a origin: the tensor that computes it.  A score is a probability (a softmax
or sigmoid), a product of such, what keeps their order, or what a NonMaxSuppression takes for one.
Labels, counts and constants are nothing of the input's: no relevance comes from there.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from lrp_onnx.analysis.followed_origins import FOLLOW
from lrp_onnx.analysis.origins import (
    MOST_ORIGINS,
    Kind,
    Origin,
    Origins,
    UnknownSize,
    depends,
    size_along,
)
from lrp_onnx.analysis.probability import (
    complement,
    of_log_softmax,
    of_sigmoid,
    of_softmax,
    same_value,
)

__all__ = ["Quantities"]

Asked = tuple[ir.Value, tuple[int, ...]]
"""A tensor and axes of it."""
DEEPEST = 50
"""As many questions may wait for each other on Python's own stack."""


class _Deeper(Exception):
    """A question that must be answered before those that wait for it are asked anew."""

    def __init__(self, asked: Asked) -> None:
        super().__init__()
        self.asked = asked


class Quantities:
    """The origins of tensors of a graph."""

    def __init__(self, graph: ir.Graph) -> None:
        self._known: dict[Asked, Origins | None] = {}
        self._waiting = 0
        self._kinds: dict[ir.Value, Kind] = {}
        self.suppressed = [n for n in graph if n.op_type == "NonMaxSuppression"]
        for node in self.suppressed:
            for value, kind in zip(node.inputs[:2], (Kind.NUMBER, Kind.SCORE), strict=True):
                if value is not None:
                    self._kinds.update(dict.fromkeys((value, *self.of(value).tensors), kind))
        self._known.clear()

    def along(self, value: ir.Value, axis: int) -> list[Origin] | None:
        """The origin at each index along an axis; None if its size is not known."""
        try:
            return list(self.within(value, (axis,)))
        except UnknownSize:
            return None

    def of(self, value: ir.Value) -> Origin:
        """The origin of all of it; itself where it cannot be followed."""
        try:
            origin: Origin = self.within(value, ()).item()
        except UnknownSize:
            origin = self._computed(value)
        return origin

    def within(self, value: ir.Value, axes: tuple[int, ...]) -> Origins:
        """The origin at each index along the axes, merged over the others. Raises UnknownSize."""
        pending = [(value, axes)] * ((value, axes) not in self._known)
        if pending and self._waiting:
            self._ask(pending.pop())
        while pending:  # a chain of any length
            try:
                self._ask(pending[-1])
                pending.pop()
            except _Deeper as deeper:
                pending.append(deeper.asked)
        origins = self._known[value, axes]
        if origins is None:
            raise UnknownSize
        return origins

    def _ask(self, asked: Asked) -> None:
        """Find an answer; None where the axes cannot be followed. Raises _Deeper."""
        if self._waiting == DEEPEST:
            raise _Deeper(asked)
        self._waiting += 1
        try:
            self._known[asked] = self._followed(*asked)
        except UnknownSize:
            self._known[asked] = None
        finally:
            self._waiting -= 1

    def _followed(self, value: ir.Value, axes: tuple[int, ...]) -> Origins:
        node = value.producer()
        if node is None or value in self._kinds or (node.domain and node.op_type != "ExplainedBy"):
            return self.everywhere(value, axes, self._computed(value))
        if (same := same_value(node)) is not None:
            return self.within(same, axes)
        follow = FOLLOW.get(node.op_type)
        followed = None if follow is None else follow(self, node, value, axes)
        return self.everywhere(value, axes, self._computed(value)) if followed is None else followed

    def everywhere(self, value: ir.Value, axes: tuple[int, ...], origin: Origin) -> Origins:
        """The same origin at each index along the axes. Raises UnknownSize."""
        sizes = [size_along(value, axis) for axis in axes]
        if 0 in sizes or np.prod(sizes, dtype=float) > MOST_ORIGINS:
            raise UnknownSize
        return np.full(sizes, origin, object)

    def _computed(self, value: ir.Value) -> Origin:
        """The origin that a tensor is itself."""
        if value in self._kinds:
            return Origin(self._kinds[value], frozenset({value}))
        kind = Kind.NUMBER
        if not depends(value):
            kind = Kind.NOTHING
        elif any(of(value) is not None for of in (of_softmax, of_log_softmax, of_sigmoid)):
            kind = Kind.SCORE
        elif (other := complement(value)) is not None:
            kind = self.of(other).kind
        return Origin(kind, frozenset({value}))
