"""Products with a gate that are written as quotients or sums.

    u/(1 + exp(-w)) = u·σ(w),    u + u·s = u·(1 + s),    a·u·g + b·u = u·(a·g + b).

A quotient gives all relevance to its dividend, a sum each term its share, a product of two
activations half to each factor.
"""

from __future__ import annotations

import onnx_ir as ir

from lrp_onnx.graph.constant_values import is_number
from lrp_onnx.graph.constants import array_of, constants_of, sole_reader
from lrp_onnx.graph.makers import either_way, inputs_by, made_by, standard_nodes
from lrp_onnx.graph.replacement import Build
from lrp_onnx.graph.unused import remove_unused

__all__ = ["gate_products"]

MOST_NUMBERS = 4
"""As many numbers in a row scale a term."""


def gate_products(model: ir.Model) -> bool:
    """Write such quotients and sums as products."""
    graph = model.graph
    nodes = standard_nodes(graph, "Div", "Add", "Sub")
    constants = constants_of(graph) if nodes else set[ir.Value]()
    varying = [n for n in nodes if constants.isdisjoint(n.inputs)]
    changed = [
        _product(graph, n) if n.op_type == "Div" else _factored(graph, n, constants)
        for n in varying
    ]
    if any(changed):
        remove_unused(model)
    return any(changed)


def _product(graph: ir.Graph, quotient: ir.Node) -> bool:
    u, divisor = quotient.inputs
    if not _is_one_and_exp(divisor):
        return False
    build = Build(graph, quotient)
    sigmoid = build.op("Reciprocal", divisor)
    build.replace(build.op("Mul", u, sigmoid, like=quotient.outputs[0], named=quotient.name))
    return True


def _is_one_and_exp(value: ir.Value | None) -> bool:
    terms = either_way(inputs_by(value, "Add"))
    return any(is_number(one, 1, True) and made_by(power, "Exp") for power, one in terms)


def _factored(graph: ir.Graph, node: ir.Node, constants: set[ir.Value]) -> bool:
    """Take a term out of the other one, if that is a multiple of it."""
    signs = (1.0, -1.0 if node.op_type == "Sub" else 1.0)
    for k in (0, 1):
        (b, u), (a, product) = (_scaled(node.inputs[j]) for j in (k, 1 - k))
        maker = made_by(product, "Mul")
        if maker is None or maker.graph is not graph:
            continue
        if u not in maker.inputs or sole_reader(product) is None:
            continue
        g = maker.inputs[1 - maker.inputs.index(u)]
        if g is None or g is u or g in constants:
            continue
        (outer, last), (inner, v) = _scaled_behind(node), _scaled_before(u)
        slope, offset = a * signs[1 - k] * outer * inner, b * signs[k] * outer * inner
        build = Build(graph, last)
        size = g if abs(slope) == 1 else build.op("Mul", g, build.like(abs(slope), g), like=g)
        shift = build.like(offset, g)
        factor = (
            build.op("Add", size, shift, like=g)
            if slope > 0
            else build.op("Sub", shift, size, like=g)
        )
        build.replace(build.op("Mul", v, factor, like=last.outputs[0], named=last.name))
        return True
    return False


def _scaled(value: ir.Value | None) -> tuple[float, ir.Value]:
    """The number and the value that a value is the product of."""
    assert value is not None
    factor = 1.0
    for _ in range(MOST_NUMBERS):
        step = _step(made_by(value)) if sole_reader(value) is not None else None
        if step is None:
            break
        factor, value = factor * step[0], step[1]
    return factor, value


def _scaled_behind(node: ir.Node) -> tuple[float, ir.Node]:
    """The number that a sum alone is multiplied by, and the node that does it; 1 and itself."""
    reader, _ = sole_reader(node.outputs[0]) or (None, 0)
    step = _step(reader)
    return (1.0, node) if step is None or reader is None else (step[0], reader)


def _scaled_before(u: ir.Value) -> tuple[float, ir.Value]:
    """The number and the value that the common factor is the product of, if both terms alone read
    it.
    """
    return (_step(made_by(u)) if len(u.uses()) == 2 else None) or (1.0, u)


def _step(node: ir.Node | None) -> tuple[float, ir.Value] | None:
    """The number that a node multiplies by, and what; nothing that it makes larger."""
    if node is None or node.domain:
        return None
    if node.op_type == "Neg" and node.inputs[0] is not None:
        return -1.0, node.inputs[0]
    for k in (1, 0) if node.op_type == "Mul" else (1,) if node.op_type == "Div" else ():
        number, x = array_of(node.inputs[k]), node.inputs[1 - k]
        if number is None or number.size != 1 or x is None or x.shape != node.outputs[0].shape:
            continue
        value = float(number.reshape(-1)[0])
        return (value if node.op_type == "Mul" else 1 / value), x
    return None
