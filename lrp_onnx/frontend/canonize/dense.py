"""Dense layers in one form: Gemm with alpha = beta = 1, or `MatMulAdd` of domain "lrp" (x·w + b).

MatMul → Add of a constant is one layer with a bias if the constant varies only along axes that the
weight has, its output channels and its batch; one that varies along the data's axes (a position
code, a mask) is none.  The channels may be parted in between, [T, h·d] -> [T, h, d].

alpha·A'B' + beta·C is A'·(alpha·B') + (beta·C).
"""

from __future__ import annotations

from math import prod

import onnx_ir as ir

from lrp_onnx.frontend.canonize.linear_node import becomes_biased
from lrp_onnx.frontend.canonize.one_node import View, each
from lrp_onnx.graph.annotations import CHANGED, aliases
from lrp_onnx.graph.constants import (
    array_of,
    bypass,
    constants_of,
    set_constant,
    sole_reader,
)
from lrp_onnx.graph.makers import standard_nodes
from lrp_onnx.graph.replacement import Build

__all__ = ["add_biases", "plain_gemms"]


@each("MatMul")
def add_biases(view: View, node: ir.Node) -> bool:
    """MatMul → Add of a bias becomes Gemm (of matrices) or MatMulAdd."""
    model, constants = view.model, view.constants
    product, reader = node.outputs[0], sole_reader(node.outputs[0])
    weights = [v for v in node.inputs[:2] if v in constants]
    if reader is None or reader[0].domain or len(weights) != 1 or weights[0] is None:
        return False
    if reader[0].op_type == "Reshape" and weights[0] is node.inputs[1]:
        reader = _bias_before(model, node, reader[0], constants)
    if reader is None or reader[0].op_type != "Add":
        return False
    add, position = reader
    bias = add.inputs[1 - position]
    if bias is None or bias not in constants:
        return False
    if not _is_bias(bias, product, _owned(node, weights[0])):
        return False
    node.resize_inputs(3)
    node.replace_input_with(2, bias)
    becomes_biased(node)
    bypass(model, add, product)
    if bias.producer() is not None:  # computed between the two nodes, perhaps
        model.graph.sort()
    return True


def _bias_before(
    model: ir.Model, node: ir.Node, reshape: ir.Node, constants: set[ir.Value]
) -> tuple[ir.Node, int] | None:
    """The Add behind a Reshape that parts the output channels, brought before it."""
    product, y = node.outputs[0], reshape.outputs[0]
    add, position = sole_reader(y) or (None, 0)
    bias = None if add is None or add.op_type != "Add" or add.domain else add.inputs[1 - position]
    if add is None or bias is None or bias not in constants or bias.shape is None:
        return None
    if product.shape is None or y.shape is None or y.shape != add.outputs[0].shape:
        return None
    parts = _parts_of([*y.shape], product.shape[-1])
    if not parts or any(n != 1 for n in [*bias.shape][: -len(parts)]):
        return None
    build, channels = Build(model.graph, add, "bias"), product.shape[-1]
    whole = build.op("Expand", bias, build.ints(*parts), like=bias)
    flat = build.op("Reshape", whole, build.ints(-1), like=bias)
    flat.shape = ir.Shape([channels])
    constants.add(flat)
    total = build.op("Add", product, flat, like=product)
    (parted,) = build.copy(reshape, [total, reshape.inputs[1]], like=y)
    product.meta[CHANGED] = parted.producer()  # it takes the bias, and the model has it parted
    before, name = total.producer(), y.name
    aliases(model)[name] = add.outputs[0].name  # a bias keeps its share
    build.replace(parted)
    model.graph.remove(reshape, safe=True)
    return None if before is None else (before, 0)


def _parts_of(sizes: list[int | ir.SymbolicDim], channels: int | ir.SymbolicDim) -> list[int]:
    """The last sizes, if they multiply to the channels."""
    parts: list[int] = []
    for size in sizes[::-1]:
        if prod(parts) == channels or not isinstance(size, int):
            break
        parts.insert(0, size)
    return parts if prod(parts) == channels and len(parts) > 1 else []


def _owned(node: ir.Node, weight: ir.Value) -> set[int]:
    """The axes of the product, from the end, along which the weight varies."""
    sizes = list(weight.shape or ())
    if len(sizes) < 2:
        return set()
    channels = -1 if weight is node.inputs[1] else -2
    batch = {k - len(sizes) for k, size in enumerate(sizes[:-2]) if size != 1}
    return batch | {channels}


def _is_bias(bias: ir.Value, product: ir.Value, owned: set[int]) -> bool:
    if bias.shape is None or product.shape is None or len(bias.shape) > len(product.shape):
        return False
    rank = len(bias.shape)
    return all(size == 1 or k - rank in owned for k, size in enumerate(bias.shape))


def plain_gemms(model: ir.Model) -> bool:
    """Gemm with factors becomes Gemm and Mul without them."""
    constants = constants_of(model.graph)
    gemms = standard_nodes(model.graph, "Gemm")
    others = [node for node in gemms if {"alpha", "beta"} & set(node.attributes)]
    for node in others:
        _without_alpha(model, node, constants)
        _without_beta(model, node)
    return bool(others)


def _factor(node: ir.Node, name: str) -> float:
    """The attribute, taken off the node."""
    attribute = node.attributes.pop(name, None)
    return 1.0 if attribute is None else attribute.as_float()


def _without_alpha(model: ir.Model, node: ir.Node, constants: set[ir.Value]) -> None:
    alpha = _factor(node, "alpha")
    if alpha == 1:
        return
    weight = next((k for k in (1, 0) if node.inputs[k] in constants), 1)
    _scale(model, node, weight, alpha)


def _scale(model: ir.Model, node: ir.Node, position: int, factor: float) -> None:
    """Multiply an input: the constant itself, or by a Mul in front of the node."""
    value = node.inputs[position]
    array = array_of(value)
    if array is not None:
        set_constant(model.graph, node, position, array * factor)
    elif value is not None:
        build = Build(model.graph, node, f"input_{position}")
        factor_of = build.like(factor, value)
        node.replace_input_with(position, build.op("Mul", value, factor_of, like=value))
        build.insert_before(node)


def _without_beta(model: ir.Model, node: ir.Node) -> None:
    beta, c = _factor(node, "beta"), node.inputs[2] if len(node.inputs) > 2 else None
    if c is None or beta == 0:
        node.resize_inputs(2)
        return
    if beta != 1:
        _scale(model, node, 2, beta)
