"""Outputs that are no scores of classes alone: detections, boxes, coordinates, dense maps.

What the graph computes decides, not names.  *Mixed* is an output that has scores at some indices of
an axis and other numbers at others (YOLO), or four numbers joined in front of others that something
else computes (RT-DETR).  *Scores* and *boxes* are outputs of a network of pictures that have the
same places, four numbers at each in the one and scores of each class in the other (SSD, DETR).  A
*map* has two axes or more of places, as convolutions make; *coordinates* are numbers of one layer
laid out in pairs or triples.

Where the classes of separate boxes exclude each other, one of them is the background, which is
large nearly everywhere: a class is `compared` with its own mean over all places there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property

import onnx_ir as ir

from lrp_onnx.analysis.axis_roles import CHANNEL, PLACE, role_of, splits_features
from lrp_onnx.analysis.head import Head
from lrp_onnx.analysis.origins import Kind, Origin
from lrp_onnx.analysis.probability import of_sigmoid, of_softmax
from lrp_onnx.analysis.quantities import Quantities
from lrp_onnx.analysis.sample_axis import counts_samples
from lrp_onnx.graph.arrays import Dimension
from lrp_onnx.graph.makers import upstream
from lrp_onnx.graph.shapes import sizes_of
from lrp_onnx.ops.registry import find

__all__ = ["Heads"]

BOX = 4
"""Numbers of a box."""
COORDINATES = (2, 3)
LEAST_POINTS = 4
"""Fewer pairs or triples may be a few questions with two or three answers each."""


class Heads:
    """The heads of a graph's outputs."""

    def __init__(self, graph: ir.Graph, outputs: Sequence[ir.Value]) -> None:
        self.graph = graph
        self.outputs = [v for v in outputs if v.dtype is None or v.dtype.is_floating_point()]
        self.integers = [v for v in outputs if v.dtype is not None and v.dtype.is_integer()]
        self.inputs = [v for v in graph.inputs if not v.is_initializer()]

    @cached_property
    def quantities(self) -> Quantities:
        """The origins of numbers, found once."""
        return Quantities(self.graph)

    @cached_property
    def of_pictures(self) -> bool:
        """Whether a kernel slides over two axes or more."""
        windows = (n for n in self.graph if (o := find(n)) is not None and o.window == "kernel")
        return any(len(sizes_of(v) or ()) > 3 for n in windows for v in n.outputs)

    def of(self, output: ir.Value) -> Head | None:
        """What the output is; None for plain scores of classes."""
        if output.shape is None or not len(output.shape):
            return None
        return (
            self._mixed(output)
            or self._paired(output)
            or self._joined(output)
            or self._map(output)
            or self._coordinates(output)
        )

    def of_scores(self) -> list[ir.Value]:
        """The outputs with scores of detections."""
        heads = ((v, self.of(v)) for v in self.outputs)
        return [v for v, head in heads if head is not None and head.kind in ("mixed", "scores")]

    def _batch(self, output: ir.Value) -> bool:
        """Whether axis 0 counts samples; boxes that survive a suppression are counted there where
        nothing else is known.
        """
        counts = counts_samples(output, self.inputs)
        if counts is not None:
            return counts
        few = len(output.shape or ()) < 3
        return not (few and self.quantities.suppressed)

    def _mixed(self, y: ir.Value) -> Head | None:
        for axis, origins in self._axes(y):
            kinds = [origin.kind for origin in origins]
            if Kind.SCORE in kinds and Kind.NUMBER in kinds:
                first = kinds.index(Kind.SCORE)
                others = (k for k in range(first, len(kinds)) if kinds[k] is not Kind.SCORE)
                run = first, next(others, len(kinds))
                labeled = run[1] - run[0] == 1 and Kind.NOTHING in kinds
                head = self._with_objectness(y, axis, origins, run)
                one = labeled and kinds.count(Kind.NOTHING) == 1
                return replace(
                    head, labeled=labeled, label=kinds.index(Kind.NOTHING) if one else None
                )
        return None

    def _axes(self, y: ir.Value) -> Iterator[tuple[int, list[Origin]]]:
        """The axes along which quantities may differ, with their origins."""
        for axis in range(1, len(y.shape or ())):
            if (origins := self.quantities.along(y, axis)) is not None and len(origins) > 1:
                yield axis, origins

    def _with_objectness(
        self, y: ir.Value, axis: int, origins: list[Origin], run: tuple[int, int]
    ) -> Head:
        first, stop = run
        objectness = None
        if first == BOX and stop > first + 1 and _has_objectness(origins, first):
            # of one class alone the objectness is the score: its own column is often not trained
            several = stop > first + 2
            objectness = first if several else None
            run = (first + 1, stop) if several else (first, first + 1)
        many = run[1] - run[0] > 1
        compared = many and any(map(_excludes, origins[run[0]].tensors))
        return Head("mixed", self._batch(y), axis, run, objectness, compared)

    def _paired(self, y: ir.Value) -> Head | None:
        """Scores or boxes of two outputs that have the same places."""
        if len(self.outputs) < 2 or not self.of_pictures:
            return None
        for boxes in self.outputs:
            few = len(boxes.shape or ()) < 3
            for axis in [] if few and self._batch(boxes) else _box_axes(boxes):
                scores = self._scores_beside(boxes, axis)
                if scores is None:
                    continue
                if y is boxes:
                    return Head("boxes", self._batch(y), axis, beside=scores.name or "")
                if y is scores:
                    return self._scores(y, boxes, axis)
                if _shares_places(y, boxes, axis):
                    return Head("coordinates", self._batch(y), axis)
        return None

    def _scores_beside(self, boxes: ir.Value, axis: int) -> ir.Value | None:
        """The only output that has scores at the places of the boxes."""
        beside = [v for v in self.outputs if v is not boxes and _shares_places(v, boxes, axis)]
        scored = [v for v in beside if self.quantities.of(v).kind is Kind.SCORE]
        several = [v for v in scored if _size_along(v, boxes, axis) != 1]  # no centerness
        candidates = several or scored or beside
        if len(candidates) != 1:
            return None
        (scores,) = candidates
        if boxes in _decoded_from(frozenset([scores])):
            return None  # logits, of which these are the probabilities
        if _size_along(scores, boxes, axis) != BOX:
            return scores
        # four classes or four numbers of a box: boxes may be sigmoids, but no softmax
        return scores if any(map(_excludes, self.quantities.of(scores).tensors)) else None

    def _scores(self, y: ir.Value, boxes: ir.Value, axis: int) -> Head:
        own = axis if len(y.shape or ()) == len(boxes.shape or ()) else None
        origin = self.quantities.of(y)
        raw = origin.kind is not Kind.SCORE
        compared = own is not None and (raw or any(map(_excludes, origin.tensors)))
        compared = compared and _size_along(y, boxes, axis) != 1
        return Head(
            "scores",
            self._batch(y),
            own,
            compared=compared,
            beside=boxes.name or "",
            labeled=own is None,
            label=self._labels_of(y) if own is None else None,
        )

    def _labels_of(self, scores: ir.Value) -> str | None:
        """The output of the classes of detections that have one score each."""
        sizes = sizes_of(scores) or []
        alike = [v for v in self.integers if len(sizes_of(v) or []) == len(sizes) > 0]
        names = [v.name for v in alike if all(map(_may_be_equal, sizes_of(v) or [], sizes))]
        return names[0] if len(names) == 1 else None

    def _joined(self, y: ir.Value) -> Head | None:
        """Four numbers and, from elsewhere, others behind them at each of many places."""
        if len(y.shape or ()) != 3 or not self.of_pictures:
            return None
        for axis, origins in self._axes(y):
            front, rest = _tensors(origins[:BOX]), _tensors(origins[BOX:])
            if len(origins) > BOX and not front & rest:
                raw = any(origin.kind is Kind.NUMBER for origin in origins[BOX:])
                run = BOX, len(origins)
                compared = raw and run[1] - run[0] > 1
                return Head("mixed", self._batch(y), axis, run, compared=compared)
        return None

    def _map(self, y: ir.Value) -> Head | None:
        rank = len(y.shape or ())
        if rank < 3:
            return None
        roles = [role_of(y, axis) for axis in range(rank)]
        if rank == 3:
            if roles[1:] != [PLACE, PLACE]:
                return None
            classes = roles[0] == CHANNEL
            return Head("map", not classes, 0 if classes else None)
        axis = roles.index(CHANNEL) if CHANNEL in roles[1:] else 1
        places = [k for k, size in enumerate(sizes_of(y) or ()) if k not in (0, axis) and size != 1]
        return Head("map", True, axis) if len(places) > 1 else None

    def _coordinates(self, y: ir.Value) -> Head | None:
        sizes = sizes_of(y) or []
        if len(sizes) != 3 or sizes[-1] not in COORDINATES or of_softmax(y) is not None:
            return None
        if not isinstance(points := sizes[1], int) or points < LEAST_POINTS:
            return None
        return Head("coordinates", True, 2) if splits_features(y, 2) else None


def _has_objectness(origins: list[Origin], first: int) -> bool:
    """Whether the first of the scores is none of a class: another tensor, or one with all other
    scores that the boxes are decoded from, too (YOLO with anchors).
    """
    own, next_ = origins[first].tensors, origins[first + 1].tensors
    if not own & next_:
        return True
    return bool(_decoded_from(_tensors(origins[:first])) & own)


def _decoded_from(tensors: frozenset[ir.Value]) -> set[ir.Value]:
    """What the tensors are computed from, up to the last layers with weights."""

    def onward(node: ir.Node) -> Iterable[ir.Value | None]:
        operator = find(node)
        return node.inputs if operator is not None and not operator.weighted else ()

    return set(upstream(tensors, onward))


def _excludes(value: ir.Value) -> bool:
    """Whether each of the scores takes from the others: no sigmoid."""
    return of_softmax(value) is not None and of_sigmoid(value) is None


def _tensors(origins: Sequence[Origin]) -> frozenset[ir.Value]:
    return frozenset().union(*(origin.tensors for origin in origins))


def _box_axes(value: ir.Value) -> list[int]:
    """The axes that may be the numbers of a box, in a list of boxes and not a map of them."""
    sizes = sizes_of(value) or []
    if len(sizes) > 3:
        return []
    return [k for k in range(len(sizes) - 1, 0, -1) if sizes[k] == BOX]


def _shares_places(y: ir.Value, boxes: ir.Value, axis: int) -> bool:
    """Whether its axes are those of the boxes, with or without one of classes."""
    own, places = sizes_of(y), list(sizes_of(boxes) or [])
    del places[axis]
    if own is None:
        return False
    if len(own) == len(places) + 1:
        own = [size for k, size in enumerate(own) if k != axis]
    return len(own) == len(places) and all(map(_may_be_equal, own, places))


def _may_be_equal(a: Dimension, b: Dimension) -> bool:
    return a == b or not (isinstance(a, int) and isinstance(b, int))


def _size_along(y: ir.Value, boxes: ir.Value, axis: int) -> Dimension:
    """How many classes it has; 1 without an axis of them."""
    sizes = sizes_of(y) or []
    return sizes[axis] if len(sizes) == len(boxes.shape or ()) else 1
