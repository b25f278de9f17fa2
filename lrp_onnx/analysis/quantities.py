"""What the numbers along an axis of a tensor are: scores, other numbers, or nothing of the input's.

Followed back from the tensor through everything that only moves, chooses or joins elements, each
index along the axis has a source: the tensor that computes it.  A score is a probability (a softmax
or sigmoid), a product of such, what keeps their order, or what a NonMaxSuppression takes for one.
Labels, counts and constants are nothing of the input's: no relevance comes from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import reduce
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from lrp_onnx.analysis.probability import (
    complement,
    of_log_softmax,
    of_sigmoid,
    of_softmax,
    same_value,
)
from lrp_onnx.analysis.reshaping import blocks, sizes_of

__all__ = ["Kind", "Quantities", "Source"]

Sources = NDArray[Any]
"""A Source at each index along the axes that were asked for."""
MOST_SOURCES = 1 << 16


class Kind(Enum):
    """What a number is."""

    SCORE = "score"
    NUMBER = "number"
    NOTHING = "nothing"


@dataclass(frozen=True)
class Source:
    """The tensors that compute a number, one for each place of the other axes that differs."""

    kind: Kind
    tensors: frozenset[ir.Value]

    def beside(self, other: Source) -> Source:
        """What stands at an index where one place has this source and another the other."""
        if self == other or other.kind is Kind.NOTHING:
            return self
        if self.kind is Kind.NOTHING:
            return other
        kind = self.kind if self.kind is other.kind else Kind.NUMBER
        return Source(kind, self.tensors | other.tensors)


class _UnknownSize(Exception):
    """The axis cannot be followed."""


class Quantities:
    """The sources of tensors of a graph."""

    def __init__(self, graph: ir.Graph) -> None:
        self._known: dict[tuple[ir.Value, tuple[int, ...]], Sources] = {}
        self._kinds: dict[ir.Value, Kind] = {}
        self.suppressed = [n for n in graph if n.op_type == "NonMaxSuppression"]
        for node in self.suppressed:
            for value, kind in zip(node.inputs[:2], (Kind.NUMBER, Kind.SCORE), strict=True):
                if value is not None:
                    self._kinds.update(dict.fromkeys((value, *self.of(value).tensors), kind))
        self._known.clear()

    def along(self, value: ir.Value, axis: int) -> list[Source] | None:
        """The source at each index along an axis; None if its size is not known."""
        try:
            return list(self._along(value, (axis,)))
        except _UnknownSize:
            return None

    def of(self, value: ir.Value) -> Source:
        """The source of all of it; itself where it cannot be followed."""
        try:
            source: Source = self._along(value, ()).item()
        except _UnknownSize:
            source = self._computed(value)
        return source

    def _along(self, value: ir.Value, axes: tuple[int, ...]) -> Sources:
        key = value, axes
        if key not in self._known:
            self._known[key] = self._followed(value, axes)
        return self._known[key]

    def _followed(self, value: ir.Value, axes: tuple[int, ...]) -> Sources:
        node = value.producer()
        if node is None or value in self._kinds or (node.domain and node.op_type != "ExplainedBy"):
            return self._full(value, axes, self._computed(value))
        if (same := same_value(node)) is not None:
            return self._along(same, axes)
        follow = FOLLOW.get(node.op_type)
        followed = None if follow is None else follow(self, node, value, axes)
        return self._full(value, axes, self._computed(value)) if followed is None else followed

    def _full(self, value: ir.Value, axes: tuple[int, ...], source: Source) -> Sources:
        sizes = [_size(value, axis) for axis in axes]
        if 0 in sizes or np.prod(sizes, dtype=float) > MOST_SOURCES:
            raise _UnknownSize
        return np.full(sizes, source, object)

    def _computed(self, value: ir.Value) -> Source:
        """The source that a tensor is itself."""
        if value in self._kinds:
            return Source(self._kinds[value], frozenset({value}))
        kind = Kind.NUMBER
        if not _depends(value):
            kind = Kind.NOTHING
        elif any(of(value) is not None for of in (of_softmax, of_log_softmax, of_sigmoid)):
            kind = Kind.SCORE
        elif (other := complement(value)) is not None:
            kind = self.of(other).kind
        return Source(kind, frozenset({value}))


def _depends(value: ir.Value) -> bool:
    """Whether it is a float that is neither a constant nor made of integers alone."""
    if value.dtype is not None and not value.dtype.is_floating_point():
        return False
    node = value.producer()
    if node is None:
        return not value.is_initializer() and value.const_value is None
    if node.op_type in ("Cast", "Identity") and node.inputs[0] is not None:
        return _depends(node.inputs[0])
    return node.op_type not in ("ConstantOfShape", "Constant", "Range")


def _size(value: ir.Value, axis: int) -> int:
    size = None if value.shape is None else value.shape[axis]
    if not isinstance(size, int):
        raise _UnknownSize
    return size


def _beside(parts: Iterable[Sources]) -> Sources:
    """Element by element what stands there in one of the arrays, which broadcast."""
    merge = np.frompyfunc(Source.beside, 2, 1)
    return np.asarray(reduce(merge, parts), object)


def _over(sources: Sources, axis: int) -> Sources:
    """Merged along an axis of the array."""
    rows = np.moveaxis(sources, axis, 0)
    if not len(rows):
        raise _UnknownSize
    return _beside(list(rows))


def _integers(value: ir.Value | None) -> list[int] | None:
    constant = None if value is None else value.const_value
    return None if constant is None else [int(k) for k in constant.numpy().ravel()]


def _axis(node: ir.Node, rank: int, default: int = 0) -> int:
    return node.attributes.get_int("axis", default) % rank


def _rank(value: ir.Value | None) -> int:
    if value is None or value.shape is None:
        raise _UnknownSize
    return len(value.shape)


# how each operator that moves elements hands the question on: (quantities, node, value, axes) ->
# sources, or None where the value is taken as computed

Axes = tuple[int, ...]
Follow = Callable[[Quantities, ir.Node, ir.Value, Axes], Sources | None]


def _same_place(q: Quantities, node: ir.Node, value: ir.Value, axes: Axes) -> Sources | None:
    x = node.inputs[0]
    return None if x is None or not _depends(x) else q._along(x, axes)


def _joined(q: Quantities, node: ir.Node, value: ir.Value, axes: Axes) -> Sources | None:
    axis = _axis(node, _rank(value))
    parts = [q._along(v, axes) for v in node.inputs if v is not None]
    if axis in axes:
        return np.concatenate(parts, axes.index(axis))
    return _beside(parts)


def _kept(q: Quantities, x: ir.Value, axes: Axes, axis: int, kept: Sequence[int]) -> Sources:
    """The sources of a tensor of which these indices along an axis are left."""
    own = tuple(sorted({*axes, axis}))
    place = own.index(axis)
    sources = q._along(x, own).take(kept, place)
    return sources if axis in axes else _over(sources, place)


def _split(q: Quantities, node: ir.Node, value: ir.Value, axes: Axes) -> Sources | None:
    x, axis = node.inputs[0], _axis(node, _rank(value))
    assert x is not None
    try:
        start = sum(_size(v, axis) for v in node.outputs[: node.outputs.index(value)])
        return _kept(q, x, axes, axis, range(start, start + _size(value, axis)))
    except _UnknownSize:
        if axis in axes:
            raise
        return q._along(x, axes)


def _sliced(q: Quantities, node: ir.Node, value: ir.Value, axes: Axes) -> Sources | None:
    x, rank = node.inputs[0], _rank(value)
    assert x is not None
    starts, ends, cut, steps = map(_integers, [*node.inputs[1:], None, None][:4])
    cut = list(range(len(starts or ()))) if len(node.inputs) < 4 else cut
    steps = [1] * len(starts or ()) if len(node.inputs) < 5 else steps
    if starts is None or ends is None or cut is None or steps is None:
        if any(_size(x, axis) != _size(value, axis) for axis in axes):
            raise _UnknownSize
        return q._along(x, axes)
    sized = {k % rank for k in cut if x.shape is not None and isinstance(x.shape[k], int)}
    if any(k % rank in axes and k % rank not in sized for k in cut):
        raise _UnknownSize
    own = tuple(sorted({*axes, *sized}))
    try:
        sources = q._along(x, own)
    except _UnknownSize:  # more than can be told apart: all along the other axes
        own, sized = axes, sized & {*axes}
        sources = q._along(x, own)
    for start, end, axis, step in zip(starts, ends, cut, steps, strict=True):
        if axis % rank in sized:
            place = own.index(axis % rank)
            sources = sources.take(range(sources.shape[place])[slice(start, end, step)], place)
    for axis in reversed(own):
        if axis not in axes:
            sources = _over(sources, own.index(axis))
    return sources


def _transposed(q: Quantities, node: ir.Node, value: ir.Value, axes: Axes) -> Sources | None:
    x, rank = node.inputs[0], _rank(value)
    assert x is not None
    perm = list(node.attributes.get_ints("perm", tuple(reversed(range(rank)))))
    own = [perm[axis] for axis in axes]
    order = sorted(own)
    return q._along(x, tuple(order)).transpose([order.index(axis) for axis in own])


def _unsqueezed(q: Quantities, node: ir.Node, value: ir.Value, axes: Axes) -> Sources | None:
    x, rank, new = node.inputs[0], _rank(value), _integers(node.inputs[1])
    if x is None or new is None:
        return None
    added = sorted(axis % rank for axis in new)
    kept = [axis for axis in range(rank) if axis not in added]
    sources = q._along(x, tuple(kept.index(axis) for axis in axes if axis in kept))
    return np.expand_dims(sources, tuple(k for k, axis in enumerate(axes) if axis in added))


def _squeezed(q: Quantities, node: ir.Node, value: ir.Value, axes: Axes) -> Sources | None:
    x = node.inputs[0]
    gone = _integers(node.inputs[1]) if len(node.inputs) > 1 else None
    if x is None or gone is None:
        return None
    rank = _rank(x)
    kept = [axis for axis in range(rank) if axis not in {k % rank for k in gone}]
    return q._along(x, tuple(kept[axis] for axis in axes))


def _reshaped(q: Quantities, node: ir.Node, value: ir.Value, axes: Axes) -> Sources | None:
    """Block by block; only one block may have several axes that were asked for."""
    x = node.inputs[0]
    before, behind = (None if v is None else sizes_of(v) for v in (x, value))
    if x is None or before is None or behind is None:
        return None
    parts = [b for b in blocks(before, behind) if set(b.behind) & set(axes)]
    if not parts:
        return q._along(x, ())
    if len(parts) > 1:
        raise _UnknownSize
    old = parts[0].before
    if all(isinstance(before[k], int) for k in old):
        new = [_size(value, k) for k in parts[0].behind]
        whole = q._along(x, old).reshape(new)
    else:  # only how the last axis of a block divides is known
        last, own = old[-1], parts[0].behind[-1]
        if axes != (own,) or _size(x, last) % (_size(value, own) or 1):
            raise _UnknownSize
        return _over(q._along(x, (last,)).reshape(-1, _size(value, own)), 0)
    for k in reversed(range(len(new))):
        if parts[0].behind[k] not in axes:
            whole = _over(whole, k)
    return whole


def _gathered(q: Quantities, node: ir.Node, value: ir.Value, axes: Axes) -> Sources | None:
    x, indices = node.inputs[:2]
    axis, lead = _axis(node, _rank(x)), _rank(indices)
    assert x is not None
    chosen = [k for k in axes if axis <= k < axis + lead]
    others = tuple(k if k < axis else k - lead + 1 for k in axes if k not in chosen)
    if not chosen:
        return q._along(x, others)
    own = tuple(sorted((*others, axis)))
    sources, place = q._along(x, own), own.index(axis)
    numbers = _integers(indices)
    if lead == 1 and numbers is not None:
        return sources.take(numbers, place, mode="wrap")
    return _repeated(_over(sources, place), [_size(value, k) for k in chosen], place)


def _repeated(sources: Sources, sizes: list[int], place: int) -> Sources:
    """Axes of these sizes more, along which nothing changes."""
    for size in reversed(sizes):
        sources = np.repeat(np.expand_dims(sources, place), size, place)
    return sources


def _gathered_elements(q: Quantities, node: ir.Node, value: ir.Value, axes: Axes) -> Sources | None:
    """GatherElements, and the values of TopK."""
    x, axis = node.inputs[0], _axis(node, _rank(value), -1 if node.op_type == "TopK" else 0)
    assert x is not None
    if node.op_type == "TopK" and value is not node.outputs[0]:
        return None
    if any(axis != k and _size(x, k) != _size(value, k) for k in axes):
        raise _UnknownSize
    others = tuple(k for k in axes if k != axis)
    sources = q._along(x, others)
    return _repeated(sources, [_size(value, axis)] * (axis in axes), sum(k < axis for k in others))


def _gathered_slices(q: Quantities, node: ir.Node, value: ir.Value, axes: Axes) -> Sources | None:
    """GatherND: the last axis of the indices chooses along as many axes of the data."""
    x, indices = node.inputs[:2]
    assert x is not None
    lead = _rank(indices) - 1
    behind = _rank(x) - (_rank(value) - lead)
    if any(k < lead for k in axes):
        raise _UnknownSize
    return q._along(x, tuple(k - lead + behind for k in axes))


def _broadcast(q: Quantities, x: ir.Value, rank: int, axes: Axes) -> Sources:
    """The sources of an operand along the axes of what it is broadcast to."""
    lead = rank - _rank(x)
    own = [k - lead for k in axes]
    there = [k >= 0 and (x.shape is None or x.shape[k] != 1) for k in own]
    sources = q._along(x, tuple(k for k, t in zip(own, there, strict=True) if t))
    return np.expand_dims(sources, tuple(k for k, t in enumerate(there) if not t))


def _chosen(q: Quantities, node: ir.Node, value: ir.Value, axes: Axes) -> Sources | None:
    """Where, Expand and Tile."""
    own = node.inputs[1:] if node.op_type == "Where" else node.inputs[:1]
    parts = [_broadcast(q, v, _rank(value), axes) for v in own if v is not None]
    if any(
        n not in (1, _size(value, k)) for p in parts for n, k in zip(p.shape, axes, strict=True)
    ):
        raise _UnknownSize
    sizes = [_size(value, k) for k in axes]
    return np.broadcast_to(_beside(parts), sizes)


def _multiplied(q: Quantities, node: ir.Node, value: ir.Value, axes: Axes) -> Sources | None:
    """A product of scores is one, and so is a score times a mask."""
    operands = [v for v in node.inputs if v is not None]
    if any(v.is_initializer() or v.const_value is not None for v in operands):
        return None
    a, b = (_broadcast(q, v, _rank(value), axes) for v in operands)

    def product(x: Source, y: Source) -> Source:
        kinds = {x.kind, y.kind}
        kind = Kind.SCORE if Kind.SCORE in kinds and Kind.NUMBER not in kinds else Kind.NUMBER
        return Source(kind, frozenset({value}))

    return np.asarray(np.frompyfunc(product, 2, 1)(a, b), object)


def _in_order(q: Quantities, node: ir.Node, value: ir.Value, axes: Axes) -> Sources | None:
    """What keeps the order of scores is a score: a root, a bound."""
    x = node.inputs[0]
    return None if x is None or q.of(x).kind is not Kind.SCORE else q._along(x, axes)


def _largest(q: Quantities, node: ir.Node, value: ir.Value, axes: Axes) -> Sources | None:
    """The largest score along some axes."""
    x = node.inputs[0]
    if x is None or q.of(x).kind is not Kind.SCORE:
        return None
    return q._full(value, axes, q.of(x))


FOLLOW: dict[str, Follow] = {
    **dict.fromkeys(("Identity", "Cast", "Dropout"), _same_place),
    **dict.fromkeys(("Reshape", "Flatten"), _reshaped),
    **dict.fromkeys(("GatherElements", "TopK"), _gathered_elements),
    **dict.fromkeys(("Where", "Expand", "Tile"), _chosen),
    **dict.fromkeys(("Sqrt", "Clip", "Min", "Max"), _in_order),
    "Concat": _joined,
    "Split": _split,
    "Slice": _sliced,
    "Transpose": _transposed,
    "Unsqueeze": _unsqueezed,
    "Squeeze": _squeezed,
    "Gather": _gathered,
    "GatherND": _gathered_slices,
    "Mul": _multiplied,
    "ReduceMax": _largest,
}
