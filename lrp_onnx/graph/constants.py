"""Constants of a graph: which there are, weights in float64, giving a node others, passing it by.

A weight that only one node reads is replaced where it is; one that several read gets a copy for
the node that needs another, so that the file grows only where it must.
"""

from __future__ import annotations

import hashlib
from copy import copy
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import ArrayLike, NDArray

from lrp_onnx.graph.annotations import CHANGED, aliases, weight_copies

__all__ = [
    "SMALL",
    "Float",
    "array_of",
    "bypass",
    "constants_of",
    "lift_weights",
    "loose_constant",
    "may_differ",
    "new_constant",
    "rename",
    "set_constant",
    "sole_reader",
    "stored",
]

Float = NDArray[np.float64]

SMALL = 4096
"""Bytes up to which an initializer travels with the graph."""


def stored(value: ir.Value | None) -> NDArray[Any] | None:
    """The array of an initializer of a float type as it is stored; None for anything else."""
    if value is None or not value.is_initializer() or value.const_value is None:
        return None
    tensor = value.const_value
    return tensor.numpy() if tensor.dtype.is_floating_point() else None


def array_of(value: ir.Value | None) -> Float | None:
    """The same in float64, a copy."""
    array = stored(value)
    return None if array is None else array.astype(np.float64)


def constants_of(graph: ir.Graph) -> set[ir.Value]:
    """The initializers, those of the graphs around it included, and everything that is computed
    from them alone.
    """
    constants = set(graph.initializers.values())
    constants.update(
        v for node in graph for v in node.inputs if v is not None and v.is_initializer()
    )
    for node in graph:
        if all(v is None or v in constants for v in node.inputs) and not may_differ(node):
            constants.update(node.outputs)
    return constants


def may_differ(node: ir.Node) -> bool:
    """Whether it may give other results for the same inputs: random numbers, or it has a body."""
    bodies = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
    if any(attribute.type in bodies for attribute in node.attributes.values()):
        return True
    return node.op_type.startswith("Random") or node.op_type in ("Bernoulli", "Multinomial")


def new_constant(graph: ir.Graph, name: str, array: ArrayLike, dtype: ir.DataType) -> ir.Value:
    """A new initializer holding `array` as `dtype`; the name is made unique."""
    while name in graph.initializers:
        name += "_"
    value = loose_constant(name, array, dtype)
    graph.register_initializer(value)
    return value


def loose_constant(name: str, array: ArrayLike, dtype: ir.DataType) -> ir.Value:
    """A value that holds `array` as `dtype`, to become an initializer."""
    tensor = ir.Tensor(np.asarray(array, dtype=dtype.numpy()), name=name)
    return ir.Value(
        name=name, shape=ir.Shape(tensor.shape), type=ir.TensorType(dtype), const_value=tensor
    )


def set_constant(graph: ir.Graph, node: ir.Node, position: int, array: NDArray[Any]) -> None:
    """Let the node read `array` at `position`, in the dtype of what it read there or computes."""
    old = node.inputs[position] if position < len(node.inputs) else None
    dtype = (node.outputs[0] if old is None else old).dtype or ir.DataType.FLOAT
    if old is not None and len(old.uses()) == 1 and not old.is_graph_output():
        tensor = ir.Tensor(array.astype(dtype.numpy(), copy=False), name=old.name)
        old.const_value, old.shape = tensor, ir.Shape(tensor.shape)
        old.meta[CHANGED] = True
        return
    part = {1: "weight", 2: "bias"}.get(position, f"input_{position}")
    name = f"{node.name}/{part}"
    if position >= len(node.inputs):
        node.resize_inputs(position + 1)
    content = np.ascontiguousarray(array, dtype.numpy())
    # nodes that share a weight and need it changed in the same way share the copy too
    copies = weight_copies(graph)
    key = (dtype, content.shape, hashlib.sha256(content.tobytes()).digest())
    copy = copies.get(key)
    if copy is None or copy.name not in graph.initializers:
        copy = copies[key] = new_constant(graph, name, content, dtype)
    node.replace_input_with(position, copy)


def rename(value: ir.Value, name: str) -> None:
    """Give a tensor or weight another name; what a weight holds may be the caller's, and keeps
    its own.
    """
    tensor = value.const_value
    if isinstance(tensor, ir.ExternalTensor):
        value.const_value = copy(tensor)
    elif tensor is not None:
        value.const_value = ir.Tensor(tensor, dtype=tensor.dtype, name=name)
    value.name = name


def lift_weights(root: ir.Graph, body: ir.Graph) -> None:
    """Move a body's weights to the main graph, so that copies of the body share them."""
    for name, value in list(body.initializers.items()):
        if value.const_value is None or value.const_value.nbytes <= SMALL:
            continue
        del body.initializers[name]
        while value.name in root.initializers:
            value.name = f"{value.name}_"
        root.register_initializer(value)


def sole_reader(value: ir.Value) -> tuple[ir.Node, int] | None:
    """The node and input that alone read a value which is no output of the graph."""
    uses = tuple(value.uses())
    if len(uses) != 1 or value.is_graph_output():
        return None
    node, position = uses[0]
    return (node, position) if node.graph is value.graph else None


def bypass(model: ir.Model, node: ir.Node, value: ir.Value) -> None:
    """Take a node out whose result is now what `value` holds; `value` takes the result's name.

    The name that `value` had is kept in `annotations.aliases`: relevance is the same there.
    """
    result = node.outputs[0]
    name, result.name = result.name, f"{result.name}/replaced"
    aliases(model)[value.name] = name
    result.replace_all_uses_with(value, replace_graph_outputs=True)
    value.name = name
    model.graph.remove(node, safe=True)
