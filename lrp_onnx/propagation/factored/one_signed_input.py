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
from lrp_onnx.propagation.factored.contributions import Contributions, values_of
from lrp_onnx.propagation.factored.normal_form import NormalForm
from lrp_onnx.propagation.factored.relevance import NotFactored, Relevance
from lrp_onnx.propagation.factored.side_by_side import backward_sum

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

    def propagated(self, shares: Sequence[NormalForm]) -> Relevance:
        """R_in; NotFactored where the shares have no cheaper form."""
        parts = [self._part(share) for share in shares]
        if self.are_mirrored(shares):
            return self.by_sizes(shares[0], mirrored=True)
        if len(parts) == 1 and self.zero_below and parts[0].p > parts[0].q > 0:
            return self.by_sizes(shares[0], mirrored=False)
        if not self.zero_below and any(part.where for part in parts):
            raise NotFactored("a share takes one side of z = 0 and is not mirrored on the other")
        if sorted((part.p, part.q) for part in parts) == [(0, 1), (1, 0)]:
            if self.zero_below:
                return self._by_both(parts)
            if self.relevance.is_of(self.z) and self.subtracts():
                return self._by_positive(parts)
        divisors = [self._divisor(part, parts) for part in parts]
        ws = [self.weight(part.factor * part.p, part.factor * part.q) for part in parts]
        c = backward_sum(self.emit, self.layer, self.quotients(divisors), values_of(ws))
        return Relevance(c, self.x)

    def _part(self, share: NormalForm) -> Part:
        parts = share.parts(self.sign)
        if parts is None or not self.takes_bias(share):
            raise NotFactored("a share counts the bias in another way than the contributions")
        return Part(*parts, share.factor, share.where)

    def _by_both(self, parts: Sequence[Part]) -> Relevance:
        """R over the positive and R over the negative contributions, if it is 0 at z ≤ 0."""
        b = add(self.emit, self.bias(0.0, -1.0), self.epsilon)
        size = self.forward([self.x], [self.negative_weights(-1.0)], b, 1)
        over_positive, over_negative = self.both_quotients(size)
        ws = [self.weight(part.factor * part.p, -part.factor * part.q) for part in parts]
        ss = [over_positive if part.p else over_negative for part in parts]
        return Relevance(backward_sum(self.emit, self.layer, ss, values_of(ws)), self.x)

    def _by_positive(self, parts: Sequence[Part]) -> Relevance:
        """The same where R = c·z.  With t = z / (z₊ + ε), the one tensor of the forward pass that
        is kept, it is c·t, and c·t / (t - 1) since z₋ - ε = z - (z₊ + ε).
        """
        emit, least = self.emit, float(np.finfo(self.emit.dtype.numpy()).epsneg)
        t = divide(emit, self.z, self._stabilized_positive(1.0))
        # t - 1 < 0 stands before c·t, so that it is not kept (see `Relevance.deferred_coefficient`)
        rest = at_most(emit, add(emit, t, -1.0), -least)
        over_positive = self._multiple(self.relevance.deferred_coefficient(emit), t)
        over_negative = divide(emit, over_positive, rest)
        assert isinstance(over_negative, ir.Value)
        ws = [self.weight(part.factor * part.p, part.factor * part.q) for part in parts]
        ss = [over_positive if part.p else over_negative for part in parts]
        return Relevance(backward_sum(emit, self.layer, ss, values_of(ws)), self.x)

    def _divisor(self, part: Part, parts: Sequence[Part]) -> Operand:
        """p·z₊ + q·z₋ with its stabilizer, positive or negative throughout."""
        p, q = part.p, part.q
        if p > 0 and not q:
            return self._stabilized_positive(p)
        if q > 0 and not p:
            return self._stabilized_negative(q, parts)
        raise NotFactored("a share's denominator may be of both signs")

    def _stabilized_positive(self, p: float) -> ir.Value:
        """p·z₊ + ε."""
        b = add(self.emit, self.bias(p, 0.0), self.epsilon)
        return self.forward([self.x], [self.positive_weights(p)], b, 1)

    def _stabilized_negative(self, q: float, parts: Sequence[Part]) -> Operand:
        """q·z₋ - ε, from z and z₊ + ε where that is at hand and loses nothing."""
        emit = self.emit
        has_positive = any((s.p, s.q) == (1, 0) for s in parts)
        if q == 1 and not self.zero_below and has_positive and self.subtracts():
            return at_most(
                emit, subtract(emit, self.z, self._stabilized_positive(1.0)), -self.epsilon
            )
        b = subtract(emit, self.bias(0.0, q), self.epsilon)
        return self.forward([self.x], [self.negative_weights(q)], b, -1)
