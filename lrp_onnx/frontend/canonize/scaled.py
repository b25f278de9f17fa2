"""Constants around a product of two tensors that vary stand at its first factor.

    (a·b)·c = a·(b·c) = (a·c)·b,

as in the scores of an attention, q·k/√d, which others spell (q/⁴√d)·(k/⁴√d).  Relevance is divided
by the product and a stabilizer: it must be the same product for the same stabilizer to count as
much.  It is the scaled one, as what scales a linear node's result belongs to that node.
"""

from __future__ import annotations

from collections.abc import Collection

import onnx_ir as ir

from lrp_onnx.graph.annotations import CHANGED, aliases
from lrp_onnx.graph.constants import constants_of, sole_reader
from lrp_onnx.graph.makers import standard_nodes
from lrp_onnx.graph.replacement import Build

__all__ = ["scale_first_factor"]

REORDERS = ("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Identity")
"""What may lie between the product and a number that scales it."""


def scale_first_factor(model: ir.Model) -> bool:
    """Scale the first factor of a product instead of the second, or of its result."""
    graph, changed = model.graph, False
    products = standard_nodes(graph, "MatMul")
    constants = constants_of(graph) if products else set[ir.Value]()
    for first in products:
        product: ir.Node | None = first if constants.isdisjoint(first.inputs) else None
        while product is not None:
            product = _from_behind(model, product, constants) or _from_second(
                graph, product, constants
            )
            changed |= product is not None
    return changed


def _from_behind(
    model: ir.Model, product: ir.Node, constants: Collection[ir.Value]
) -> ir.Node | None:
    """The product that stands for the scaled one."""
    graph = model.graph
    between, (y,), (a, b) = list[ir.Node](), product.outputs, product.inputs
    while (use := sole_reader(y)) is not None and use[0].op_type in REORDERS and use[1] == 0:
        between.append(use[0])
        y = use[0].outputs[0]
    if use is None:
        return None
    scale, at = use
    c = _constant(scale, at, constants)
    if a is None or not _is_one_a_matrix(c, a, bool(between)):
        return None
    build = Build(graph, scale)
    scaled = build.op("MatMul", build.op(scale.op_type, a, c, like=a), b, like=product.outputs[0])
    z = _moved(build, scaled, between)
    for node in build.nodes[2:]:  # the model has the scaled product moved
        if (before := node.inputs[0]) is not None:
            before.meta[CHANGED] = node
    if z.shape != scale.outputs[0].shape:
        return None
    name = scale.outputs[0].name
    for node in (product, *between):
        aliases(model)[node.outputs[0].name] = name
    build.replace(z)
    graph.remove([*between[::-1], product], safe=True)
    return scaled.producer()


def _from_second(
    graph: ir.Graph, product: ir.Node, constants: Collection[ir.Value]
) -> ir.Node | None:
    """The product whose second factor is not scaled."""
    between, (a, b) = list[ir.Node](), product.inputs
    scale = _only_maker(b)
    while scale is not None and scale.op_type in REORDERS:
        between.insert(0, scale)
        scale = _only_maker(scale.inputs[0])
    if scale is None or a is None or b is None:
        return None
    at = next((k for k, v in enumerate(scale.inputs) if v not in constants), 0)
    x, c = scale.inputs[at], _constant(scale, at, constants)
    if x is None or x.shape != scale.outputs[0].shape:
        return None
    if not (_is_one_a_matrix(c, b, bool(between)) and _is_one_a_matrix(c, a, True)):
        return None
    build = Build(graph, product)
    scaled = build.op(scale.op_type, a, c, like=a)
    z = build.op("MatMul", scaled, _moved(build, x, between), like=product.outputs[0])
    build.replace(z)
    graph.remove([*between[::-1], scale], safe=True)
    return z.producer()


def _constant(scale: ir.Node, at: int, constants: Collection[ir.Value]) -> ir.Value | None:
    """What a node multiplies its input at that place by, or divides it by, if it is constant."""
    if scale.domain or not (scale.op_type == "Mul" or (scale.op_type == "Div" and at == 0)):
        return None
    c = scale.inputs[1 - at]
    return c if c in constants else None


def _only_maker(value: ir.Value | None) -> ir.Node | None:
    """The node that makes it, if only one node reads it."""
    return None if value is None or sole_reader(value) is None else value.producer()


def _moved(build: Build, x: ir.Value, nodes: list[ir.Node]) -> ir.Value:
    """What copies of the nodes make of x."""
    for node in nodes:
        (x,) = build.copy(node, [x, *node.inputs[1:]], like=node.outputs[0])
    return x


def _is_one_a_matrix(c: ir.Value | None, a: ir.Value, alone: bool) -> bool:
    """Whether it is one number for each matrix of a batch; `alone`: for all of them."""
    if c is None or c.shape is None or a.shape is None or len(a.shape) < 2:
        return False
    alike = [*c.shape] if alone else [*c.shape][-2:]
    return len(c.shape) <= len(a.shape) and all(size == 1 for size in alike)
