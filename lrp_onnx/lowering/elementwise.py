"""Elementwise operators of the dialect in those that runtimes compute fast.

ONNX Runtime's CPU provider computes Where, Sign and Min on one thread.  It computes that input of a
node first whose own node stands later in the file, and takes for the last the nodes with which it
changes the layout of a convolution's result.
"""

from __future__ import annotations

import onnx_ir as ir

from lrp_onnx.graph.arithmetic import Operand, multiply, subtract
from lrp_onnx.graph.builder import Emit
from lrp_onnx.graph.constant_values import constant_array
from lrp_onnx.graph.dialect import is_dialect
from lrp_onnx.graph.makers import inputs_by, made_by
from lrp_onnx.graph.ranks import known_rank
from lrp_onnx.graph.shapes import same_sizes

__all__ = ["at_least", "at_most", "form_products", "late", "share", "side", "stabilize"]


def form_products(emit: Emit, node: ir.Node) -> None:
    """A product that a node reads is formed in front of its first reader."""
    for k, value in enumerate(node.inputs):
        if value is not None and is_dialect(value, "Product"):
            product = value.producer()
            assert product is not None
            emit.write_before(node, on_behalf_of=product)
            node.replace_input_with(k, emit.op("Mul", *product.inputs))


def at_least(emit: Emit, node: ir.Node) -> list[ir.Value]:
    """max(a, least) as a Clip: runtimes compute it together with the convolution before it."""
    a, least = node.inputs
    return [emit.op("Clip", a, least)]


def at_most(emit: Emit, node: ir.Node) -> list[ir.Value]:
    """min(a, most) as a Clip."""
    a, most = node.inputs
    return [emit.op("Clip", a, None, most)]


def side(emit: Emit, node: ir.Node) -> list[ir.Value]:
    """sgn(a), 0 where a is, by a factor that brings every number to ±1 that a sum of products can
    be but by chance.
    """
    (a,) = node.inputs
    if emit.runtime.fast_choice:
        return [emit.op("Sign", a)]
    large = 1e290 if emit.dtype == ir.DataType.DOUBLE else 1e30
    return [emit.op("Clip", emit.op("Mul", a, large), -1.0, 1.0)]


def stabilize(emit: Emit, node: ir.Node) -> list[ir.Value]:
    """z + ε·sgn(z), sgn(0) = 1."""
    z, epsilon = node.inputs
    assert epsilon is not None
    number = constant_array(epsilon)
    size: Operand = epsilon if number is None or number.size != 1 else float(number)
    upper = emit.op("GreaterOrEqual", z, 0.0)
    if not emit.optimize or emit.runtime.fast_choice:
        return [emit.op("Add", z, emit.op("Where", upper, size, subtract(emit, 0.0, size)))]
    twice = multiply(emit, emit.op("Cast", upper, to=int(emit.dtype)), multiply(emit, 2.0, size))
    return [emit.op("Add", z, subtract(emit, twice, size))]


def share(emit: Emit, node: ir.Node) -> list[ir.Value]:
    """c·a/Z.  Of c·(a/Z) the quotient is kept of the forward pass, of (c·a)/Z the activation a: Z
    is computed when it is needed.  Where c and a are in the layout in which the runtime convolves,
    so is c·a, and a need not be brought out of it.
    """
    c, a, z = node.inputs
    assert c is not None
    assert a is not None
    convolved = made_by(c, "Conv") is not None and _is_convolved(a)
    if not emit.runtime.free_order and convolved and same_sizes(a, c):
        return [emit.op("Div", emit.op("Mul", c, a), z)]
    c = _after_what_is_before(emit, c, always=False)
    return [emit.op("Mul", c, emit.op("Div", a, z))]


def _is_convolved(a: ir.Value) -> bool:
    """Whether the runtime computes an activation together with the convolution before it, as it
    does where nothing else reads the convolution's result.
    """
    z = (inputs_by(a, "Relu", "Clip") or [None])[0]
    return z is not None and made_by(z, "Conv") is not None and len(z.uses()) == 1


def late(emit: Emit, node: ir.Node) -> list[ir.Value]:
    """A coefficient, computed after what stands before it in the file."""
    (c,) = node.inputs
    assert c is not None
    return [_after_what_is_before(emit, c, bool(node.attributes.get_int("always", 0)))]


def _after_what_is_before(emit: Emit, c: ir.Value, always: bool) -> ir.Value:
    """A coefficient by a Reshape: see above."""
    from_sum = made_by(c, "Conv", "Add") is not None
    if emit.runtime.free_order or not (from_sum or always):
        return c
    return emit.op("Reshape", c, emit.ints(*[0] * known_rank(c)))
