"""Rules that tell positive from negative contributions, over an input of both signs.

Where Z is on z's own side of 0, |x| and |w| make one forward of two (`by_sizes`); elsewhere
z₊ = (z + f(|x|; |w|, |b|))/2 cancels.  There x⁺ and x⁻ stand side by side, one convolution of
double width, for z₋ alone where z₊ is what is left of z, and R_in = x⁺·c₊ + x⁻·c₋.  A Where would
choose between the two, but ONNX Runtime computes it on one thread, since 1.32 in five times the
time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import onnx_ir as ir

from lrp_onnx.graph.arithmetic import (
    Operand,
    add,
    at_least,
    multiply,
    negative,
    positive,
    subtract,
)
from lrp_onnx.rewrites.contributions import Contributions, values_of
from lrp_onnx.rewrites.linear_nodes import backward
from lrp_onnx.rewrites.normal_form import NormalForm
from lrp_onnx.rewrites.product import DoesNotApply, Relevance

__all__ = ["MixedSignInput"]

FOLDED_FROM = 32
"""Weights per output from which on a convolution takes longer than two passes over its result: on
one thread 0.012 ns a weight and output of 1×1, 0.15 ns an element of a pass (MobileNetV2)."""
POSITIVE, NEGATIVE = ((1.0, 0.0), (0.0, 1.0)), ((0.0, 1.0), (1.0, 0.0))
"""The contributions of the positive contributions, and of the negative ones."""


class MixedSignInput(Contributions):
    """A layer whose input may be of both signs, under shares in normal form."""

    def share_above_zero(self) -> Relevance:
        """One share that counts positive contributions more, with z at hand as relu(z).  See
        `by_sizes`.
        """
        parts = self.shares[0].parts(0) if len(self.shares) == 1 else None
        if parts is None or not self._has_relu() or not parts[0] > parts[1] >= 0:
            raise DoesNotApply("it is not one share of z₊ where relevance is 0 at z ≤ 0")
        if (self.shares[0].where and not self.zero_below) or not self.takes_bias(self.shares[0]):
            raise DoesNotApply("the share takes one side of z = 0, or counts the bias differently")
        return self.by_sizes(self.shares[0], mirrored=False)

    def opposite_shares_above_zero(self) -> Relevance:
        """R over the positive and R over the negative contributions, if it is 0 at z ≤ 0: both
        quotients of one sum.  See `both_quotients`.
        """
        self._signs()
        if not self._is_pair():
            raise DoesNotApply("it is not one share of z₊ and one of z₋, with relu(z) at hand")
        size, times = self._size()
        over_positive, over_negative = self.both_quotients(size, times)
        quotients = [over_positive if s.of == POSITIVE else over_negative for s in self.shares]
        shares = [
            s if s.of == POSITIVE else replace(s, factor=-times * s.factor) for s in self.shares
        ]
        return self._by_sign_of_x(*self._each_back(shares, quotients))

    def shares_of_one_sign(self) -> Relevance:
        """Every share over its own sum, x⁺ and x⁻ side by side."""
        pairs = zip(self.shares, self._signs(), strict=True)
        quotients = self.quotients([self._side_by_side(*pair) for pair in pairs])
        return self._by_sign_of_x(*self._each_back(self.shares, quotients))

    def _signs(self) -> list[int]:
        """The sign that each share's denominator has wherever relevance may arrive."""
        if any(share.where and not self.zero_below for share in self.shares):
            raise DoesNotApply("a share takes one side of z = 0 and is not mirrored on the other")
        signs = [_sign_of(share, self.zero_below) for share in self.shares]
        if not all(signs):
            raise DoesNotApply("a share's denominator may be of both signs")
        return signs

    def _has_relu(self) -> bool:
        """Whether relu(z) costs less than a second convolution: behind a Clip it is two passes."""
        own = self.relevance.is_of_relu(self.z)
        return own or (self.zero_below and self.weights_per_output() >= FOLDED_FROM)

    def _is_pair(self) -> bool:
        """Whether one share has the positive and one the negative contributions, and relu(z) is
        there already.
        """
        shares, biased = self.shares, self.layer.bias is not None
        alone = [s.of == POSITIVE and (s.bias == (1, 0) or not biased) for s in shares]
        rest = [s.of == NEGATIVE and (s.bias == (0, 1) or not biased) for s in shares]
        both = len(shares) == 2 and any(alone) and any(rest)
        return both and self._has_relu()

    def _size(self) -> tuple[Operand, float]:
        """A multiple of ε - z₋, where z > 0, and the multiple: twice it is f(|x|; |w|, |b|) - z
        where that loses nothing.
        """
        emit = self.emit
        if not self.subtracts():
            sides = [positive(emit, self.x), negative(emit, self.x)]
            b = add(emit, self.bias(0.0, -1.0), self.epsilon)
            ws = [self.mixed(0.0, -1.0), self.mixed(-1.0, 0.0)]
            return self.forward(sides, ws, b, 1), 1.0
        epsilon = 2 * self.epsilon
        size = subtract(emit, self.of_sizes(1.0, epsilon), self.relu())
        assert isinstance(size, ir.Value)
        return at_least(emit, size, epsilon), 2.0

    def _side_by_side(self, share: NormalForm, known: int) -> Operand:
        """Z with its stabilizer, positive or negative throughout."""
        emit, ((pp, pn), (np_, nn)) = self.emit, share.of
        sides = [positive(emit, self.x), negative(emit, self.x)]
        b = add(emit, self.bias(*share.bias), known * self.epsilon)
        lone = 0 in (pp, pn)
        ws = [self.mixed(pp, pn), self.mixed(np_, nn)]
        z = self.forward(sides, ws, b, known if lone else 0)
        return z if lone else at_least(emit, z, self.epsilon)

    def _each_back(
        self, shares: Sequence[NormalForm], quotients: Sequence[ir.Value]
    ) -> Sequence[ir.Value]:
        """The coefficients of x⁺ and x⁻."""
        ws = [
            values_of([multiply(self.emit, share.factor, self.mixed(*part)) for part in share.of])
            for share in shares
        ]
        return backward(self.emit, self.layer, quotients, ws)

    def _by_sign_of_x(self, upper: Operand, lower: Operand) -> Relevance:
        """R_in from the coefficients of x⁺ and x⁻, of which one is 0 everywhere."""
        emit, x = self.emit, self.x
        by_upper = multiply(emit, positive(emit, x), upper)
        (total,) = values_of([add(emit, by_upper, multiply(emit, negative(emit, x), lower))])
        return Relevance(total)


def _sign_of(share: NormalForm, dead: bool) -> int:
    """The sign that Z has wherever relevance may arrive, 0 if it has none."""
    (pp, pn), (np_, nn) = share.of
    p, q = share.bias
    if min(pp, nn) > 0 and pn == np_ == 0 and p >= 0 and q == 0:
        return 1
    if min(pn, np_) > 0 and pp == nn == 0 and p == 0 and q >= 0:
        return -1
    # where z > 0, Z with more of the positive and no less of the negative ones is positive too
    more = pp == nn > pn == np_ > 0 and p >= q >= 0 and (p, q) in ((pp, pn), (0, 0))
    return int(dead and more)
