"""Carried values of a Loop: of the shape they begin with, where each iteration gives that back.

onnx.shape_inference forgets their shape, because an iteration might change it.  Assume that it does
not, infer again, and keep the assumptions that the body's own outputs bear out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from onnx import GraphProto, ModelProto, NodeProto, TypeProto, ValueInfoProto
from onnx.shape_inference import InferenceError

from lrp_onnx.graph.subgraphs import proto_bodies

__all__ = ["inferred_steady"]

Infer = Callable[[ModelProto], ModelProto]
Carried = tuple[str, int]
"""A Loop by its first output's name, and the number of one of its carried values."""


def inferred_steady(proto: ModelProto, infer: Infer) -> ModelProto:
    """The model after `infer`, the shapes of carried values included where they stay the same."""
    first_try = known = infer(proto)
    if not any(True for _ in _loops(known.graph)):
        return known
    assumed, refuted = dict[Carried, TypeProto](), set[Carried]()
    while True:
        # what one Loop hands on may be what another, inside it too, begins with
        more = {k: v for k, v, _ in _open(known) if k not in refuted and k not in assumed}
        broken = [] if more else _broken(known, assumed)
        if not more and not broken:
            return known
        refuted.update(broken)
        assumed = {k: v for k, v in {**assumed, **more}.items() if k not in refuted}
        trial = ModelProto()
        trial.CopyFrom(proto)
        _assume(trial.graph, assumed)
        try:
            known = infer(trial)
        except InferenceError:
            return first_try


def _broken(model: ModelProto, assumed: Mapping[Carried, TypeProto]) -> list[Carried]:
    """The assumptions that the bodies' own outputs do not bear out."""
    return [
        key
        for _, node in _loops(model.graph)
        for key, first in assumed.items()
        if key[0] == _name(node) and not _same(_body(node).output[1 + key[1]].type, first)
    ]


def _open(model: ModelProto) -> Iterator[tuple[Carried, TypeProto, NodeProto]]:
    """Carried values whose shape is known at the beginning and not at the end."""
    types = dict(_types(model.graph))
    for _, node in _loops(model.graph):
        for k, name in enumerate(node.input[2:]):
            first, last = types.get(name), types.get(node.output[k])
            if first is None or not first.tensor_type.HasField("shape"):
                continue
            if last is None or not last.tensor_type.HasField("shape"):
                yield (_name(node), k), first, node


def _types(graph: GraphProto) -> Iterator[tuple[str, TypeProto]]:
    for value in (*graph.input, *graph.value_info, *graph.output):
        yield value.name, value.type
    for tensor in graph.initializer:
        known = TypeProto()
        known.tensor_type.elem_type = tensor.data_type
        for size in tensor.dims:
            known.tensor_type.shape.dim.add().dim_value = size
        if not known.tensor_type.HasField("shape"):
            known.tensor_type.shape.SetInParent()
        yield tensor.name, known
    for node in graph.node:
        for inner in proto_bodies(node):
            yield from _types(inner)


def _loops(graph: GraphProto) -> Iterator[tuple[GraphProto, NodeProto]]:
    """Every Loop with the graph that it stands in."""
    for node in graph.node:
        if node.op_type == "Loop" and not node.domain:
            yield graph, node
        for inner in proto_bodies(node):
            yield from _loops(inner)


def _name(node: NodeProto) -> str:
    return str(next(name for name in node.output if name))


def _body(node: NodeProto) -> GraphProto:
    return next(proto_bodies(node))


def _assume(graph: GraphProto, assumed: dict[Carried, TypeProto]) -> None:
    """Write the shapes at the body's inputs and at the node's outputs."""
    for around, node in _loops(graph):
        for (name, k), first in assumed.items():
            if name != _name(node):
                continue
            _body(node).input[2 + k].type.CopyFrom(first)
            result = [v for v in around.output if v.name == node.output[k]]
            others = [v for v in around.value_info if v.name != node.output[k]]
            for value in result:
                value.type.CopyFrom(first)
            if node.output[k] and not result:
                others.append(ValueInfoProto(name=node.output[k], type=first))
            del around.value_info[:]
            around.value_info.extend(others)


def _same(a: TypeProto, b: TypeProto) -> bool:
    if not a.tensor_type.HasField("shape"):
        return False
    pairs = (a.tensor_type.shape.dim, b.tensor_type.shape.dim)
    sizes = [[(d.dim_value, d.dim_param) for d in dims] for dims in pairs]
    return sizes[0] == sizes[1]
