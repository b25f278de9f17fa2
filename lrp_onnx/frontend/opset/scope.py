"""What the rewriting of one node may ask about its graph, and how what it adds is named."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, TypeProto, helper, numpy_helper

from lrp_onnx.errors import ModelError

__all__ = ["Rewrite", "Scope", "Shared", "label", "pop", "require_valid", "subgraphs", "trim"]


def label(node: NodeProto) -> str:
    """Name a node for the user, by its first output where it has no name."""
    return f"node '{node.name or next(iter(node.output), '')}' ({node.op_type})"


def subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    """Yield the bodies of If, Loop and Scan."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def require_valid(node: NodeProto, opset: int) -> None:
    """Raise ModelError unless the node has the inputs and attributes its operator wants."""
    context = onnx.checker.C.CheckerContext()
    context.ir_version, context.opset_imports = 10, {"": opset}
    try:
        onnx.checker.check_node(node, context)
    except onnx.checker.ValidationError as error:
        raise ModelError(f"{label(node)}: {str(error).splitlines()[0].rstrip('.')}") from error


def pop(node: NodeProto, name: str, default: Any = None) -> Any:
    """Take an attribute off the node: its value (strings as str), `default` where it is absent."""
    for position, attribute in enumerate(node.attribute):
        if attribute.name == name:
            value = helper.get_attribute_value(attribute)
            del node.attribute[position]
            return value.decode() if isinstance(value, bytes) else value
    return default


def trim(names: Sequence[str]) -> list[str]:
    """Drop absent inputs from the end."""
    trimmed = list(names)
    while trimmed and not trimmed[-1]:
        trimmed.pop()
    return trimmed


@dataclass
class Shared:
    """Facts of the whole model: its opset, every name in it, the tensors something reads."""

    opset: int
    taken: set[str] = field(default_factory=set)
    read: set[str] = field(default_factory=set)

    def note(self, graph: GraphProto) -> None:
        """Record the names of a graph and of the graphs inside it."""
        self.taken.update(value.name for value in (*graph.input, *graph.initializer))
        self.read.update(value.name for value in graph.output)
        for node in graph.node:
            self.taken.update((node.name, *node.output))
            self.read.update(node.input)
            for inner in subgraphs(node):
                self.note(inner)


class Scope:
    """One graph with its inferred types and the graphs around it.

    `inferred` is the same graph after shape inference. Types are missing where a custom operator
    stands before.
    """

    def __init__(
        self, graph: GraphProto, inferred: GraphProto, shared: Shared, outer: Scope | None = None
    ) -> None:
        self.graph = graph
        self.shared = shared
        types = {v.name: v.type for v in (*inferred.value_info, *inferred.input, *inferred.output)}
        for tensor in graph.initializer:
            types[tensor.name] = helper.make_tensor_type_proto(tensor.data_type, tensor.dims)
        self.types: ChainMap[str, TypeProto] = ChainMap(types, *(outer.types.maps if outer else ()))
        self.constants: ChainMap[str, TensorProto] = ChainMap(
            dict(_constants(graph)), *(outer.constants.maps if outer else ())
        )

    @property
    def opset(self) -> int:
        """The opset the model comes from."""
        return self.shared.opset

    def fresh(self, hint: str) -> str:
        """Return a name that no tensor and no node of the model has."""
        name, count = hint, 1
        while name in self.shared.taken:
            name, count = f"{hint}_{count}", count + 1
        self.shared.taken.add(name)
        return name

    def element_type(self, name: str) -> int:
        """Return the tensor's element type, 0 where it is unknown."""
        return int(self.types[name].tensor_type.elem_type) if name in self.types else 0

    def shape(self, name: str) -> list[int | None] | None:
        """Return the tensor's shape, None for an unknown dimension or an unknown rank."""
        if name not in self.types or not self.types[name].tensor_type.HasField("shape"):
            return None
        dims = self.types[name].tensor_type.shape.dim
        return [dim.dim_value if dim.HasField("dim_value") else None for dim in dims]

    def value(self, name: str) -> np.ndarray[Any, Any] | None:
        """Return a constant tensor's value, None if it is computed or was left out for its size."""
        tensor = self.constants.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)

    def constant(self, node: NodeProto, part: str, array: np.ndarray[Any, Any]) -> str:
        """Add an initializer for `node` and return its name."""
        name = self.fresh(f"{node.name or node.output[0]}/{part}")
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(array, order="C"), name))
        return name

    def integers(self, node: NodeProto, part: str, values: Sequence[int]) -> str:
        """Add a one-dimensional int64 initializer."""
        return self.constant(node, part, np.array(values, np.int64))

    def scalar(self, node: NodeProto, part: str, value: float, like: str) -> str:
        """Add a scalar of the element type of tensor `like`; ModelError if that type is unknown."""
        element_type = self.element_type(like)
        if not element_type:
            raise ModelError(f"{label(node)}: the element type of its input '{like}' is unknown")
        dtype = helper.tensor_dtype_to_np_dtype(element_type)
        return self.constant(node, part, np.asarray(np.array(value, np.float64).astype(dtype)))

    def node(
        self, origin: NodeProto, op_type: str, inputs: Sequence[str], **attributes: Any
    ) -> NodeProto:
        """Return a new one-output node that works for `origin`, named under it."""
        base = origin.name or origin.output[0]
        output = self.fresh(f"{base}/{op_type}")
        new = helper.make_node(op_type, trim(inputs), [output], output, **attributes)
        new.metadata_props.extend(origin.metadata_props)
        return new

    def replaced(
        self, origin: NodeProto, op_type: str, inputs: Sequence[str], **attributes: Any
    ) -> NodeProto:
        """Return `origin` (name, outputs, text, metadata) with another operator and inputs."""
        copy = NodeProto()
        copy.CopyFrom(origin)
        copy.op_type = op_type
        del copy.input[:], copy.attribute[:]
        copy.input.extend(trim(inputs))
        copy.attribute.extend(helper.make_attribute(k, v) for k, v in attributes.items())
        return copy


Rewrite = Callable[[NodeProto, Scope], list[NodeProto]]
"""Turns one node (which it may change in place) into the nodes that stand for it."""


def _constants(graph: GraphProto) -> Iterator[tuple[str, onnx.TensorProto]]:
    """Yield the graph's constants: initializers and the plain spelling of Constant nodes."""
    for tensor in graph.initializer:
        yield tensor.name, tensor
    for node in graph.node:
        if node.op_type != "Constant" or node.domain not in ("", "ai.onnx"):
            continue
        for attribute in node.attribute:
            if tensor := _tensor(attribute):
                yield node.output[0], tensor


def _tensor(attribute: AttributeProto) -> TensorProto | None:
    """Return the value a Constant node's attribute holds, None for sparse values and strings."""
    if attribute.type == AttributeProto.TENSOR:
        return attribute.t
    dtypes = {
        AttributeProto.INT: np.int64,
        AttributeProto.INTS: np.int64,
        AttributeProto.FLOAT: np.float32,
        AttributeProto.FLOATS: np.float32,
    }
    if attribute.type not in dtypes:
        return None
    value = np.array(helper.get_attribute_value(attribute), dtypes[attribute.type])
    return numpy_helper.from_array(value)
