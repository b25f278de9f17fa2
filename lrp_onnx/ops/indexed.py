"""Operators that read or write elements by index: GatherElements, GatherND, ScatterElements,
ScatterND.

What a Scatter does with relevance follows its reduction.  `none` moves: data that is overwritten
gets 0, and of updates of one element the last gets all.  `add` is a sum.  `max` and `min` have a
winner: the data, else the first update.  Under `mul` the updates are factors, as a divisor is: all
goes to the data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir

from lrp_onnx.errors import UnsupportedError
from lrp_onnx.graph.broadcasting import expand_like
from lrp_onnx.graph.builder import Emit
from lrp_onnx.graph.constant_values import constant_array
from lrp_onnx.graph.ranks import known_rank
from lrp_onnx.ops.operands import operand
from lrp_onnx.ops.places import Places, is_empty, rows_of, tuple_length
from lrp_onnx.ops.registry import op, refuse
from lrp_onnx.ops.samples import along
from lrp_onnx.ops.select import of_data_or_ids

__all__: list[str] = []


def _of_data_or_ids(node: ir.Node, active: tuple[int, ...]) -> str:
    if active == (1,) and node.op_type == "GatherND" and tuple_length(operand(node, 1)) > 1:
        raise refuse("its index tuples depend on the explained input")
    return of_data_or_ids(node, active)


GATHER: dict[str, Any] = {
    "kind": "move",
    "choose": _of_data_or_ids,
    "inputs": (0, 1),
    "moves": "selects",
}


@op("GatherElements", **GATHER, samples_apart=along(0))
def gather_elements(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s to the elements that were read, summed where one was read twice.

    s: shaped like the indices    ->    c: shaped like the data, or s itself for explained indices.
    Spec: ONNX GatherElements-13.
    """
    data, index = operand(node), operand(node, 1)
    if i == 1:
        return s
    if is_empty(data, index):
        return expand_like(emit, 0.0, data)
    return Places(emit, index, node.attributes.get_int("axis", 0), data).give_back(s)


# its batch is not told from its indices
@op("GatherND", **GATHER, samples_apart=lambda node, inputs: False)
def gather_nd(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s to the slices that were read, summed where one was read twice.

    For explained indices it is the sum over what each chose.
    s: (*batch, *count, *slice)    ->    c: (*batch, *indexed, *slice), or (*batch, *count, 1) for
    i = 1.    Spec: ONNX GatherND-13.
    """
    data, indices = operand(node), operand(node, 1)
    if i == 1:
        slices = range(known_rank(indices) - 1, known_rank(node.outputs[0]))
        s = emit.op("ReduceSum", s, emit.ints(*slices), keepdims=0) if slices else s
        return emit.op("Unsqueeze", s, emit.ints(-1))
    if is_empty(data, indices, node.outputs[0]):
        return expand_like(emit, 0.0, data)
    if tuple_length(indices) == 0:
        raise UnsupportedError("its index tuples have no elements. Leave the node out")
    places, rows = rows_of(emit, data, indices, s, node.attributes.get_int("batch_dims", 0))
    return emit.reshape_like(places.give_back(rows), data)


def _of_reduction(node: ir.Node, active: tuple[int, ...]) -> str:
    reduction = node.attributes.get_string("reduction", "none")
    if reduction == "none" or (reduction == "add" and active == (0,)):
        return "move"
    if reduction == "mul":
        if active == (2,) and not _distinct(node):
            raise refuse("several of the updates that it multiplies may meet in one element")
        return "scale" if active == (0,) else "sum" if active == (2,) else "quotient"
    return "sum" if reduction == "add" else "maximum"


def _distinct(node: ir.Node) -> bool:
    """Whether it is known that no element is written twice."""
    data, index = operand(node), constant_array(operand(node, 1))
    if index is None or data.shape is None:
        return False
    if node.op_type == "ScatterND":
        sizes, places = list(data.shape), index.reshape(-1, index.shape[-1]).T
    else:
        axis = node.attributes.get_int("axis", 0) % len(data.shape)
        sizes, everywhere = list(data.shape), np.indices(index.shape)
        everywhere[axis] = index
        places = everywhere.reshape(len(sizes), -1)
    if (places < 0).any():
        known = sizes[: len(places)]
        if not all(isinstance(size, int) for size in known):
            return False
        behind = np.array([[size] for size in known], dtype=np.int64)
        places = np.where(places < 0, places + behind, places)
    return bool(np.unique(places, axis=1).shape[1] == places.shape[1])


SCATTER: dict[str, Any] = {
    "kind": ("move", "scale", "sum", "quotient", "maximum"),
    "choose": _of_reduction,
    "inputs": (0, 2),
    "gates": (1,),
    "folds": True,
}


@dataclass(frozen=True)
class Scattered:
    """A Scatter along one axis: its operands, its result and what comes back, in the same form."""

    places: Places
    data: ir.Value
    updates: ir.Value
    y: ir.Value
    s: ir.Value
    distinct: bool


@op("ScatterElements", **SCATTER)
def scatter_elements(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s to the data that was kept, or to the updates.

    s: shaped like the data    ->    c: shaped like the data or the updates.
    Spec: ONNX ScatterElements-18.
    """
    data, index, updates = (operand(node, k) for k in range(3))
    if is_empty(data, updates):
        return s if i == 0 else expand_like(emit, 0.0, updates)
    places = Places(emit, index, node.attributes.get_int("axis", 0), s)
    return _back(
        Scattered(places, data, updates, node.outputs[0], s, _distinct(node)),
        node.attributes.get_string("reduction", "none"),
        i,
    )


@op("ScatterND", **SCATTER)
def scatter_nd(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s to the data that was kept, or to the updates.

    s: (*indexed, *slice)    ->    c: the same, or (*count, *slice) for the updates.
    Spec: ONNX ScatterND-18.
    """
    data, indices, updates = (operand(node, k) for k in range(3))
    if is_empty(data, indices, updates):
        return s if i == 0 else expand_like(emit, 0.0, updates)
    places, rows = rows_of(emit, data, indices, updates)
    axis = tuple_length(indices)
    flat = [emit.op("Flatten", v, axis=axis) for v in (data, node.outputs[0], s)]
    scattered = Scattered(
        replace(places, like=flat[2]), flat[0], rows, flat[1], flat[2], _distinct(node)
    )
    c = _back(scattered, node.attributes.get_string("reduction", "none"), i)
    return emit.reshape_like(c, data if i == 0 else updates)


def _back(of: Scattered, reduction: str, i: int) -> ir.Value:
    back: dict[str, tuple[Callable[[Scattered], ir.Value], ...]] = {
        "none": (_not_overwritten, _overwriting),
        "add": (lambda of: of.s, lambda of: of.places.read(of.s)),
        "mul": (_times_updates, _times_others),
        "max": (_largest_data, _largest_update),
        "min": (_largest_data, _largest_update),
    }
    return back[reduction][i // 2](of)


def _not_overwritten(of: Scattered) -> ir.Value:
    return of.places.write(of.s, of.places.fill(0.0))


def _overwriting(of: Scattered) -> ir.Value:
    read = of.places.read(of.s)
    return read if of.distinct else of.places.emit.op("Where", of.places.last(), read, 0.0)


def _times_updates(of: Scattered) -> ir.Value:
    return of.places.emit.op(
        "Mul", of.s, of.places.write(of.places.everywhere(1.0), of.updates, "mul")
    )


def _times_others(of: Scattered) -> ir.Value:
    """s times the data and the other updates of the element: their product without one zero each.

    With P the product without zeros and n their number: P/u if n = 0, P for the zero if n = 1.
    """
    emit, places = of.places.emit, of.places
    if of.distinct:
        return places.read(emit.op("Mul", of.s, of.data))
    zero = emit.op("Equal", of.updates, 0.0)
    nonzero = emit.op("Where", zero, 1.0, of.updates)
    count = places.read(places.give_back(emit.op("Cast", zero, to=int(emit.dtype))))
    product = places.read(emit.op("Mul", of.s, places.write(of.data, nonzero, "mul")))
    alone = emit.op("Equal", count, emit.op("Cast", zero, to=int(emit.dtype)))
    return emit.op("Where", alone, emit.op("Div", product, nonzero), 0.0)


def _largest_data(of: Scattered) -> ir.Value:
    emit = of.places.emit
    return emit.op("Where", emit.op("Equal", of.data, of.y), of.s, 0.0)


def _largest_update(of: Scattered) -> ir.Value:
    """s where an update is the result, the data is not, and no earlier update is."""
    emit, places = of.places.emit, of.places
    remaining = emit.op("Where", emit.op("Equal", of.data, of.y), 0.0, of.s)
    wins = emit.op("Equal", of.updates, places.read(of.y))
    if not of.distinct:
        wins = emit.op("And", wins, places.first_where(wins))
    return emit.op("Where", wins, places.read(remaining), 0.0)
