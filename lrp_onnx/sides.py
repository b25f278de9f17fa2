"""Rules that tell what raises z from what lowers it (zplus, alpha-beta, gamma): the sums they need
from as few convolutions as there can be.

Z = p·z₊ + q·z₋ for each share (see `quadrants`), where z = z₊ + z₋ is the forward's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

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
    sign,
    subtract,
)
from lrp_onnx.emit import Emit, Input, static_shape
from lrp_onnx.ops.spread import constant_array
from lrp_onnx.quadrants import Quadrants
from lrp_onnx.relevance import Relevance
from lrp_onnx.shares import Layer
from lrp_onnx.wide import back, back_together, forward

__all__ = ["Sides"]

DIRECT_BELOW = 32
"""Weights per output below which z₋ is computed and not subtracted: z - z₊ cancels there."""
ONE_SIDED = 64
"""So many times the lowering weights of an output the raising ones may be for the same."""


BIASED = ("Conv", "ConvTranspose", "Gemm", "MatMulAdd")
"""Operators that add their input 2 to the result."""
CONVOLUTIONS = ("Conv", "ConvTranspose")
RAISING, LOWERING = ((1.0, 0.0), (0.0, 1.0)), ((0.0, 1.0), (1.0, 0.0))
"""The quadrants of the contributions that raise z, and of those that lower it."""


@dataclass(frozen=True)
class Part:
    """A share over a layer with a weight: p of what raises z, q of what lowers it."""

    p: float
    q: float
    factor: float
    where: str


class Sides:
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
        if not shares:
            return None
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
        relu = self.relevance.is_of_relu(self.z)
        return relu and only is not None and only.p > only.q >= 0

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

    def forward(
        self, xs: Sequence[Operand], ws: Sequence[Operand], b: Operand, known: int
    ) -> ir.Value:
        """Σ f(xₖ; wₖ) + b, whose sign is known."""
        emit, bias = self.emit, self._as_bias(b)
        own = forward(emit, self.layer, _values(xs), _values(ws), bias)
        z = add(emit, own, b if bias is None else 0.0)
        assert isinstance(z, ir.Value)
        if known:
            emit.signs[z] = known
        return z

    def _as_bias(self, b: Operand) -> Input:
        """b in the shape of the operator's bias; None where the operator takes none, or of a size
        that only the run decides.
        """
        if self.layer.node.op_type not in BIASED or b == 0.0:
            return None
        if isinstance(b, ir.Value):
            return b
        if self.layer.bias is not None:
            return self.emit.expand_like(b, self.layer.bias)
        size = self._outputs()
        return None if size is None else self.emit.constant(np.full(size, b))

    def _outputs(self) -> int | None:
        """The size of a bias: 1 where it broadcasts."""
        if self.layer.node.op_type not in CONVOLUTIONS:
            return 1
        shape = static_shape(self.w)
        if shape is None:
            return None
        transposed = self.layer.node.op_type == "ConvTranspose"
        return shape[1] * _groups(self.layer.node) if transposed else shape[0]

    # -- one sign, or folded --------------------------------------------------------------------

    def _by_parts(self, parts: Sequence[Part]) -> Relevance | None:
        emit, whole = self.emit, self.relevance.whole(self.emit)
        quotients = []
        for part in parts:
            divisor = self._divisor(part, parts)
            if divisor is None:
                return None
            s = divide(emit, whole, divisor)
            assert isinstance(s, ir.Value)
            s.shape = self.z.shape
            quotients.append(s)
        if not self.sign:
            return Relevance(self._folded_back(parts[0], quotients[0]), self.x)
        ws = _values([self.weight(part.factor * part.p, part.factor * part.q) for part in parts])
        return Relevance(back_together(emit, self.layer, quotients, ws), self.x)

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
                assert self.relevance.factor is not None
                return add(emit, multiply(emit, q, self.relevance.factor), self._raised(p - q))
            b = add(emit, self.bias(p, q), self.epsilon)
            direct = self.forward([self.x], [self.weight(p, q)], b, 0)
            return _from(emit, direct, self.epsilon)
        return None

    def _raised(self, p: float) -> ir.Value:
        """p·z₊ + ε."""
        b = add(self.emit, self.bias(p, 0.0), self.epsilon)
        return self.forward([self.x], [self.raising(p)], b, 1)

    def _lowered(self, q: float, parts: Sequence[Part]) -> Operand:
        """q·z₋ - ε, from z and z₊ + ε where that is at hand and loses nothing."""
        emit = self.emit
        z = self.relevance.factor if self.relevance.is_of_relu(self.z) else self.z
        whole = z is self.z and self.dead  # behind a Clip z would have to be kept
        subtracts = q == 1 and self._subtracts() and not whole and not self._is_one_sided()
        if subtracts and any((s.p, s.q) == (1, 0) for s in parts):
            assert z is not None
            return emit.op("Min", subtract(emit, z, self._raised(1.0)), -self.epsilon)
        b = subtract(emit, self.bias(0.0, q), self.epsilon)
        return self.forward([self.x], [self.lowering(q)], b, -1)

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

    def _is_one_sided(self) -> bool:
        """Whether the constant weights of an output lower it next to nothing beside what they
        raise it, so that z - z₊ is mostly rounding.
        """
        w = constant_array(self.w)
        if w is None:
            return False
        kernel = range(2, w.ndim) if self.layer.node.op_type in CONVOLUTIONS else ()
        if self.layer.node.op_type == "ConvTranspose":  # (C, M/g, *k) -> (C/g, M/g, *k, g)
            w = np.stack(np.split(w, _groups(self.layer.node)), -1)
        axes = (self.layer.op.channel_axis(self.layer.node, 1 - self.i), *kernel)
        up, down = (np.sum(w, axes, where=side) for side in (w > 0, w < 0))
        raised, lowered = (up, -down) if self.sign > 0 else (-down, up)
        return bool(((lowered > 0) & (lowered * ONE_SIDED < raised)).any())

    def _folded(self, p: float, q: float) -> Operand:
        """Z·2/(p + q) = z + (p - q)/(p + q)·f(|x|; |w|, |b|) where z > 0, with its stabiliser."""
        z = self.relevance.factor
        assert z is not None
        size = self._of_sizes((p - q) / (p + q), 2 * self.epsilon / (p + q))
        return add(self.emit, z, size)

    def _of_sizes(self, multiple: float, epsilon: float) -> ir.Value:
        """f(|x|; |w|, |b|) times a number, and ε."""
        emit = self.emit
        b: Operand = 0.0
        if self.layer.bias is not None:
            b = multiply(emit, multiple, absolute(emit, self.layer.bias))
        w = multiply(emit, multiple, absolute(emit, self.w))
        return self.forward([absolute(emit, self.x)], [w], add(emit, b, epsilon), 1)

    def _folded_back(self, part: Part, s: ir.Value) -> ir.Value:
        """The coefficient of x from those of x⁺ and x⁻."""
        emit, factor = self.emit, part.factor
        own = multiply(emit, factor, self.w)
        less = factor * (part.p - part.q) / (part.p + part.q)
        size = multiply(emit, less, absolute(emit, self.w))
        upper, lower = self._back(s, [add(emit, own, size), subtract(emit, own, size)])
        return self._by_sign_of_x(upper, lower)

    def _back(self, s: ir.Value, ws: Sequence[Operand]) -> list[ir.Value]:
        return back(self.emit, self.layer, s, _values(ws))

    def _by_sign_of_x(self, upper: Operand, lower: Operand) -> ir.Value:
        """The coefficient of x from those of x⁺ and x⁻."""
        return self.emit.op("Where", self.emit.op("GreaterOrEqual", self.x, 0.0), upper, lower)

    # -- shares that exclude each other ---------------------------------------------------------

    def _by_one_quotient(self, part: Part) -> Relevance:
        """p·z₊ + q·z₋ where z > 0, q·z₊ + p·z₋ where z < 0, over one denominator.

        With l = q·z where z > 0, -p·z where z < 0, it is |Z| = l + (p - q)·z₊ + ε, and with
        g = c / |Z| the coefficient is vjp(l·g; w) + vjp(z·g; (p - q)·w₊).
        """
        emit, p, q = self.emit, part.p, part.q
        level = self._level(p, q)
        size = add(emit, level, self._raised(p - q))
        g = divide(emit, self.relevance.coefficient, size)
        quotients = []
        for value in (level, self.z):
            s = multiply(emit, value, g)
            assert isinstance(s, ir.Value)
            s.shape = self.z.shape
            quotients.append(s)
        ws = [multiply(emit, part.factor, self.w), self.raising(part.factor * (p - q))]
        return Relevance(back_together(emit, self.layer, quotients, _values(ws)), self.x)

    def _level(self, p: float, q: float) -> Operand:
        """q·z where z > 0, -p·z where z < 0; the slope of LeakyRelu is a float32 in any model."""
        emit, z = self.emit, self.z
        if z.dtype == ir.DataType.DOUBLE:
            return emit.op("Max", multiply(emit, q, z), multiply(emit, -p, z))
        return multiply(emit, q, emit.op("LeakyRelu", z, alpha=-p / q))

    # -- both signs -----------------------------------------------------------------------------

    def _by_both_signs(self, shares: Sequence[Quadrants]) -> Relevance | None:
        """x⁺ and x⁻ with their own weights, for shares whose sums have one sign."""
        emit, whole = self.emit, self.relevance.whole(self.emit)
        signs = [_sign_of(share, self.dead) for share in shares]
        if not all(signs) or any(share.where and not self.dead for share in shares):
            return None
        if self._is_pair(shares):
            divisors = self._folded_pair(shares)
            shares = [replace(share, factor=2 * share.factor) for share in shares]
        else:
            pairs = zip(shares, signs, strict=True)
            divisors = [self._of_both_signs(share, known) for share, known in pairs]
        quotients = []
        for divisor in divisors:
            s = divide(emit, whole, divisor)
            assert isinstance(s, ir.Value)
            s.shape = self.z.shape
            quotients.append(s)
        upper, lower = self._each_back(shares, quotients)
        return Relevance(self._by_sign_of_x(upper, lower), self.x)

    def _is_pair(self, shares: Sequence[Quadrants]) -> bool:
        """Whether z and one sum of sizes give both what raises z and what lowers it."""
        biased = self.layer.bias is not None
        alone = [s.of == RAISING and (s.bias == (1, 0) or not biased) for s in shares]
        rest = [s.of == LOWERING and (s.bias == (0, 1) or not biased) for s in shares]
        both = len(shares) == 2 and any(alone) and any(rest)
        return both and self.dead and self._subtracts()

    def _folded_pair(self, shares: Sequence[Quadrants]) -> list[Operand]:
        """2·z₊ = z + f(|x|; |w|, |b|) and 2·z₋ = z - f(|x|; |w|, |b|), where z > 0."""
        emit, relu = self.emit, self.relevance.is_of_relu(self.z)
        z = self.relevance.factor if relu else positive(emit, self.z)
        assert z is not None
        sizes = self._of_sizes(1.0, 2 * self.epsilon)
        lowered = emit.op("Min", subtract(emit, z, sizes), -2 * self.epsilon)
        return [add(emit, z, sizes) if share.of == RAISING else lowered for share in shares]

    def _of_both_signs(self, share: Quadrants, known: int) -> Operand:
        """Z with its stabiliser, positive or negative throughout."""
        emit, ((pp, pn), (np_, nn)) = self.emit, share.of
        sides = [positive(emit, self.x), negative(emit, self.x)]
        b = add(emit, self.bias(*share.bias), known * self.epsilon)
        lone = 0 in (pp, pn)
        ws = [self._mixed(pp, pn), self._mixed(np_, nn)]
        z = self.forward(sides, ws, b, known if lone else 0)
        return z if lone else _from(emit, z, self.epsilon)

    def _each_back(
        self, shares: Sequence[Quadrants], quotients: Sequence[ir.Value]
    ) -> tuple[Operand, Operand]:
        """The coefficients of x⁺ and x⁻, share by share."""
        upper: Operand = 0.0
        lower: Operand = 0.0
        for share, s in zip(shares, quotients, strict=True):
            ws = [multiply(self.emit, share.factor, self._mixed(*parts)) for parts in share.of]
            up, down = self._back(s, ws)
            upper, lower = add(self.emit, upper, up), add(self.emit, lower, down)
        return upper, lower

    def _mixed(self, p: float, q: float) -> Operand:
        """p·w⁺ + q·w⁻."""
        low, emit = min(p, q), self.emit
        part = positive(emit, self.w) if p > q else negative(emit, self.w)
        return add(emit, multiply(emit, low, self.w), multiply(emit, max(p, q) - low, part))


def _from(emit: Emit, z: ir.Value, least: float) -> ir.Value:
    """max(z, least), as a Clip: runtimes compute it together with the convolution before it."""
    return emit.op("Clip", z, least)


def _values(operands: Sequence[Operand]) -> list[ir.Value]:
    values = [v for v in operands if isinstance(v, ir.Value)]
    assert len(values) == len(operands)
    return values


def _sign_of(share: Quadrants, dead: bool) -> int:
    """The sign that Z has wherever relevance may arrive, 0 if it has none."""
    (pp, pn), (np_, nn) = share.of
    p, q = share.bias
    if min(pp, nn) > 0 and pn == np_ == 0 and p >= 0 and q == 0:
        return 1
    if min(pn, np_) > 0 and pp == nn == 0 and p == 0 and q >= 0:
        return -1
    # where z > 0 more of what raises z, and no less of what lowers it, makes Z positive too
    more = pp == nn > pn == np_ > 0 and p >= q >= 0 and (p, q) in ((pp, pn), (0, 0))
    return int(dead and more)


def _groups(node: ir.Node) -> int:
    group = node.attributes.get("group")
    return 1 if group is None else group.as_int()
