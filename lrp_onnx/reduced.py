"""The shares of a rule with the fewest convolutions and passes; exactly what `shares` computes.

What is used, beside relevance as a product (see `relevance`):

- The forward's own z stands for Σ f(x; w, b); where relevance is 0 at z ≤ 0, so does a = relu(z).
- Z = p·z₊ + q·z₋ (see `quadrants`) needs z₊ or z₋ alone, the other being what is left of z.
- A sum whose sign is known carries its stabiliser in its bias.
- With x of both signs, |x| and |w| make one forward of two: z₊ = (z + f(|x|; |w|, |b|))/2.
- Shares where z > 0 and where z < 0 exclude each other: one quotient serves both.
- x⁺ and x⁻ side by side are one convolution of double width.

Differences stand where they lose nothing (see `DIRECT_BELOW`), and a denominator is never 0, also
where R is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from lrp_onnx.algebra import (
    Operand,
    absolute,
    add,
    divide,
    multiply,
    negative,
    positive,
    ratio,
    sign,
    subtract,
)
from lrp_onnx.emit import HALF, Emit, Input, static_shape
from lrp_onnx.quadrants import Quadrants, quadrants
from lrp_onnx.relevance import Relevance
from lrp_onnx.shares import EPSILON, Layer, layer_of
from lrp_onnx.site import Assigned, vjp

__all__ = ["by_fewest"]

DIRECT_BELOW = 64
"""Weights per output below which z₋ is computed and not subtracted: z - z₊ cancels there."""


@dataclass(frozen=True)
class Part:
    """A share over a layer with a weight: p of what raises z, q of what lowers it."""

    p: float
    q: float
    factor: float
    where: str


def by_fewest(
    emit: Emit, site: Assigned, arriving: Sequence[Relevance | None]
) -> dict[int, Relevance] | None:
    """The relevance of each active input of a linear node; None where only the plain form does.

    arriving: relevance shaped like each output.
    """
    relevance, *others = arriving
    if relevance is None or any(r is not None for r in others):
        return None
    layer = layer_of(emit, site)
    epsilon = layer.values.get("epsilon", EPSILON)
    if not isinstance(epsilon, float) or not epsilon or layer.node.outputs[0].dtype in HALF:
        return None
    if _is_unmodified(site):
        return _by_own_output(emit, site, layer, relevance, epsilon)
    if layer.weight is None or site.step.kind != "linear":
        return None
    found = [quadrants(share, site.settings) for share in site.rule.shares]
    known = [q for q in found if q is not None]
    if len(known) < len(found):
        return None
    r = _Reduced(emit, layer, relevance, epsilon).propagated(known)
    return None if r is None else {layer.active[0]: r}


def _is_unmodified(site: Assigned) -> bool:
    """Whether the rule is one share of the layer as it is: epsilon, norm and their like."""
    share, *more = site.rule.shares
    term, *terms = share.terms
    own = (term.x, term.w, term.b) == ("x", "w", "b") and term.factor == 1.0
    return own and not more and not terms and share.where is None


def _by_own_output(
    emit: Emit, site: Assigned, layer: Layer, relevance: Relevance, epsilon: float
) -> dict[int, Relevance]:
    """R_i = x_i · vjp(R / stabilise(z)) for every active input."""
    form = quadrants(site.rule.shares[0], site.settings)
    factor = None if form is None else form.factor
    assert factor is not None
    s = multiply(emit, factor, _quotient(emit, relevance, layer.z(emit), epsilon))
    assert isinstance(s, ir.Value)
    s.shape = relevance.coefficient.shape
    return {i: Relevance(_vjp(emit, layer, s, None, i), layer.node.inputs[i]) for i in layer.active}


def _quotient(emit: Emit, relevance: Relevance, z: ir.Value, epsilon: float) -> ir.Value:
    """R / stabilise(z), by what is known of R where z is 0 or negative."""
    if relevance.is_of(z) or relevance.is_of_relu(z):
        size = absolute(emit, relevance.factor)  # c·z / (z + ε·sgn(z)) = c · |z| / (|z| + ε)
        share = divide(emit, size, add(emit, size, epsilon))
        s = multiply(emit, relevance.coefficient, share)
        assert isinstance(s, ir.Value)
        return s
    if relevance.is_dead_below(z):
        s = divide(emit, relevance.whole(emit), add(emit, positive(emit, z), epsilon))
        assert isinstance(s, ir.Value)
        return s
    return ratio(emit, relevance.whole(emit), z, epsilon)


def _vjp(emit: Emit, layer: Layer, s: ir.Value, w: Input, i: int) -> ir.Value:
    c = vjp(emit, layer.op, layer.node, [s], i, w, held=True)
    x = layer.node.inputs[i]
    c.shape = None if x is None else x.shape
    return c


class _Reduced:
    """A layer with a weight under a rule whose shares are quadrants."""

    def __init__(self, emit: Emit, layer: Layer, relevance: Relevance, epsilon: float) -> None:
        self.emit, self.layer, self.epsilon = emit, layer, epsilon
        self.relevance = relevance
        self.i = layer.active[0]
        x, w = layer.node.inputs[self.i], layer.node.inputs[1 - self.i]
        assert x is not None
        assert w is not None
        self.x, self.w, self.z = x, w, layer.node.outputs[0]
        self.sign = sign(emit, x)
        self.dead = relevance.is_dead_below(self.z)

    def propagated(self, shares: Sequence[Quadrants]) -> Relevance | None:
        """R_in, or None where the shares have no cheaper form."""
        if sign(self.emit, self.w):  # half of the terms is zero: the rule as it stands drops them
            return None
        # where relevance is 0 at z ≤ 0, nothing arrives where z < 0
        shares = [s for s in shares if s.factor and not (self.dead and s.where == "<")]
        parts = [self._part(share) for share in shares]
        if not self.sign and not self._folds(parts):
            return self._by_both_signs(shares)
        lone = [part for part in parts if part is not None]
        if len(lone) < len(parts):
            return None
        if self.sign and self._exclude_each_other(lone):
            return self._by_one_quotient(lone[0])
        if not self.dead and any(part.where for part in lone):
            return None
        return self._by_parts(lone)

    def _part(self, share: Quadrants) -> Part | None:
        parts = share.parts(self.sign)
        if parts is None or (self.layer.bias is not None and share.bias != parts):
            return None
        return Part(*parts, share.factor, share.where)

    def _folds(self, parts: Sequence[Part | None]) -> bool:
        """Whether the absolute-value form does: one share that counts raising contributions more,
        and no relevance where z ≤ 0 (elsewhere it cancels).
        """
        only = parts[0] if len(parts) == 1 else None
        return self.dead and only is not None and only.p > only.q >= 0

    def _exclude_each_other(self, parts: Sequence[Part]) -> bool:
        if len(parts) != 2 or not self.relevance.is_of(self.z):
            return False
        a, b = parts
        mirrored = (a.p, a.q, a.factor) == (b.q, b.p, b.factor)
        return mirrored and (a.where, b.where) == (">", "<") and a.p > a.q > 0

    # -- operands -------------------------------------------------------------------------------

    def raising(self, multiple: float) -> Operand:
        """The weights that raise z, times a number."""
        part = positive if self.sign >= 0 else negative
        return multiply(self.emit, multiple, part(self.emit, self.w))

    def lowering(self, multiple: float) -> Operand:
        """The weights that lower z, times a number."""
        part = negative if self.sign >= 0 else positive
        return multiply(self.emit, multiple, part(self.emit, self.w))

    def weight(self, p: float, q: float) -> Operand:
        """p of the raising and q of the lowering weights."""
        if not q:
            return self.raising(p)
        if not p:
            return self.lowering(q)
        own = multiply(self.emit, q, self.w)
        return own if p == q else add(self.emit, own, self.raising(p - q))

    def bias(self, p: float, q: float) -> Operand:
        """p·b⁺ + q·b⁻."""
        emit, b = self.emit, self.layer.bias
        if b is None:
            return 0.0
        up = multiply(emit, p, positive(emit, b))
        return add(emit, up, multiply(emit, q, negative(emit, b)))

    def forward(self, x: Operand, w: Operand, b: Operand, known: int) -> ir.Value:
        """f(x; w, b), whose sign is known."""
        emit, node = self.emit, self.layer.node
        assert isinstance(x, ir.Value)
        assert isinstance(w, ir.Value)
        replaced: dict[int, Input] = {self.i: x, 1 - self.i: w}
        added: Operand = 0.0
        if isinstance(b, ir.Value):
            replaced[2] = b
        elif node.op_type == "MatMul":
            added = b
        else:
            replaced[2] = self._bias_of(b)
        z = add(emit, emit.forward(node, replaced), added)
        assert isinstance(z, ir.Value)
        if known:
            emit.signs[z] = known
        return z

    def _bias_of(self, number: float) -> Input:
        """A number as a bias of the operator's shape."""
        if not number:
            return None
        if self.layer.bias is not None:
            return self.emit.expand_like(number, self.layer.bias)
        shape = static_shape(self.w)
        assert shape is not None
        outputs = {"Conv": shape[0], "ConvTranspose": shape[1] * _groups(self.layer.node)}
        return self.emit.constant(np.full(outputs.get(self.layer.node.op_type, 1), number))

    # -- one sign, or folded --------------------------------------------------------------------

    def _by_parts(self, parts: Sequence[Part]) -> Relevance | None:
        emit, whole = self.emit, self.relevance.whole(self.emit)
        divisors = [self._divisor(part, parts) for part in parts]
        total: Operand = 0.0
        for part, divisor in zip(parts, divisors, strict=True):
            if divisor is None:
                return None
            s = divide(emit, whole, divisor)
            assert isinstance(s, ir.Value)
            s.shape = self.z.shape
            total = add(emit, total, self._sent_back(part, s))
        assert isinstance(total, ir.Value)
        return Relevance(total, self.x)

    def _divisor(self, part: Part, parts: Sequence[Part]) -> Operand | None:
        """p·z₊ + q·z₋ with its stabiliser; positive or negative throughout, or None."""
        p, q, emit = part.p, part.q, self.emit
        if not self.sign:
            return self._folded(p, q)
        if p > 0 and not q:
            return self._raised(p)
        if q > 0 and not p:
            return self._lowered(q, parts)
        if p > q > 0 and self.dead:
            if self.relevance.is_of_relu(self.z):
                return add(emit, multiply(emit, q, self.relevance.factor), self._raised(p - q))
            b = add(emit, self.bias(p, q), self.epsilon)
            direct = self.forward(self.x, self.weight(p, q), b, 0)
            return emit.op("Max", direct, self.epsilon)
        return None

    def _raised(self, p: float) -> ir.Value:
        """p·z₊ + ε."""
        b = add(self.emit, self.bias(p, 0.0), self.epsilon)
        return self.forward(self.x, self.raising(p), b, 1)

    def _lowered(self, q: float, parts: Sequence[Part]) -> Operand:
        """q·z₋ - ε, from z and z₊ + ε where that is at hand and loses nothing."""
        emit = self.emit
        z = self.relevance.factor if self.relevance.is_of_relu(self.z) else self.z
        whole = z is self.z and self.dead  # behind a Clip z would have to be kept
        if q == 1 and self._subtracts() and not whole and any((s.p, s.q) == (1, 0) for s in parts):
            assert z is not None
            return emit.op("Min", subtract(emit, z, self._raised(1.0)), -self.epsilon)
        b = subtract(emit, self.bias(0.0, q), self.epsilon)
        return self.forward(self.x, self.lowering(q), b, -1)

    def _subtracts(self) -> bool:
        """Whether enough weights meet in each output for z - z₊ to lose nothing."""
        shape = static_shape(self.w)
        if shape is None or len(shape) < 2:
            return False
        per_output = {
            "Conv": int(np.prod(shape[1:])),
            "ConvTranspose": int(np.prod(shape)) // max(shape[1], 1),
        }
        return per_output.get(self.layer.node.op_type, min(shape)) >= DIRECT_BELOW

    def _folded(self, p: float, q: float) -> Operand:
        """(p + q)/2 · z + (p - q)/2 · f(|x|; |w|, |b|) + ε where z > 0."""
        emit, half = self.emit, (p - q) / 2
        b: Operand = 0.0
        if self.layer.bias is not None:
            b = multiply(emit, half, absolute(emit, self.layer.bias))
        w = multiply(emit, half, absolute(emit, self.w))
        t = self.forward(absolute(emit, self.x), w, add(emit, b, self.epsilon), 1)
        relu = self.relevance.is_of_relu(self.z)
        z = self.relevance.factor if relu else positive(emit, self.z)
        assert z is not None
        return add(emit, multiply(emit, (p + q) / 2, z), t)

    def _sent_back(self, part: Part, s: ir.Value) -> Operand:
        """The coefficient of x."""
        p, q, factor, emit = part.p, part.q, part.factor, self.emit
        if self.sign:
            return self._vjp(s, self.weight(factor * p, factor * q))
        own = self._vjp(s, multiply(emit, factor * (p + q) / 2, self.w))
        size = self._vjp(s, multiply(emit, factor * (p - q) / 2, absolute(emit, self.w)))
        upper, lower = add(emit, own, size), subtract(emit, own, size)
        return self._by_sign_of_x(upper, lower)

    def _vjp(self, s: ir.Value, w: Operand) -> ir.Value:
        assert isinstance(w, ir.Value)
        return _vjp(self.emit, self.layer, s, w, self.i)

    def _by_sign_of_x(self, upper: Operand, lower: Operand) -> Operand:
        """The coefficient of x from those of x⁺ and x⁻."""
        return self.emit.op("Where", self.emit.op("GreaterOrEqual", self.x, 0.0), upper, lower)

    # -- shares that exclude each other ---------------------------------------------------------

    def _by_one_quotient(self, part: Part) -> Relevance:
        """p·z₊ + q·z₋ where z > 0, q·z₊ + p·z₋ where z < 0, over one denominator.

        With l = q·z where z > 0, -p·z where z < 0, it is |Z| = l + (p - q)·z₊ + ε, and with
        g = c / |Z| the coefficient is vjp(l·g; w) + vjp(z·g; (p - q)·w₊).
        """
        emit, p, q = self.emit, part.p, part.q
        level = multiply(emit, q, emit.op("LeakyRelu", self.z, alpha=-p / q))
        size = add(emit, level, self._raised(p - q))
        g = divide(emit, self.relevance.coefficient, size)
        sides = []
        for value, w in ((level, multiply(emit, part.factor, self.w)),
                         (self.z, self.raising(part.factor * (p - q)))):  # fmt: skip
            s = multiply(emit, value, g)
            assert isinstance(s, ir.Value)
            s.shape = self.z.shape
            sides.append(self._vjp(s, w))
        total = add(emit, *sides)
        assert isinstance(total, ir.Value)
        return Relevance(total, self.x)

    # -- both signs -----------------------------------------------------------------------------

    def _by_both_signs(self, shares: Sequence[Quadrants]) -> Relevance | None:
        """x⁺ and x⁻ with their own weights, for shares whose sums have one sign."""
        emit, whole = self.emit, self.relevance.whole(self.emit)
        if any(share.where and not self.dead for share in shares):
            return None
        signs = [_sign_of(share) for share in shares]
        if not all(signs) or self.x.shape is None:
            return None
        up, down = positive(emit, self.x), negative(emit, self.x)
        upper: Operand = 0.0
        lower: Operand = 0.0
        for share, known in zip(shares, signs, strict=True):
            (pp, pn), (np_, nn) = share.of
            w_up, w_down = self.weight(pp, pn), self.weight(np_, nn)
            b = add(emit, self.bias(*share.bias), known * self.epsilon)
            z = add(emit, self.forward(up, w_up, b, known), self.forward(down, w_down, 0.0, known))
            s = multiply(emit, share.factor, divide(emit, whole, z))
            assert isinstance(s, ir.Value)
            s.shape = self.z.shape
            upper = add(emit, upper, self._vjp(s, w_up))
            lower = add(emit, lower, self._vjp(s, w_down))
        total = self._by_sign_of_x(upper, lower)
        assert isinstance(total, ir.Value)
        return Relevance(total, self.x)


def _sign_of(share: Quadrants) -> int:
    """The sign that all its contributions share, 0 if none or if a side is missing."""
    (pp, pn), (np_, nn) = share.of
    p, q = share.bias
    if min(pp, nn) > 0 and pn == np_ == 0 and p >= 0 and q == 0:
        return 1
    return -1 if min(pn, np_) > 0 and pp == nn == 0 and p == 0 and q >= 0 else 0


def _groups(node: ir.Node) -> int:
    group = node.attributes.get("group")
    return 1 if group is None else group.as_int()
