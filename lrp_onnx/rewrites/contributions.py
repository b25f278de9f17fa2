"""The positive and the negative contributions to a layer's output, and the sums of either.

z₊ = f(x⁺; w⁺, b⁺) + f(x⁻; w⁻, 0) and z₋ = f(x⁺; w⁻, b⁻) + f(x⁻; w⁺, 0); z = z₊ + z₋ is what the
forward pass computes.  A sum whose sign is known carries its stabilizer in its bias.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from lrp_onnx.graph.arithmetic import (
    Operand,
    absolute,
    add,
    divide,
    multiply,
    negative,
    positive,
    side,
    sign,
)
from lrp_onnx.graph.builder import Emit, Input, static_shape
from lrp_onnx.ops.scatter_add import constant_array
from lrp_onnx.propagation.shares import Layer
from lrp_onnx.rewrites.linear_nodes import backward, backward_sum, forward
from lrp_onnx.rewrites.normal_form import NormalForm
from lrp_onnx.rewrites.product import DoesNotApply, Relevance, late

__all__ = ["Contributions", "values_of"]

DIRECT_BELOW = 32
"""Weights per output below which z₋ is computed and not subtracted: z - z₊ cancels there.

Against float64 on photos, per layer of EfficientNet-lite0 and MobileNetV2 under alpha-beta, max|Δ|
of max|R|: up to 9e-7 from 24 weights on, 4e-5 with 16, 5e-4 with 9 (depthwise).
"""
ONE_SIDED = 64
"""So many times its negative weights an output's positive ones may be for the same.  Against
float64 with input mostly positive, max|Δ| of max|R|: 4e-4 with a thousandth, 7e-4 with 3 of 64
weights that are not 0."""


class Contributions:
    """A layer with a weight, and the relevance of its output."""

    def __init__(
        self,
        emit: Emit,
        layer: Layer,
        relevance: Relevance,
        epsilon: float,
        shares: Sequence[NormalForm],
    ) -> None:
        self.emit, self.layer, self.epsilon = emit, layer, epsilon
        self.relevance = relevance
        self.i = layer.active[0]
        x, w = layer.node.inputs[self.i], layer.node.inputs[1 - self.i]
        assert x is not None
        assert w is not None
        self.x, self.w, self.z = x, w, layer.node.outputs[0]
        self.sign = sign(emit, x)
        """The input's sign, 0 if it has both."""
        self.zero_below = relevance.is_zero_below(self.z)
        """Whether relevance is 0 wherever z ≤ 0."""
        self.shares = [s for s in shares if s.factor and not (self.zero_below and s.where == "<")]
        """Those that get any relevance: where z < 0 none may arrive."""

    def positive_weights(self, multiple: float) -> Operand:
        """The weights of positive contributions, times a number."""
        part = positive if self.sign >= 0 else negative
        return multiply(self.emit, multiple, part(self.emit, self.w))

    def negative_weights(self, multiple: float) -> Operand:
        """The weights of negative contributions, times a number."""
        part = negative if self.sign >= 0 else positive
        return multiply(self.emit, multiple, part(self.emit, self.w))

    def weight(self, p: float, q: float) -> Operand:
        """p of the weights of positive, q of those of negative contributions."""
        if not q:
            return self.positive_weights(p)
        if not p:
            return self.negative_weights(q)
        own = multiply(self.emit, q, self.w)
        return own if p == q else add(self.emit, own, self.positive_weights(p - q))

    def mixed(self, p: float, q: float) -> Operand:
        """p·w⁺ + q·w⁻."""
        low, emit = min(p, q), self.emit
        part = positive(emit, self.w) if p > q else negative(emit, self.w)
        return add(emit, multiply(emit, low, self.w), multiply(emit, max(p, q) - low, part))

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
        own = forward(emit, self.layer, values_of(xs), values_of(ws), bias)
        z = add(emit, own, b if bias is None else 0.0)
        assert isinstance(z, ir.Value)
        if known:
            emit.signs[z] = known
        return z

    def of_sizes(self, multiple: float, epsilon: float) -> ir.Value:
        """f(|x|; |w|, |b|) times a number, and ε."""
        emit = self.emit
        b: Operand = 0.0
        if self.layer.bias is not None:
            b = multiply(emit, multiple, absolute(emit, self.layer.bias))
        w = multiply(emit, multiple, absolute(emit, self.w))
        return self.forward([absolute(emit, self.x)], [w], add(emit, b, epsilon), 1)

    def mirrored_shares(self) -> Relevance:
        """Of two shares, one above and one below z = 0, each counts contributions of z's own sign
        more, and both as the other one's mirror image: gamma.  See `by_sizes`.
        """
        if len(self.shares) != 2 or [share.where for share in self.shares] != [">", "<"]:
            raise DoesNotApply("there is no share above and one below z = 0")
        above, below = self.shares
        p, q = above.parts(self.sign) or (0.0, 0.0)
        mirrored = below.parts(self.sign) == (q, p) and above.factor == below.factor
        if not (mirrored and all(map(self.takes_bias, self.shares)) and p > q >= 0):
            raise DoesNotApply("the shares above and below z = 0 are no mirror images")
        return self.by_sizes(above, mirrored=True)

    def opposite_shares_of_own_output(self) -> Relevance:
        """See `OneSignedInput`."""
        raise DoesNotApply("its input may be of both signs")

    def takes_bias(self, share: NormalForm) -> bool:
        """Whether the bias counts as contributions of its sign do."""
        return self.layer.bias is None or share.bias == share.parts(self.sign)

    def by_sizes(self, share: NormalForm, mirrored: bool) -> Relevance:
        """R_in of a share p·z₊ + q·z₋, p > q, where z > 0, and where z < 0 of its mirror image or,
        without, of no relevance at all.

        With k = (p + q)/2, κ = (p - q)/(p + q) and t = f(|x|; κ·|w|, κ·|b|) the denominator is
        |Z| = k·(|z| + t) on both sides of 0, and with u = k·R/|Z|, 0 where z is,
        R_in = x·vjp(sgn(z)·u; w) + |x|·vjp(u; κ·|w|).
        """
        emit, (p, q) = self.emit, share.parts(self.sign) or (0.0, 0.0)
        kappa = (p - q) / (p + q)
        t = self.of_sizes(kappa, 2 * self.epsilon / (p + q))
        if mirrored:
            ss = self._on_both_sides(add(emit, absolute(emit, self.z), t))
        else:
            ss = self.quotients([add(emit, self.relu(), t)])
        by_size = multiply(emit, share.factor * kappa, absolute(emit, self.w))
        by_x = multiply(emit, share.factor, self.w)
        ws = [by_size, by_x]
        if self.sign:
            ws[0] = by_size = multiply(emit, float(self.sign), by_size)
            ws = ws if mirrored else [add(emit, by_x, by_size)]
            return Relevance(backward_sum(emit, self.layer, ss, values_of(ws)), self.x)
        if mirrored:
            pairs = zip(ss, values_of(ws), strict=True)
            c_of_size, c = (backward_sum(emit, self.layer, [s], [w]) for s, w in pairs)
        else:
            c_of_size, c = backward(emit, self.layer, ss, [values_of(ws)])
        of_size = multiply(emit, absolute(emit, self.x), c_of_size)
        (total,) = values_of([add(emit, multiply(emit, self.x, c), of_size)])
        return Relevance(total)

    def _on_both_sides(self, size: Operand) -> list[ir.Value]:
        """u and sgn(z)·u, in the order in which the runtime keeps one tensor of the forward pass
        (see `late`).
        """
        emit = self.emit
        if self.relevance.is_of(self.z):
            u, y = self.share(self.z, size)
            size_of_y = absolute(emit, y)
            c = late(emit, self.relevance.coefficient, always=True)
            return values_of([u, multiply(emit, size_of_y, c)])
        sgn = side(emit, self.z)
        own = divide(emit, multiply(emit, sgn, self.relevance.whole(emit)), size)
        return values_of([multiply(emit, sgn, own), own])

    def _as_bias(self, b: Operand) -> Input:
        """b in the shape of the operator's bias; None where the operator takes none, or of a size
        that only the run decides.
        """
        if not self.layer.op.biased or b == 0.0:
            return None
        if isinstance(b, ir.Value):
            return b
        if self.layer.bias is not None:
            return self.emit.expand_like(b, self.layer.bias)
        size = self._outputs()
        return None if size is None else self.emit.constant(np.full(size, b))

    def _outputs(self) -> int | None:
        """The size of a bias: 1 where it broadcasts."""
        if not self.layer.op.window:
            return 1
        shape = static_shape(self.w)
        if shape is None:
            return None
        transposed = self.layer.node.op_type == "ConvTranspose"
        return shape[1] * self.groups if transposed else shape[0]

    def share(self, of: Operand, divisor: Operand) -> tuple[ir.Value, ir.Value]:
        """c · (a / Z) for R = c·a, and a / Z: the one tensor of the forward pass that is kept."""
        c = late(self.emit, self.relevance.coefficient)
        share = divide(self.emit, of, divisor)
        assert isinstance(share, ir.Value)
        return self._multiple(c, share), share

    def both_quotients(self, size: Operand, times: float = 1.0) -> tuple[ir.Value, ir.Value]:
        """R / (z₊ + ε) and R / size, where relevance is 0 at z ≤ 0.

        size: times·(ε - z₋).  There z₊ = z - z₋ is a sum of positive numbers, and with
        t = z / size the former is R / size / (1/times + t).
        """
        emit, a, relu = self.emit, self.relevance.factor, self.relu()
        assert a is not None
        if relu is a:
            # 1/times + t stands before c·t, so that it is computed after it and not kept (see
            # `late`)
            c = late(emit, self.relevance.coefficient)
            t = divide(emit, a, size)
            divisor = add(emit, t, 1 / times)
            over_negative = self._multiple(c, t)
        else:
            over_negative, _ = self.share(a, size)
            divisor = add(emit, divide(emit, relu, size), 1 / times)
        over_positive = divide(emit, over_negative, divisor)
        assert isinstance(over_positive, ir.Value)
        return over_positive, over_negative

    def _multiple(self, c: ir.Value, share: Operand) -> ir.Value:
        """c · share, shaped like the output."""
        s = multiply(self.emit, c, share)
        assert isinstance(s, ir.Value)
        return s

    def quotients(self, divisors: Sequence[Operand]) -> list[ir.Value]:
        """R over each of the sums."""
        if len(divisors) == 1 and self.relevance.factor is not None:
            return [self.share(self.relevance.factor, divisors[0])[0]]
        whole, quotients = self.relevance.whole(self.emit), []
        for divisor in divisors:
            s = divide(self.emit, whole, divisor)
            assert isinstance(s, ir.Value)
            quotients.append(s)
        return quotients

    def relu(self) -> ir.Value:
        """relu(z), which is z wherever relevance arrives."""
        if self.relevance.is_of_relu(self.z) and self.relevance.factor is not None:
            return self.relevance.factor
        z = positive(self.emit, self.z)
        assert isinstance(z, ir.Value)
        return z

    def subtracts(self) -> bool:
        """Whether enough weights meet in each output, and enough of either sign, for z - z₊ to lose
        nothing.
        """
        if self.weights_per_output() < DIRECT_BELOW:
            return False
        w = constant_array(self.w)
        return w is None or not self._is_thin(w)

    def weights_per_output(self) -> int:
        """How many weights meet in one output; 0 where that is unknown."""
        shape = static_shape(self.w)
        if shape is None or len(shape) < 2:
            return 0
        return self.layer.op.cost(shape)

    def _is_thin(self, w: np.ndarray) -> bool:
        """Whether few of an output's weights are not 0, or its negative contributions are next to
        nothing beside the positive ones, so that z - z₊ is mostly rounding.  With an input of both
        signs either side may be the negative one.
        """
        kernel = range(2, w.ndim) if self.layer.op.window else ()
        if self.layer.node.op_type == "ConvTranspose":  # (C, M/g, *k) -> (C/g, M/g, *k, g)
            w = np.stack(np.split(w, self.groups), -1)
        axes = (self.layer.op.channel_axis(self.layer.node, 1 - self.i), *kernel)
        up, down = np.sum(w, axes, where=w > 0), -np.sum(w, axes, where=w < 0)
        count = np.count_nonzero(w, axes)
        if self.sign:
            positive_sum, negative_sum = (up, down) if self.sign > 0 else (down, up)
            thin = negative_sum > 0
        else:
            positive_sum, negative_sum = np.maximum(up, down), np.minimum(up, down)
            thin = count > 0
        few = (count < DIRECT_BELOW) | (negative_sum * ONE_SIDED < positive_sum)
        return bool((thin & few).any())

    @property
    def groups(self) -> int:
        """The groups of a convolution."""
        group = self.layer.node.attributes.get("group")
        return 1 if group is None else group.as_int()


def values_of(operands: Sequence[Operand]) -> list[ir.Value]:
    """Operands of which none is a number."""
    values = [v for v in operands if isinstance(v, ir.Value)]
    assert len(values) == len(operands)
    return values
