"""The shares of a rule with the fewest convolutions and passes; exactly what `shares` computes.

What is used, beside relevance as a product (see `relevance`):

- The forward's own z stands for Σ f(x; w, b); where relevance is 0 at z ≤ 0, so does a = relu(z).
- What the backward pass needs of the forward is one tensor a layer, a/Z, where R = a·c: it is
  computed while a and Z are at hand, and R/Z = c·(a/Z).
- Z = p·z₊ + q·z₋ (see `normal_form`) needs z₊ or z₋ alone, the other being what is left of z.
- A sum whose sign is known carries its stabilizer in its bias.
- |x| and |w| make one forward of two: z₊ = (z + f(|x|; |w|, |b|))/2 where that does not cancel.
- Shares where z > 0 and where z < 0 exclude each other: one quotient serves both.
- x⁺ and x⁻ side by side are one convolution of double width.
- What MaxPool gives back to the maxima is divided before, while it is small.

Differences stand where they lose nothing (see `DIRECT_BELOW`), and a denominator is never 0, also
where R is.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from lrp_onnx.graph.arithmetic import absolute, add, divide, multiply, positive, sign
from lrp_onnx.graph.builder import HALF, Emit
from lrp_onnx.lrp.assigned import Assigned
from lrp_onnx.ops.stabilize import ratio
from lrp_onnx.propagation.factored.constant_inputs import by_constant_inputs
from lrp_onnx.propagation.factored.mixed_sign_input import MixedSignInput
from lrp_onnx.propagation.factored.normal_form import NormalForm, normal_form, normal_forms
from lrp_onnx.propagation.factored.one_signed_input import OneSignedInput
from lrp_onnx.propagation.factored.relevance import NotFactored, Relevance
from lrp_onnx.propagation.node_derivative import vjp
from lrp_onnx.propagation.shares import EPSILON, Layer, layer_of

__all__ = ["propagate_factored"]


def propagate_factored(
    emit: Emit, site: Assigned, arriving: Sequence[Relevance | None]
) -> dict[int, Relevance]:
    """The relevance of each active input of a linear node.

    arriving: relevance shaped like each output. Raises NotFactored where only the plain form does.
    """
    relevance, *others = arriving
    if relevance is None or any(r is not None for r in others):
        raise NotFactored("relevance arrives at several outputs, and one quotient needs one")
    layer = layer_of(emit, site)
    epsilon = layer.values.get("epsilon", EPSILON)
    if not isinstance(epsilon, float) or not epsilon or layer.node.outputs[0].dtype in HALF:
        raise NotFactored("epsilon is 0 or depends on z, or z is in half precision")
    if _is_unmodified(site):
        return _by_own_output(emit, site, layer, relevance, epsilon)
    if layer.weight is None or site.step.kind != "linear":
        raise NotFactored("there is no weight to take positive and negative parts of")
    forms = normal_forms(site.rule.shares, site.settings)
    if forms:
        r = _by_normal_form(emit, layer, relevance, epsilon, forms)
    else:
        r = by_constant_inputs(emit, layer, site.rule.shares, relevance, epsilon)
    return {layer.active[0]: r}


def _by_normal_form(
    emit: Emit, layer: Layer, relevance: Relevance, epsilon: float, shares: Sequence[NormalForm]
) -> Relevance:
    x, w = (layer.node.inputs[i] for i in (layer.active[0], 1 - layer.active[0]))
    assert x is not None
    assert w is not None
    if sign(emit, w):
        raise NotFactored("all weights have one sign, so that half of the terms are 0")
    dead = relevance.is_zero_below(layer.node.outputs[0])
    # where relevance is 0 at z ≤ 0, nothing arrives where z < 0
    shares = [s for s in shares if s.factor and not (dead and s.where == "<")]
    form = OneSignedInput if sign(emit, x) else MixedSignInput
    if not shares:
        raise NotFactored("no share gets any relevance")
    return form(emit, layer, relevance, epsilon).propagated(shares)


def _is_unmodified(site: Assigned) -> bool:
    """Whether the rule is one share of the layer as it is: epsilon, norm and their like."""
    share, *more = site.rule.shares
    term, *terms = share.terms
    own = (term.x, term.w, term.b) == ("x", "w", "b") and term.factor == 1.0
    return own and not more and not terms and share.where is None


def _by_own_output(
    emit: Emit, site: Assigned, layer: Layer, relevance: Relevance, epsilon: float
) -> dict[int, Relevance]:
    """R_i = x_i · vjp(R / stabilize(z)) for every active input."""
    form = normal_form(site.rule.shares[0], site.settings)
    if form is None:
        raise NotFactored("the factor of its share is no number")
    s = multiply(emit, form.factor, _quotient(emit, relevance, layer.z(emit), epsilon))
    assert isinstance(s, ir.Value)
    return {
        i: Relevance(vjp(emit, layer.op, layer.node, [s], i, detached=True), layer.node.inputs[i])
        for i in layer.active
    }


def _quotient(emit: Emit, relevance: Relevance, z: ir.Value, epsilon: float) -> ir.Value:
    """R / stabilize(z), by what is known of R where z is 0 or negative."""
    if relevance.factor is None:
        return ratio(emit, relevance.coefficient, z, epsilon)
    if relevance.is_of(z) or relevance.is_of_relu(z):
        return _own_share(emit, relevance, epsilon)
    c = relevance.deferred_coefficient(emit)
    if relevance.is_zero_below(z):
        share = divide(emit, relevance.factor, add(emit, positive(emit, z), epsilon))
    else:
        share = ratio(emit, relevance.factor, z, epsilon)
    s = multiply(emit, c, share)
    assert isinstance(s, ir.Value)
    return s


def _own_share(emit: Emit, relevance: Relevance, epsilon: float) -> ir.Value:
    """c · z / (z + ε·sgn(z)) = c · |z| / (|z| + ε) for R = c·z or c·relu(z)."""
    if relevance.moved is not None:
        return relevance.moved.move(_own_share(emit, relevance.moved.product, epsilon))
    assert relevance.factor is not None
    c, size = relevance.deferred_coefficient(emit), absolute(emit, relevance.factor)
    s = multiply(emit, c, divide(emit, size, add(emit, size, epsilon)))
    assert isinstance(s, ir.Value)
    return s
