"""The inner tensors that a user names, and what is said of a name that is none."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from lrp_onnx.errors import TargetError
from lrp_onnx.graph.annotations import aliases
from lrp_onnx.graph.names import name_of, names_of, tensor_name
from lrp_onnx.graph.subgraphs import bodies_of

__all__ = ["outputs_of", "tensor_of"]


def tensor_of(model: ir.Model, name: str) -> ir.Value:
    """The tensor of that name, or the one that took its place.

    Raises TargetError, which tells a node's name and the channels behind a tensor's from a name
    that nothing has.
    """
    tensor = _find(model, name)
    if tensor is None:
        raise TargetError(f"tensor {name!r}: {_why_not(model, name)}")
    return tensor


def outputs_of(node: ir.Node) -> tuple[str, ...]:
    """The names of the tensors that a node computes."""
    return tuple(tensor_name(v) for v in node.outputs if v.name)


def _find(model: ir.Model, name: str) -> ir.Value | None:
    removed = aliases(model)
    while name in removed:
        name = str(removed[name])
    values = (*model.graph.inputs, *(o for node in model.graph for o in node.outputs))
    return next((v for v in values if v.name == name), None)


def _why_not(model: ir.Model, name: str) -> str:
    for node in model.graph:
        if node.name == name:
            return _of_node(node)
    if (around := _around(model.graph, name)) is not None:
        return (
            f"it lies in a body of node {name_of(around)!r}, which runs any number of times. "
            "Choose one outside of it."
        )
    tensor, equals, _ = name.rpartition("=")
    if equals and _find(model, tensor) is not None:
        return (
            f"the model has none, but {tensor!r}. Channels are whole numbers from 0 and for "
            f"`lrp-onnx explain` alone, as in '{tensor}=11,3'."
        )
    return "the model has none. `lrp-onnx inspect MODEL --tensors` lists them, node by node."


def _of_node(node: ir.Node) -> str:
    names = outputs_of(node)
    if len(names) == 1:
        return f"that is a node; its output is tensor {names[0]!r}. Give that."
    listing = ", ".join(map(repr, names))
    return f"that is a node; its outputs are tensors {listing}. Give one of them."


def _around(graph: ir.Graph, name: str) -> ir.Node | None:
    """The node in whose body a tensor or node of that name lies."""
    for node in graph:
        for body in bodies_of(node):
            if name in _names_in(body):
                return node
            if (inner := _around(body, name)) is not None:
                return inner
    return None


def _names_in(body: ir.Graph) -> Iterator[str | None]:
    for value in body.inputs:
        yield value.name
    for node in body:
        yield from names_of(node)
        yield from (v.name for v in node.outputs)
