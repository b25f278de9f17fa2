"""How the question for origins goes on behind operators that move, choose or join elements.

Each function takes the quantities, the node, its value and the axes that are asked for, and returns
the origins; None where the value is taken as computed there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import onnx_ir as ir

from lrp_onnx.analysis.origins import (
    Kind,
    Origin,
    Origins,
    UnknownSize,
    beside,
    depends,
    merged_along,
    size_along,
)
from lrp_onnx.analysis.reshaping import axes_before, blocks
from lrp_onnx.graph.constant_values import constant_ints
from lrp_onnx.graph.shapes import sizes_of

__all__ = ["FOLLOW"]

Axes = tuple[int, ...]
MOST_WRITTEN = 1 << 26
"""Elements of a tensor up to which it is asked which are written over."""


class Quantities(Protocol):
    """What is asked for the origins of other tensors."""

    def within(self, value: ir.Value, axes: Axes) -> Origins:
        """The origins along the axes, merged over the others."""

    def of(self, value: ir.Value) -> Origin:
        """The origin of all of it."""

    def everywhere(self, value: ir.Value, axes: Axes, origin: Origin) -> Origins:
        """The same origin along the axes."""


def _axis(node: ir.Node, rank: int, default: int = 0) -> int:
    return node.attributes.get_int("axis", default) % rank


def _rank(value: ir.Value | None) -> int:
    if value is None or value.shape is None:
        raise UnknownSize
    return len(value.shape)


Follow = Callable[[Quantities, ir.Node, ir.Value, Axes], Origins | None]


def _same_place(q: Quantities, node: ir.Node, value: ir.Value, axes: Axes) -> Origins | None:
    x = node.inputs[0]
    return None if x is None or not depends(x) else q.within(x, axes)


def _joined(q: Quantities, node: ir.Node, value: ir.Value, axes: Axes) -> Origins | None:
    axis = _axis(node, _rank(value))
    parts = [q.within(v, axes) for v in node.inputs if v is not None]
    if axis in axes:
        return np.concatenate(parts, axes.index(axis))
    return beside(parts)


def _taken(q: Quantities, x: ir.Value, axes: Axes, axis: int, places: Sequence[int]) -> Origins:
    """The origins of a tensor of which these indices along an axis are left."""
    own = tuple(sorted({*axes, axis}))
    place = own.index(axis)
    origins = q.within(x, own).take(places, place)
    return origins if axis in axes else merged_along(origins, place)


def _split(q: Quantities, node: ir.Node, value: ir.Value, axes: Axes) -> Origins | None:
    x, axis = node.inputs[0], _axis(node, _rank(value))
    assert x is not None
    try:
        start = sum(size_along(v, axis) for v in node.outputs[: node.outputs.index(value)])
        return _taken(q, x, axes, axis, range(start, start + size_along(value, axis)))
    except UnknownSize:
        if axis in axes:
            raise
        return q.within(x, axes)


def _sliced(q: Quantities, node: ir.Node, value: ir.Value, axes: Axes) -> Origins | None:
    x, rank = node.inputs[0], _rank(value)
    assert x is not None
    starts, ends, cut, steps = map(constant_ints, [*node.inputs[1:], None, None][:4])
    cut = list(range(len(starts or ()))) if len(node.inputs) < 4 else cut
    steps = [1] * len(starts or ()) if len(node.inputs) < 5 else steps
    if starts is None or ends is None or cut is None or steps is None:
        if any(size_along(x, axis) != size_along(value, axis) for axis in axes):
            raise UnknownSize
        return q.within(x, axes)
    sized = {k % rank for k in cut if x.shape is not None and isinstance(x.shape[k], int)}
    if any(k % rank in axes and k % rank not in sized for k in cut):
        raise UnknownSize
    own = tuple(sorted({*axes, *sized}))
    try:
        origins = q.within(x, own)
    except UnknownSize:  # more than can be told apart: all along the other axes
        own, sized = axes, sized & {*axes}
        origins = q.within(x, own)
    for start, end, axis, step in zip(starts, ends, cut, steps, strict=True):
        if axis % rank in sized:
            place = own.index(axis % rank)
            origins = origins.take(range(origins.shape[place])[slice(start, end, step)], place)
    for axis in reversed(own):
        if axis not in axes:
            origins = merged_along(origins, own.index(axis))
    return origins


def _transposed(q: Quantities, node: ir.Node, value: ir.Value, axes: Axes) -> Origins | None:
    """Transpose, Squeeze and Unsqueeze."""
    x, before = node.inputs[0], axes_before(node)
    if value.shape is None:
        raise UnknownSize
    if x is None or before is None:
        return None
    own = [before[axis] for axis in axes]
    there = [axis for axis in own if axis is not None]
    order = sorted(there)
    origins = q.within(x, tuple(order)).transpose([order.index(axis) for axis in there])
    return np.expand_dims(origins, tuple(k for k, axis in enumerate(own) if axis is None))


def _reshaped(q: Quantities, node: ir.Node, value: ir.Value, axes: Axes) -> Origins | None:
    """Block by block; only one block may have several axes that were asked for."""
    x = node.inputs[0]
    before, behind = (None if v is None else sizes_of(v) for v in (x, value))
    if x is None or before is None or behind is None:
        return None
    parts = [b for b in blocks(before, behind) if set(b.behind) & set(axes)]
    if not parts:
        return q.within(x, ())
    if len(parts) > 1:
        raise UnknownSize
    old = parts[0].before
    if all(isinstance(before[k], int) for k in old):
        new = [size_along(value, k) for k in parts[0].behind]
        whole = q.within(x, old).reshape(new)
    else:  # only how the last axis of a block divides is known
        last, own = old[-1], parts[0].behind[-1]
        if axes != (own,) or size_along(x, last) % (size_along(value, own) or 1):
            raise UnknownSize
        return merged_along(q.within(x, (last,)).reshape(-1, size_along(value, own)), 0)
    for k in reversed(range(len(new))):
        if parts[0].behind[k] not in axes:
            whole = merged_along(whole, k)
    return whole


def _gathered(q: Quantities, node: ir.Node, value: ir.Value, axes: Axes) -> Origins | None:
    x, indices = node.inputs[:2]
    axis, lead = _axis(node, _rank(x)), _rank(indices)
    assert x is not None
    chosen = [k for k in axes if axis <= k < axis + lead]
    others = tuple(k if k < axis else k - lead + 1 for k in axes if k not in chosen)
    if not chosen:
        return q.within(x, others)
    own = tuple(sorted((*others, axis)))
    origins, place = q.within(x, own), own.index(axis)
    numbers = constant_ints(indices)
    if lead == 1 and numbers is not None:
        return origins.take(numbers, place, mode="wrap")
    return _repeated(merged_along(origins, place), [size_along(value, k) for k in chosen], place)


def _repeated(origins: Origins, sizes: list[int], place: int) -> Origins:
    """Axes of these sizes more, along which nothing changes."""
    for size in reversed(sizes):
        origins = np.repeat(np.expand_dims(origins, place), size, place)
    return origins


def _gathered_elements(q: Quantities, node: ir.Node, value: ir.Value, axes: Axes) -> Origins | None:
    """GatherElements, and the values of TopK."""
    x, axis = node.inputs[0], _axis(node, _rank(value), -1 if node.op_type == "TopK" else 0)
    assert x is not None
    if node.op_type == "TopK" and value is not node.outputs[0]:
        return None
    if any(axis != k and size_along(x, k) != size_along(value, k) for k in axes):
        raise UnknownSize
    others = tuple(k for k in axes if k != axis)
    origins = q.within(x, others)
    return _repeated(
        origins, [size_along(value, axis)] * (axis in axes), sum(k < axis for k in others)
    )


def _gathered_slices(q: Quantities, node: ir.Node, value: ir.Value, axes: Axes) -> Origins | None:
    """GatherND: the last axis of the indices chooses along as many axes of the data."""
    x, indices = node.inputs[:2]
    assert x is not None
    lead = _rank(indices) - 1
    behind = _rank(x) - (_rank(value) - lead)
    if any(k < lead for k in axes):
        raise UnknownSize
    return q.within(x, tuple(k - lead + behind for k in axes))


def _scattered_slices(q: Quantities, node: ir.Node, value: ir.Value, axes: Axes) -> Origins | None:
    """ScatterND: where all or some of an index is written over, its origins are the updates'."""
    x, indices, updates = node.inputs[:3]
    numbers = None if indices is None or indices.const_value is None else indices.const_value
    if x is None or updates is None or numbers is None:
        return None
    places = np.moveaxis(numbers.numpy(), -1, 0)
    least = dict(enumerate(int(p.max(initial=0)) + 1 for p in places))  # of what is open
    shape = [] if x.shape is None else [*x.shape]
    sizes = [n if isinstance(n, int) else least.get(k, 0) for k, n in enumerate(shape)]
    if not all(sizes) or np.prod(sizes, dtype=float) > MOST_WRITTEN:
        raise UnknownSize
    written = np.zeros(sizes, bool)
    written[tuple(places)] = True
    others = tuple(k for k in range(len(sizes)) if k not in axes)
    old, origin = q.within(x, axes), q.of(updates)
    new = q.everywhere(value, axes, origin)
    if old.shape != new.shape:
        raise UnknownSize
    some = np.where(written.any(axis=others), beside([old, new]), old)
    whole = written.all(axis=others) & (node.attributes.get_string("reduction", "none") == "none")
    return np.asarray(np.where(whole, new, some), object)


def _broadcast(q: Quantities, x: ir.Value, rank: int, axes: Axes) -> Origins:
    """The origins of an operand along the axes of what it is broadcast to."""
    lead = rank - _rank(x)
    own = [k - lead for k in axes]
    there = [k >= 0 and (x.shape is None or x.shape[k] != 1) for k in own]
    origins = q.within(x, tuple(k for k, t in zip(own, there, strict=True) if t))
    return np.expand_dims(origins, tuple(k for k, t in enumerate(there) if not t))


def _chosen(q: Quantities, node: ir.Node, value: ir.Value, axes: Axes) -> Origins | None:
    """Where, Expand and Tile."""
    own = node.inputs[1:] if node.op_type == "Where" else node.inputs[:1]
    parts = [_broadcast(q, v, _rank(value), axes) for v in own if v is not None]
    sizes = [size_along(value, k) for k in axes]
    if any(n not in (1, size) for p in parts for n, size in zip(p.shape, sizes, strict=True)):
        raise UnknownSize
    return np.broadcast_to(beside(parts), sizes)


def _multiplied(q: Quantities, node: ir.Node, value: ir.Value, axes: Axes) -> Origins | None:
    """A product of scores is one, and so is a score times a mask."""
    operands = [v for v in node.inputs if v is not None]
    if any(v.is_initializer() or v.const_value is not None for v in operands):
        return None
    a, b = (_broadcast(q, v, _rank(value), axes) for v in operands)

    def product(x: Origin, y: Origin) -> Origin:
        kinds = {x.kind, y.kind}
        kind = Kind.SCORE if Kind.SCORE in kinds and Kind.NUMBER not in kinds else Kind.NUMBER
        return Origin(kind, frozenset({value}))

    return np.asarray(np.frompyfunc(product, 2, 1)(a, b), object)


def _in_order(q: Quantities, node: ir.Node, value: ir.Value, axes: Axes) -> Origins | None:
    """What keeps the order of scores is a score: a root, a bound."""
    x = node.inputs[0]
    return None if x is None or q.of(x).kind is not Kind.SCORE else q.within(x, axes)


def _largest(q: Quantities, node: ir.Node, value: ir.Value, axes: Axes) -> Origins | None:
    """The largest score along some axes."""
    x = node.inputs[0]
    if x is None or q.of(x).kind is not Kind.SCORE:
        return None
    return q.everywhere(value, axes, q.of(x))


FOLLOW: dict[str, Follow] = {
    **dict.fromkeys(("Identity", "Cast", "Dropout"), _same_place),
    **dict.fromkeys(("Transpose", "Squeeze", "Unsqueeze"), _transposed),
    **dict.fromkeys(("Reshape", "Flatten"), _reshaped),
    **dict.fromkeys(("GatherElements", "TopK"), _gathered_elements),
    **dict.fromkeys(("Where", "Expand", "Tile"), _chosen),
    **dict.fromkeys(("Sqrt", "Clip", "Min", "Max"), _in_order),
    "Concat": _joined,
    "Split": _split,
    "Slice": _sliced,
    "Gather": _gathered,
    "GatherND": _gathered_slices,
    "ScatterND": _scattered_slices,
    "Mul": _multiplied,
    "ReduceMax": _largest,
}
