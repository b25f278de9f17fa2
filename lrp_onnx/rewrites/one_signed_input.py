"""Rules that tell positive from negative contributions, over an input of one sign.

With x ≥ 0 the weights w⁺ make the positive contributions and w⁻ the negative ones.  Of
z = z₊ + z₋ one sum is computed, the other is what is left of z (see `contributions`), which loses
nothing for z₊ where z > 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from lrp_onnx.graph.arithmetic import (
    Operand,
    add,
    at_most,
    divide,
    subtract,
)
from lrp_onnx.rewrites.contributions import Contributions, values_of
from lrp_onnx.rewrites.linear_nodes import backward_sum
from lrp_onnx.rewrites.normal_form import NormalForm
from lrp_onnx.rewrites.product import DoesNotApply, Relevance, late

__all__ = ["OneSignedInput"]


@dataclass(frozen=True)
class Part:
    """A share over a layer with a weight: p of the positive, q of the negative contributions."""

    p: float
    q: float
    factor: float
    where: str


class OneSignedInput(Contributions):
    """A layer whose input is known to be of one sign, under shares in normal form."""

    def share_above_zero(self) -> Relevance:
        """One share p·z₊ + q·z₋, p > q > 0, where relevance is 0 at z ≤ 0.  See `by_sizes`."""
        parts = self._parts()
        if len(parts) > 1 or not (self.zero_below and parts[0].p > parts[0].q > 0):
            raise DoesNotApply("it is not one share of both signs where relevance is 0 at z ≤ 0")
        return self.by_sizes(self.shares[0], mirrored=False)

    def opposite_shares_above_zero(self) -> Relevance:
        """R over the positive and R over the negative contributions, if it is 0 at z ≤ 0: both
        quotients of one sum.  See `both_quotients`.
        """
        parts = self._opposite()
        if not self.zero_below:
            raise DoesNotApply("relevance may be other than 0 at z ≤ 0")
        b = add(self.emit, self.bias(0.0, -1.0), self.epsilon)
        size = self.forward([self.x], [self.negative_weights(-1.0)], b, 1)
        return self._back(parts, -1.0, *self.both_quotients(size))

    def opposite_shares_of_own_output(self) -> Relevance:
        """The same where R = c·z.  With t = z / (z₊ + ε), the one tensor of the forward pass that
        is kept, it is c·t, and c·t / (t - 1) since z₋ - ε = z - (z₊ + ε).
        """
        parts, emit = self._opposite(), self.emit
        if not (self.relevance.is_of(self.z) and self.subtracts()):
            raise DoesNotApply("relevance is no multiple of z, or z - z₊ loses digits")
        least = float(np.finfo(emit.dtype.numpy()).epsneg)
        t = divide(emit, self.z, self._stabilized_positive(1.0))
        # t - 1 < 0 stands before c·t, so that it is not kept (see `late`)
        rest = at_most(emit, values_of([add(emit, t, -1.0)])[0], -least)
        over_positive = self._multiple(late(emit, self.relevance.coefficient), t)
        (over_negative,) = values_of([divide(emit, over_positive, rest)])
        return self._back(parts, 1.0, over_positive, over_negative)

    def shares_of_one_sign(self) -> Relevance:
        """Every share over its own sum of positive or of negative contributions, with the
        stabilizer in its bias.
        """
        parts = self._parts()
        divisors = [self._divisor(part, parts) for part in parts]
        ws = [self.weight(part.factor * part.p, part.factor * part.q) for part in parts]
        c = backward_sum(self.emit, self.layer, self.quotients(divisors), values_of(ws))
        return Relevance(c, self.x)

    def _parts(self) -> list[Part]:
        """The shares as multiples of z₊ and z₋."""
        parts = [self._part(share) for share in self.shares]
        if not self.zero_below and any(part.where for part in parts):
            raise DoesNotApply("a share takes one side of z = 0 and is not mirrored on the other")
        return parts

    def _part(self, share: NormalForm) -> Part:
        parts = share.parts(self.sign)
        if parts is None or not self.takes_bias(share):
            raise DoesNotApply("a share counts the bias in another way than the contributions")
        return Part(*parts, share.factor, share.where)

    def _opposite(self) -> list[Part]:
        parts = self._parts()
        if sorted((part.p, part.q) for part in parts) != [(0, 1), (1, 0)]:
            raise DoesNotApply("it is not one share of z₊ and one of z₋")
        return parts

    def _back(
        self, parts: Sequence[Part], side: float, over_positive: ir.Value, over_negative: ir.Value
    ) -> Relevance:
        """R_in from both quotients; side: -1 where the negative one is over |z₋|."""
        ws = [self.weight(p.factor * p.p, side * p.factor * p.q) for p in parts]
        ss = [over_positive if part.p else over_negative for part in parts]
        return Relevance(backward_sum(self.emit, self.layer, ss, values_of(ws)), self.x)

    def _divisor(self, part: Part, parts: Sequence[Part]) -> Operand:
        """p·z₊ + q·z₋ with its stabilizer, positive or negative throughout."""
        p, q = part.p, part.q
        if p > 0 and not q:
            return self._stabilized_positive(p)
        if q > 0 and not p:
            return self._stabilized_negative(q, parts)
        raise DoesNotApply("a share's denominator may be of both signs")

    def _stabilized_positive(self, p: float) -> ir.Value:
        """p·z₊ + ε."""
        b = add(self.emit, self.bias(p, 0.0), self.epsilon)
        return self.forward([self.x], [self.positive_weights(p)], b, 1)

    def _stabilized_negative(self, q: float, parts: Sequence[Part]) -> Operand:
        """q·z₋ - ε, from z and z₊ + ε where that is at hand and loses nothing."""
        emit = self.emit
        has_positive = any((s.p, s.q) == (1, 0) for s in parts)
        if q == 1 and not self.zero_below and has_positive and self.subtracts():
            (rest,) = values_of([subtract(emit, self.z, self._stabilized_positive(1.0))])
            return at_most(emit, rest, -self.epsilon)
        b = subtract(emit, self.bias(0.0, q), self.epsilon)
        return self.forward([self.x], [self.negative_weights(q)], b, -1)
