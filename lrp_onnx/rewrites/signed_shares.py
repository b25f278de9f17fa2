"""Rules that tell positive from negative contributions.

Of z = z₊ + z₋ one sum is computed, the other is what is left of z, which loses nothing for z₊ where
z > 0 and, with enough weights of either sign, for z₋ (see `contributions`).  Where the input has
both signs, x⁺ and x⁻ stand side by side, or |x| and |w| make one forward of two: z₊ =
(z + f(|x|; |w|, |b|))/2 where that does not cancel.  Shares where z > 0 and where z < 0 exclude
each other: one quotient serves both.

Every rewrite is a method that returns R_in, or raises DoesNotApply with the reason.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import numpy as np
import onnx_ir as ir

from lrp_onnx.graph.arithmetic import (
    Operand,
    absolute,
    add,
    at_least,
    at_most,
    divide,
    multiply,
    side,
    sign,
    subtract,
    tensor,
)
from lrp_onnx.rewrites.contributions import Contributions, Part, values_of
from lrp_onnx.rewrites.normal_form import NormalForm
from lrp_onnx.rewrites.product import DoesNotApply, Relevance, late

__all__ = ["SignedShares"]

FOLDED_FROM = 80
"""Weights per output from which on a convolution takes longer than to read z behind a Clip.  Where
nothing reads z, runtimes clip while they convolve; else z, |z| and the clipped z are passes of
their own and change the layout: 1.1 ns an element on one thread, 0.01 ns a weight and output of
1×1 (MobileNetV2)."""
CANCELS = 1 / 32
"""p·z₊ + q·z₋ of one sum is off by at most (p + q)/(p - q) roundings of its terms, where z > 0:
from this (p - q)/(p + q) on few enough."""

POSITIVE = ((1.0, 0.0), (0.0, 1.0))
"""The normal form of z₊."""


class SignedShares(Contributions):
    """A layer with a weight under shares in normal form, and what rewrites make of them."""

    def mirrored_shares(self) -> Relevance:
        """Of two shares, one above and one below z = 0, each counts contributions of z's own sign
        more, and both as the other one's mirror image: gamma.  See `_by_sizes`.
        """
        if [part.where for part in self.parts] != [">", "<"]:
            raise DoesNotApply("there is no share above and one below z = 0")
        above, below = self.parts
        mirrored = (below.p, below.q, below.factor) == (above.q, above.p, above.factor)
        if not (mirrored and above.p > above.q >= 0):
            raise DoesNotApply("the shares above and below z = 0 are no mirror images")
        return self._by_sizes(above, mirrored=True)

    def share_above_zero(self) -> Relevance:
        """One share p·z₊ + q·z₋, p > q, where R is 0 at z ≤ 0.  See `_by_sizes`; it needs z."""
        if len(self.parts) != 1 or not self.parts[0].p > self.parts[0].q >= 0:
            raise DoesNotApply("it is not one share that counts positive contributions more")
        (part,) = self._everywhere()
        if self.sign and not (part.q and self.zero_below):
            raise DoesNotApply("with an input of one sign z₊ alone is as cheap")
        if not self.sign and not self._is_cheap():
            raise DoesNotApply("a second convolution is as cheap")
        lone = part.p - part.q >= CANCELS * (part.p + part.q)
        if self.sign and lone and not self.relevance.is_of_relu(self.z):
            raise DoesNotApply("with an input of one sign one sum is as cheap, and needs no z")
        return self._by_sizes(part, mirrored=False)

    def opposite_shares_above_zero(self) -> Relevance:
        """A share of z₊ and one of z₋, where R is 0 at z ≤ 0.

        There z₊ = z - z₋ is a sum of positive numbers, and with size = k·(ε - z₋) and t = z / size
        R / (z₊ + ε) is R / size / (1/k + t).
        """
        self._require_opposite()
        if not self.zero_below or not (self.sign or self._is_cheap()):
            raise DoesNotApply("relevance may be other than 0 at z ≤ 0, or convolutions are cheap")
        emit, (size, times) = self.emit, self._size()
        a, size_of_z = self.relevance.factor, self.magnitude()
        assert a is not None
        if size_of_z is a:
            # 1/k + t stands before c·t, so that it is computed after it and not kept (see `late`)
            c = late(emit, self.relevance.coefficient)
            t = divide(emit, a, size)
            divisor = add(emit, t, 1 / times)
            over_negative = self.multiple(c, t)
        else:
            over_negative = self.over(a, size)
            divisor = add(emit, divide(emit, size_of_z, size), 1 / times)
        return self._back_from(divide(emit, over_negative, divisor), over_negative, -times)

    def opposite_shares_of_own_output(self) -> Relevance:
        """The same where R = c·z or c·z·g.  With t = z / (z₊ + ε), the one tensor of the forward
        pass that is kept, it is c·t, and c·t / (t - 1) since z₋ - ε = z - (z₊ + ε).
        """
        self._require_opposite()
        factor = self.relevance.factor
        of_own = self.relevance.is_of(self.z) or self.relevance.gate_of(self.z) is not None
        if factor is None or not (of_own and self.subtracts()):
            raise DoesNotApply("relevance is no multiple of z, or z - z₊ loses digits")
        emit, least = self.emit, float(np.finfo(self.emit.dtype.numpy()).epsneg)
        divisor, times = self._positive_sum()
        t = divide(emit, self.z, divisor)
        share = t if factor is self.z else divide(emit, factor, divisor)
        # t - 1 < 0 stands before c·t, so that it is not kept (see `late`)
        rest = at_most(emit, tensor(add(emit, t, -1 / times)), -least)
        over_positive = self.multiple(late(emit, self.relevance.coefficient), share)
        return self._back_from(over_positive, divide(emit, over_positive, rest), 1.0, times)

    def shares_of_one_sign(self) -> Relevance:
        """Every share over its own sum of one sign, with the stabilizer in its bias."""
        if not self.zero_below and any(share.where for share in self.shares):
            raise DoesNotApply("a share takes one side of z = 0 and is not mirrored on the other")
        signs = [self._sign_of(share) for share in self.shares]
        if not all(signs):
            raise DoesNotApply("a share's denominator may be of both signs")
        pairs = [self._divisor(*pair) for pair in zip(self.shares, signs, strict=True)]
        divisors, multiples = zip(*pairs, strict=True)
        rows = [
            replace(share, factor=times * share.factor)
            for share, times in zip(self.shares, multiples, strict=True)
        ]
        return self.back(self.quotients(divisors), rows)

    def _everywhere(self) -> list[Part]:
        """The parts, of which none takes one side of z = 0 alone."""
        if not self.zero_below and any(part.where for part in self.parts):
            raise DoesNotApply("a share takes one side of z = 0 and is not mirrored on the other")
        return self.parts

    def _require_opposite(self) -> None:
        if sorted((part.p, part.q) for part in self._everywhere()) != [(0, 1), (1, 0)]:
            raise DoesNotApply("it is not one share of z₊ and one of z₋")

    def _back_from(
        self, over_positive: Operand, over_negative: Operand, times: float, positive: float = 1.0
    ) -> Relevance:
        """R_in from R / (z₊ + ε) and the other quotient, of which each was divided by a number."""
        ss = [over_positive if part.p else over_negative for part in self.parts]
        rows = [
            replace(share, factor=(positive if part.p else times) * share.factor)
            for part, share in zip(self.parts, self.shares, strict=True)
        ]
        return self.back(values_of(ss), rows)

    def _is_cheap(self) -> bool:
        """Whether |z| costs less than a second convolution, also behind a Clip."""
        own = self.relevance.is_of_relu(self.z)
        return own or (self.zero_below and self.weights_per_output() >= FOLDED_FROM)

    def _size(self) -> tuple[ir.Value, float]:
        """A multiple of ε - z₋, where z > 0, and the multiple: with an input of both signs twice it
        is f(|x|; |w|, |b|) - z where that loses nothing.
        """
        if self.sign or not self.subtracts():
            of = ((0.0, -1.0), (-1.0, 0.0))
            return self.sum_of(of, (0.0, -1.0), self.epsilon, 1), 1.0
        size = subtract(self.emit, self._sizes, self.magnitude())
        return at_least(self.emit, tensor(size), 2 * self.epsilon), 2.0

    @cached_property
    def _sizes(self) -> ir.Value:
        """f(|x|; |w|, |b|) + 2ε."""
        return self.of_sizes(1.0, 2 * self.epsilon)

    @cached_property
    def _halves(self) -> bool:
        """Whether z and f(|x|; |w|, |b|) give z₊ and z₋ for one convolution instead of two."""
        return not self.sign and not self.zero_below and self.subtracts()

    def _positive_sum(self) -> tuple[ir.Value, float]:
        """A multiple of z₊ + ε, and the multiple."""
        if self._halves:
            doubled = add(self.emit, self.z, self._sizes)
            return at_least(self.emit, tensor(doubled), 2 * self.epsilon), 2.0
        return self.sum_of(POSITIVE, POSITIVE[0], self.epsilon, 1), 1.0

    def _divisor(self, share: NormalForm, known: int) -> tuple[ir.Value, float]:
        """A multiple of Z with its stabilizer, of one sign throughout, and the multiple: z₋ is z
        less z₊ where that is at hand and loses nothing.
        """
        part = self._part(share)
        if self._halves and part is not None and (part.p, part.q) == (1, 0):
            return self._positive_sum()
        if self._halves and part is not None and (part.p, part.q) == (0, 1):
            doubled = subtract(self.emit, self.z, self._sizes)
            return at_most(self.emit, tensor(doubled), -2 * self.epsilon), 2.0
        parts = [(part.p, part.q) for part in self.parts]
        at_hand = (1, 0) in parts and not self.zero_below and self.subtracts()
        if at_hand and share.parts(self.sign) == (0, 1):
            rest = subtract(self.emit, self.z, self._positive_sum()[0])
            return at_most(self.emit, tensor(rest), -self.epsilon), 1.0
        lone = all(0 in share.of[k] for k, _ in self.sides)
        z = self.sum_of(share.of, share.bias, known * self.epsilon, known if lone else 0)
        return z if lone else at_least(self.emit, z, self.epsilon), 1.0

    def _sign_of(self, share: NormalForm) -> int:
        """The sign that Z has wherever relevance may arrive, 0 if it has none."""
        own = [share.of[k][k] for k, _ in self.sides]
        other = [share.of[k][1 - k] for k, _ in self.sides]
        p, q = share.bias
        if min(own) > 0 and not any(other) and p >= 0 and q == 0:
            return 1
        if min(other) > 0 and not any(own) and p == 0 and q >= 0:
            return -1
        # where z > 0, Z with more of the positive and no less of the negative ones is positive too
        alike = len({*own}) == len({*other}) == 1
        more = alike and own[0] > other[0] > 0 and p >= q >= 0
        return int(self.zero_below and more and (p, q) in ((own[0], other[0]), (0, 0)))

    def _by_sizes(self, part: Part, mirrored: bool) -> Relevance:
        """R_in of a share p·z₊ + q·z₋, p > q, where z > 0, and where z < 0 of its mirror image or,
        without, of no relevance at all.

        With k = (p + q)/2, κ = (p - q)/(p + q) and t = f(|x|; κ·|w|, κ·|b|) the denominator is
        |Z| = k·(|z| + t) on both sides of 0, and with u = k·R/|Z|, 0 where z is,
        R_in = x·vjp(sgn(z)·u; w) + |x|·vjp(u; κ·|w|).
        """
        emit, p, q = self.emit, part.p, part.q
        kappa = (p - q) / (p + q)
        t = self.of_sizes(kappa, 2 * self.epsilon / (p + q))
        if mirrored:
            ss = self._on_both_sides(add(emit, absolute(emit, self.z), t))
        else:
            ss = self.quotients([add(emit, self.magnitude(is_added=True), t)])
        by_size = multiply(emit, part.factor * kappa, absolute(emit, self.w))
        by_x = multiply(emit, part.factor, self.w)
        ws = [by_size, by_x]
        if self.sign:
            ws[0] = by_size = multiply(emit, float(self.sign), by_size)
            ws = ws if mirrored else [add(emit, by_x, by_size)]
            return Relevance(self.layer.backward_sum(emit, ss, values_of(ws)), self.x)
        if mirrored:
            pairs = zip(ss, values_of(ws), strict=True)
            c_of_size, c = (self.layer.backward_sum(emit, [s], [w]) for s, w in pairs)
        else:
            c_of_size, c = self.layer.backward(emit, ss, [values_of(ws)])
        of_size = multiply(emit, absolute(emit, self.x), c_of_size)
        (total,) = values_of([add(emit, multiply(emit, self.x, c), of_size)])
        return Relevance(total)

    def _on_both_sides(self, size: Operand) -> list[ir.Value]:
        """u and sgn(z)·u, in the order in which the runtime keeps one tensor of the forward pass
        (see `late`).
        """
        emit = self.emit
        gate, factor = self.relevance.gate_of(self.z), self.relevance.factor
        signed_like_z = self.relevance.is_of(self.z) or (gate is not None and sign(emit, gate) > 0)
        if signed_like_z and factor is not None:
            u, y = self.share(factor, size)
            size_of_y = absolute(emit, y)
            c = late(emit, self.relevance.coefficient, always=True)
            return values_of([u, multiply(emit, size_of_y, c)])
        sgn = side(emit, self.z)
        own = divide(emit, multiply(emit, sgn, self.relevance.whole(emit)), size)
        return values_of([multiply(emit, sgn, own), own])
