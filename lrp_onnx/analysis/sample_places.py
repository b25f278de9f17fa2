"""Where the samples of a batch lie in the tensors of a network, on whatever axis.

A Transpose carries them to another axis, a Reshape makes them a part of one, of heads or of windows
that are flattened for a dense layer (moved_samples.py); a Scan or a Loop carries them from step to
step.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

import onnx_ir as ir

from lrp_onnx.analysis.moved_samples import places_behind
from lrp_onnx.analysis.sample_place import Mixed, Place, Places, place_of, without
from lrp_onnx.graph.clone import reads
from lrp_onnx.graph.subgraphs import Ports, bodies_of, ports_of
from lrp_onnx.ops.samples import rank_of

__all__ = ["sample_axis"]


def sample_axis(
    nodes: Iterable[ir.Node], roots: Collection[ir.Value], axis: int, end: ir.Value
) -> int | None:
    """The axis of `end` that holds one index a sample, if the roots do so along `axis` and no
    samples meet; else None.

    nodes: all that depend on the roots, in order.
    """
    places: Places = {root: Place(axis) for root in roots}
    _walk(nodes, places)
    last = places.get(end)
    return last.axis if last is not None and last == Place(last.axis) else None


def _walk(nodes: Iterable[ir.Node], places: Places) -> None:
    """Add the places of what the nodes make."""
    for node in nodes:
        if node.op_type == "Shape" or not any(v in places for v in reads(node)):
            continue
        try:
            if bodies_of(node):
                _walk_body(node, places)
            else:
                places.update(zip(node.outputs, places_behind(node, places), strict=True))
        except Mixed:
            places.update(dict.fromkeys(node.outputs))


def _walk_body(node: ir.Node, places: Places) -> None:
    """An If, Scan or Loop; what it carries lies where a step leaves it."""
    ports, (body, *others) = ports_of(node), bodies_of(node)
    if _walk_step_by_step(node, ports, body, places):
        return
    if any(v in places for n, v in enumerate(node.inputs) if n not in ports.inputs):
        raise Mixed  # how often it runs, or which branch
    for port in ports.read:
        whole = node.inputs[port.node]
        if whole is not None and whole in places:
            part = without(whole, place_of(whole, places), [port.axis])
            places[body.inputs[port.body]] = part
    for n, b, _ in ports.states:
        first = node.inputs[n]
        if first is not None and first in places:
            places[body.inputs[b]] = places[first]
    held = None
    while held != (held := {b for _, b, _ in ports.states if body.inputs[b] in places}):
        _walk(body, places)
        _carry(ports, body, places)
    if any(v in places for k, v in enumerate(body.outputs) if k not in ports.outputs.values()):
        raise Mixed  # whether it goes on
    _hand_out(node, ports, body, places)
    for branch in others:
        _walk(branch, places)
        _hand_out(node, ports, branch, places)


def _walk_step_by_step(node: ir.Node, ports: Ports, body: ir.Graph, places: Places) -> bool:
    """A loop each of whose steps is that of one sample, which nothing takes to the next; says
    whether the node is one.
    """
    samples = {v for v in reads(node) if v in places}
    read = [(node.inputs[s.node], body.inputs[s.body], s.axis) for s in ports.read]
    own = {
        slice for whole, slice, axis in read if whole in samples and places[whole] == Place(axis)
    }
    if not own or {whole for whole, slice, _ in read if slice in own} != samples:
        return False
    for inner in body:
        if not own.isdisjoint(reads(inner)):
            own.update(inner.outputs)
    written = {s.body: s for s in ports.written}
    made = [k for k, value in enumerate(body.outputs) if value in own]
    if not written.keys() >= set(made):
        return False
    for s in (written[k] for k in made):
        places[node.outputs[s.node]] = Place(s.axis)
    return True


def _carry(ports: Ports, body: ir.Graph, places: Places) -> None:
    """What a step leaves of a state is what the next begins with."""
    for _, b, out in ports.states:
        after = places.get(body.outputs[out])
        if body.outputs[out] in places and places.setdefault(body.inputs[b], after) != after:
            raise Mixed


def _hand_out(node: ir.Node, ports: Ports, body: ir.Graph, places: Places) -> None:
    for k, b in ports.results:
        if (result := body.outputs[b]) in places:
            place = place_of(result, places)
            if places.setdefault(node.outputs[k], place) != place:
                raise Mixed
    for k, (_, b, _) in enumerate(ports.states):
        if body.inputs[b] in places:
            places[node.outputs[k]] = places[body.inputs[b]]
    for port in ports.written:
        value = node.outputs[port.node]
        if body.outputs[port.body] in places:
            part = place_of(body.outputs[port.body], places)
            behind = part.axis >= port.axis % rank_of(value)
            places[value] = replace(part, axis=part.axis + behind)
