"""Rules that take a layer as it is: epsilon, norm and their like.

The forward's own z stands for Σ f(x; w, b); where relevance is 0 at z ≤ 0, so does a = relu(z).
What the backward pass needs of the forward is one tensor a layer, a/Z, where R = a·c: it is
computed while a and Z are at hand, and R/Z = c·(a/Z).
"""

from __future__ import annotations

import onnx_ir as ir

from lrp_onnx.graph.arithmetic import Operand, absolute, add, divide, multiply, sign, tensor
from lrp_onnx.graph.builder import Emit
from lrp_onnx.lrp.assigned import Assigned
from lrp_onnx.ops.stabilize import ratio
from lrp_onnx.propagation.layer import Layer
from lrp_onnx.propagation.node_derivative import vjp
from lrp_onnx.rewrites.normal_form import normal_form
from lrp_onnx.rewrites.product import DoesNotApply, Relevance, late

__all__ = ["by_own_output", "is_unmodified"]

TINY = 1e-30
"""What a stabilizer that is computed from z is enlarged by: nothing, but where it is 0."""


def is_unmodified(site: Assigned) -> bool:
    """Whether the rule is one share of the layer as it is: epsilon, norm and their like."""
    share, *more = site.rule.shares
    term, *terms = share.terms
    own = (term.x, term.w, term.b) == ("x", "w", "b") and term.factor == 1.0
    return own and not more and not terms and share.where is None


def by_own_output(
    emit: Emit, site: Assigned, layer: Layer, relevance: Relevance, epsilon: Operand
) -> dict[int, Relevance]:
    """R_i = x_i · vjp(R / stabilize(z)) for every active input."""
    form = normal_form(site.rule.shares[0], site.settings)
    if form is None:
        raise DoesNotApply("the factor of its share is no number")
    if not form.factor:
        raise DoesNotApply("no share gets any relevance")
    s = tensor(multiply(emit, form.factor, _quotient(emit, relevance, layer.z(emit), epsilon)))
    return {
        i: Relevance(vjp(emit, layer.op, layer.node, [s], i, detached=True), layer.node.inputs[i])
        for i in layer.active
    }


def _quotient(emit: Emit, relevance: Relevance, z: ir.Value, epsilon: Operand) -> ir.Value:
    """R / stabilize(z), by what is known of R where z is 0 or negative."""
    if relevance.factor is None:
        return ratio(emit, relevance.coefficient, z, epsilon)
    if epsilon == 0.0:
        return _exact(emit, relevance, z)
    if relevance.is_of(z) or relevance.is_of_relu(z):
        return _own_share(emit, relevance, epsilon)
    if (gate := relevance.gate_of(z)) is not None:
        size = absolute(emit, z)
        # |z·g|, so that runtimes compute z·g at once where nothing else reads g
        own = sign(emit, gate) > 0
        gated = absolute(emit, relevance.factor) if own else multiply(emit, gate, size)
        share = divide(emit, gated, _enlarged(emit, size, epsilon))
        return tensor(multiply(emit, late(emit, relevance.coefficient), share))
    c = late(emit, relevance.coefficient)
    if relevance.is_zero_below(z):
        # |z| for z: the factor is 0 where z is negative
        share = divide(emit, relevance.factor, _enlarged(emit, absolute(emit, z), epsilon))
    else:
        share = ratio(emit, relevance.factor, z, epsilon)
    return tensor(multiply(emit, c, share))


def _exact(emit: Emit, relevance: Relevance, z: ir.Value) -> ir.Value:
    """R / z: c for R = z·c, g·c for R = z·g·c; else 0 where z is."""
    c = late(emit, relevance.coefficient)
    if relevance.is_of(z):
        return c
    gate = relevance.gate_of(z)
    assert relevance.factor is not None
    share = ratio(emit, relevance.factor, z, 0.0) if gate is None else gate
    return tensor(multiply(emit, c, share))


def _own_share(emit: Emit, relevance: Relevance, epsilon: Operand) -> ir.Value:
    """c · z / (z + ε·sgn(z)) = c · |z| / (|z| + ε) for R = c·z or c·relu(z)."""
    if relevance.moved is not None and isinstance(epsilon, float):
        return relevance.moved.move(_own_share(emit, relevance.moved.product, epsilon))
    assert relevance.factor is not None
    c, size = late(emit, relevance.coefficient), absolute(emit, relevance.factor)
    return tensor(multiply(emit, c, divide(emit, size, _enlarged(emit, size, epsilon))))


def _enlarged(emit: Emit, size: Operand, epsilon: Operand) -> Operand:
    """|z| + ε, above 0 also where both are: the quotient of 0 by it is 0."""
    return add(emit, size, epsilon if isinstance(epsilon, float) else add(emit, epsilon, TINY))
