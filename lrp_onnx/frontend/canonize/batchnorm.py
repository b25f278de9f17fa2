"""BatchNormalization, in any spelling, becomes part of the linear node in front of it or behind it.

Behind a linear node any chain of per-channel scales and shifts is taken in, whatever its length,
through Transposes and reshapes that keep the channels together.  In front of a linear node only
what is a BatchNormalization is: the operator, or a scale and a shift, of the model's input in this
order; (x − μ)·s there may be the model's own preprocessing, and what is behind a quotient of
activations, x/σ or x·(1/σ), belongs to a LayerNorm.  Nothing is folded across a tensor that is read
elsewhere.  The algebra is in `layer`.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from lrp_onnx.frontend.canonize.affine import Affine, Behind, affine_of, axis_before
from lrp_onnx.frontend.canonize.linear_node import LinearNode, linear_node_of
from lrp_onnx.graph.annotations import CHANGED, aliases
from lrp_onnx.graph.constants import constants_of, sole_reader
from lrp_onnx.graph.makers import inputs_by, made_by
from lrp_onnx.ops.registry import find

__all__ = ["fold_batchnorm_before", "fold_batchnorm_behind"]


def fold_batchnorm_behind(model: ir.Model) -> bool:
    """Linear → scales and shifts becomes the linear node alone."""
    return sum(_folded_behind(model, layer) for layer in _layers(model)) > 0


def _layers(model: ir.Model) -> Iterator[LinearNode]:
    constants = constants_of(model.graph)
    for node in list(model.graph):
        layer = linear_node_of(node, constants)
        if layer is not None:
            yield layer


def _folded_behind(model: ir.Model, layer: LinearNode) -> bool:
    behind = Behind.of(layer.node.outputs[0], layer.out_axis, layer.size)
    if not behind.absorbed or not layer.follow(model.graph, behind.total):
        return False
    behind.take_out(model)
    return True


def fold_batchnorm_before(model: ir.Model) -> bool:
    """BatchNormalization → linear becomes the linear node alone, where padding allows it."""
    return sum(_folded_before(model, layer) for layer in _layers(model)) > 0


def _folded_before(model: ir.Model, layer: LinearNode) -> bool:
    total, absorbed = Affine.identity(layer.in_size), list[ir.Node]()
    between, changed = list[ir.Value](), list[ir.Value]()
    value, axis = layer.node.inputs[layer.x], layer.in_axis
    while value is not None and sole_reader(value) is not None:
        node = value.producer()
        if node is None or not node.inputs:
            break
        position = 0 if node.inputs[0] is not None and not _constant(node.inputs[0]) else 1
        step = affine_of(node, position, axis, layer.in_size)
        if step is not None:
            total = step.then(total)
            absorbed.insert(0, node)
            changed = list(between)
        else:
            axis_there = axis_before(node, axis)
            if axis_there is None:
                break
            axis, position = axis_there, 0
            between.append(value)
        value = node.inputs[position]
    if value is None or not _is_batchnorm(absorbed, value) or _normalized(value):
        return False
    if not layer.precede(model.graph, total):
        return False
    for node in absorbed:
        _hand_on(model, node)
    for value in changed:
        value.meta[CHANGED] = True
    return True


def _is_batchnorm(nodes: list[ir.Node], value: ir.Value) -> bool:
    """Whether there is the operator, or a scale and then a shift; of a tensor that the model
    computes, in either order.
    """
    types = [node.op_type for node in nodes]
    scales = [k for k, t in enumerate(types) if t in ("Mul", "Div")]
    shifts = [k for k, t in enumerate(types) if t in ("Add", "Sub")]
    ordered = _is_computed(value) or (scales and shifts and scales[0] < shifts[-1])
    return "BatchNormalization" in types or bool(scales and shifts and ordered)


def _is_computed(value: ir.Value) -> bool:
    """Whether it is more than the model's input, cast or moved, or an integer as a number: in front
    of a layer (q − zero)·s of an integer is what it stands for.
    """
    node = value.producer()
    while node is not None and (node.op_type == "Cast" or ((op := find(node)) and op.moves)):
        x = node.inputs[0]
        if x is None or (x.dtype is not None and x.dtype.is_integer()):
            return False
        node = x.producer()
    return node is not None


def _normalized(value: ir.Value) -> bool:
    """Whether the value is a quotient of activations, as in a LayerNorm: a/b, a·(1/b), a·b^(−½)."""
    operands = inputs_by(value, "Div", "Mul")
    if not operands or any(_constant(v) for v in operands):
        return False
    inverted = any(made_by(v, "Div", "Reciprocal", "Pow") for v in operands)
    return inverted or made_by(value, "Div") is not None


def _constant(value: ir.Value | None) -> bool:
    return value is not None and value.is_initializer()


def _activation(node: ir.Node) -> ir.Value:
    """The input of a scale or shift that is no constant."""
    value = next(v for v in node.inputs if not _constant(v))
    assert value is not None
    return value


def _hand_on(model: ir.Model, node: ir.Node) -> None:
    """Take a node out whose work the node behind it does; what it read keeps its name."""
    value, result = _activation(node), node.outputs[0]
    aliases(model)[result.name] = value.name
    result.replace_all_uses_with(value)
    model.graph.remove(node, safe=True)
