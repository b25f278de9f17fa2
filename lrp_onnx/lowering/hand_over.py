"""What the backward of a Scan reads of the forward iteration is recomputed, or handed over.

Recomputed it costs the iteration's products of matrices again; handed over, as one more output of
the forward, it costs memory for every iteration.  So values are handed over where that saves
products, and where all of them are no more than MOST times what is kept anyway, the carried values.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import onnx_ir as ir

from lrp_onnx.graph.annotations import AGAIN, BACKWARD_OF
from lrp_onnx.graph.builder import Emit
from lrp_onnx.graph.stacked_outputs import drop_stacked, stacked_outputs
from lrp_onnx.graph.subgraphs import bodies_of, ports_of

__all__ = ["hand_over", "trim"]

PRODUCTS = ("Gemm", "MatMul", "Conv")
MOST = 8
ORDER = ("scan_input_directions", "scan_input_axes")


def hand_over(emit: Emit) -> None:
    """Let each backward Scan of the graph read what its forward computed, in place.

    What is read no longer is left to be removed; `trim` is for afterwards.
    """
    for node, forward in _pairs(emit.graph):
        (body,), (own,) = bodies_of(node), bodies_of(forward)
        values = _worth_it(forward, own, body)
        stacked = stacked_outputs(emit, forward, own, [_source(value) for value in values])
        for value in values:
            read = ir.Value(name=emit.fresh("lrp"), shape=value.shape, type=value.type)
            value.replace_all_uses_with(read)
            body.inputs.append(read)
        _set_inputs(node, [*node.inputs, *stacked])
        directions, axes = (list(node.attributes[name].as_ints()) for name in ORDER)
        more = len(stacked)  # the last iteration comes first
        _set_order(node, [*directions, *[1] * more], [*axes, *[0] * more])


def trim(graph: ir.Graph) -> None:
    """Leave out what a backward Scan no longer reads, and copies of what it gives out."""
    for node, forward in _pairs(graph):
        (body,), (own,) = bodies_of(node), bodies_of(forward)
        directions, axes = (list(node.attributes[name].as_ints()) for name in ORDER)
        first = len(body.inputs) - len(directions)
        kept = [k for k in range(len(directions)) if body.inputs[first + k].uses()] or [0]
        places = [*range(first), *(first + k for k in kept)]
        _set_inputs(node, [node.inputs[place] for place in places])
        body.inputs[:] = [body.inputs[place] for place in places]
        _set_order(node, [directions[k] for k in kept], [axes[k] for k in kept])
        drop_stacked(forward, own)
        _without_copies(body)


def _pairs(graph: ir.Graph) -> list[tuple[ir.Node, ir.Node]]:
    """Each backward Scan and its forward."""
    pairs = [(node, node.meta[BACKWARD_OF]) for node in graph if BACKWARD_OF in node.meta]
    return [(node, forward) for node, forward in pairs if forward.graph is graph]


def _set_inputs(node: ir.Node, inputs: Sequence[ir.Value | None]) -> None:
    node.resize_inputs(len(inputs))
    for k, value in enumerate(inputs):
        node.replace_input_with(k, value)


def _set_order(node: ir.Node, directions: Sequence[int], axes: Sequence[int]) -> None:
    for name, numbers in zip(ORDER, (directions, axes), strict=True):
        node.attributes[name] = ir.AttrInt64s(name, numbers)
    node.attributes["num_scan_inputs"] = ir.AttrInt64("num_scan_inputs", len(axes))


def _without_copies(body: ir.Graph) -> None:
    """Give out values themselves where an Identity stands that gives nothing else."""
    for k, result in enumerate(body.outputs):
        copy = result.producer()
        value = copy.inputs[0] if copy is not None and copy.op_type == "Identity" else None
        if copy is None or value is None or value.producer() is None or value in body.outputs:
            continue
        if value.graph is body and not result.uses():
            body.outputs[k] = value
            body.remove(copy, safe=True)


def _source(value: ir.Value) -> ir.Value:
    """The forward body's own value."""
    maker = value.producer()
    assert maker is not None
    twin: ir.Node = maker.meta[AGAIN]
    return twin.outputs[maker.outputs.index(value)]


def _worth_it(forward: ir.Node, own: ir.Graph, body: ir.Graph) -> list[ir.Value]:
    """The recomputed values that others read; none where they had better be recomputed.

    A size that is neither a number nor has the name of one of the body's inputs might be another in
    the next iteration.
    """
    recomputed = {n for n in body if AGAIN in n.meta}
    kinds = {n.op_type for n in recomputed}
    whole = all(n.meta[AGAIN].graph is own and not bodies_of(n) for n in recomputed)
    if not whole or not kinds.intersection(PRODUCTS):
        return []
    outputs = (v for n in body if n in recomputed for v in n.outputs)
    values = [v for v in outputs if any(user not in recomputed for user, _ in v.uses())]
    steady = {_name(size) for v in own.inputs for size in v.shape or ()} - {None}
    for value in values:
        shape = value.shape
        if shape is None or not all(isinstance(d, int) or _name(d) in steady for d in shape):
            return []
    carried = sum(_elements(own.inputs[b]) for _, b, _ in ports_of(forward).states)
    return values if sum(map(_elements, values)) <= MOST * carried else []


def _name(size: int | ir.SymbolicDim) -> str | None:
    return None if isinstance(size, int) else size.value


def _elements(value: ir.Value) -> int:
    """Of one sample."""
    return prod(d for d in value.shape or () if isinstance(d, int))
