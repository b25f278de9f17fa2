"""A constant in a sum of linear nodes is the bias of the first of them, wherever it is added.

    (W₁·x₁ + W₂·x₂) + b = (W₁·x₁ + b) + W₂·x₂

A bias takes its share of relevance, and what is added behind a sum of activations would not.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from lrp_onnx.frontend.canonize.linear_node import LinearNode, linear_node_of
from lrp_onnx.frontend.canonize.sums import is_own, sums_of, terms_of
from lrp_onnx.graph.annotations import CHANGED, aliases
from lrp_onnx.graph.constants import bypass, constants_of, sole_reader
from lrp_onnx.graph.replacement import Build

__all__ = ["bring_biases"]


def bring_biases(model: ir.Model) -> bool:
    """Add each such constant right behind the linear node."""
    constants = constants_of(model.graph)
    return sum(_brought(model, root, constants) for root in sums_of(model.graph)) > 0


def _brought(model: ir.Model, root: ir.Node, constants: set[ir.Value]) -> bool:
    terms = terms_of(root)
    signs = dict(terms)
    added = [value for value in signs if value in constants]
    if not added or len(signs) - len(added) < 2:
        return False
    layers = [layer for value in signs for layer in _layers(value, constants)]
    changed = False
    for bias in added:
        layer = next((one for one in layers if _fits(one, bias)), None)
        uses = [(n, k) for n, k in bias.uses() if n is root or _is_inner_to(n, root)]
        if layer is not None and len(uses) == 1 and not _is_added(*uses[0], constants):
            y = layer.node.outputs[0]
            op_type = "Add" if signs[bias] == signs[y] else "Sub"
            changed |= _add_to(model, root, y, op_type, *uses[0])
    return changed


def _layers(value: ir.Value, constants: set[ir.Value]) -> Iterator[LinearNode]:
    node = value.producer() if is_own(value) else None
    layer = None if node is None else linear_node_of(node, constants)
    if layer is not None:
        yield layer


def _fits(layer: LinearNode, bias: ir.Value) -> bool:
    """Whether it varies along the output channels alone, and there are as many."""
    if bias.shape is None or not bias.shape.is_static() or len(bias.shape) > layer.rank:
        return False
    sizes = [1] * (layer.rank - len(bias.shape)) + [*bias.shape]
    return sizes[layer.out_axis] == layer.size and sizes.count(1) == layer.rank - 1


def _is_inner_to(node: ir.Node, root: ir.Node) -> bool:
    """Whether it is a part of the tree that ends there."""
    while node.op_type in ("Add", "Sub") and (reader := sole_reader(node.outputs[0])) is not None:
        node = reader[0]
        if node is root:
            return True
    return False


def _is_added(node: ir.Node, at: int, constants: set[ir.Value]) -> bool:
    """Whether it is added right behind a linear node; what is subtracted from stays, too."""
    if node.op_type == "Sub" and at == 0:
        return True
    other = node.inputs[1 - at]
    return other is None or any(True for _ in _layers(other, constants))


def _above(node: ir.Node, root: ir.Node) -> list[ir.Node]:
    """The sums from a node on to the last."""
    sums = [node]
    while sums[-1] is not root and (reader := sole_reader(sums[-1].outputs[0])) is not None:
        sums.append(reader[0])
    return sums


def _add_to(
    model: ir.Model, root: ir.Node, y: ir.Value, op_type: str, node: ir.Node, at: int
) -> bool:
    """Add the constant that a node reads at a place to y instead."""
    bias, other, use = node.inputs[at], node.inputs[1 - at], sole_reader(y)
    if use is None or bias is None or other is None or other.shape != node.outputs[0].shape:
        return False
    reader, k = use
    way, old = _above(reader, root), _above(node, root)
    build = Build(model.graph, reader, "bias")
    biased = build.op(op_type, y, bias, like=y)
    build.insert_before(reader)
    reader.replace_input_with(k, biased)
    for one in {*way} ^ {*old}:
        one.outputs[0].meta[CHANGED] = True
    if node in way:
        bypass(model, node, other)
        other.meta.pop(CHANGED, None)
        return True
    result = node.outputs[0]
    aliases(model)[result.name] = other.name
    result.replace_all_uses_with(other)
    model.graph.remove(node, safe=True)
    return True
