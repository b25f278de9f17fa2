"""A quotient by 1 + exp(−w) is a product with a sigmoid.

    u/(1 + exp(−w)) = u·σ(w).

A quotient gives all relevance to its dividend, a product of two activations half to each factor.
"""

from __future__ import annotations

import onnx_ir as ir

from lrp_onnx.graph.constants import array_of
from lrp_onnx.graph.replacement import Build

__all__ = ["sigmoid_products"]


def sigmoid_products(model: ir.Model) -> bool:
    """Write such quotients as products."""
    quotients = [n for n in model.graph if n.op_type == "Div" and not n.domain]
    return sum(_written(model.graph, node) for node in quotients) > 0


def _written(graph: ir.Graph, quotient: ir.Node) -> bool:
    u, divisor = quotient.inputs
    if u is None or divisor is None or u.is_initializer() or not _is_one_and_exp(divisor):
        return False
    build = Build(graph, quotient)
    sigmoid = build.op("Reciprocal", divisor, like=divisor)
    build.replace(build.op("Mul", u, sigmoid, like=quotient.outputs[0], named=quotient.name))
    return True


def _is_one_and_exp(value: ir.Value) -> bool:
    node = value.producer()
    if node is None or node.domain or node.op_type != "Add":
        return False
    for power, one in (node.inputs, node.inputs[::-1]):
        number = array_of(one)
        maker = None if power is None else power.producer()
        if number is not None and (number == 1).all() and maker is not None:
            return maker.op_type == "Exp" and not maker.domain
    return False
