"""The positive and the negative contributions to a layer's output, and the sums of either.

z₊ = f(x⁺; w⁺, b⁺) + f(x⁻; w⁻, 0) and z₋ = f(x⁺; w⁻, b⁻) + f(x⁻; w⁺, 0); z = z₊ + z₋ is what the
forward pass computes.  A sum whose sign is known carries its stabilizer in its bias.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

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
    sign,
    tensor,
)
from lrp_onnx.graph.broadcasting import expand_like
from lrp_onnx.graph.builder import Emit, Input
from lrp_onnx.graph.constant_values import constant_array
from lrp_onnx.graph.shapes import static_shape
from lrp_onnx.propagation.layer import Layer
from lrp_onnx.rewrites.normal_form import NormalForm, Parts
from lrp_onnx.rewrites.product import Relevance, late

__all__ = ["Contributions", "Part", "values_of"]

DIRECT_BELOW = 32
"""Weights per output below which z₋ is computed and not subtracted: z - z₊ cancels there.

Against float64 on photos, per layer of EfficientNet-lite0 and MobileNetV2 under alpha-beta, max|Δ|
of max|R|: up to 9e-7 from 24 weights on, 4e-5 with 16, 5e-4 with 9 (depthwise).
"""
ONE_SIDED = 64
"""So many times its negative weights an output's positive ones may be for the same.  Against
float64 with input mostly positive, max|Δ| of max|R|: 4e-4 with a thousandth, 7e-4 with 3 of 64
weights that are not 0."""


@dataclass(frozen=True)
class Part:
    """A share p·z₊ + q·z₋ of an input, bias included."""

    p: float
    q: float
    factor: float
    where: str


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
        parts = [self._part(share) for share in self.shares]
        self.parts = [part for part in parts if part is not None] if all(parts) else []
        """The shares as parts, if they all are."""

    @cached_property
    def sides(self) -> list[tuple[int, ir.Value]]:
        """x⁺ and x⁻, those that are not 0 everywhere, with their rows of a normal form."""
        both = enumerate((positive(self.emit, self.x), negative(self.emit, self.x)))
        return [(k, v) for k, v in both if isinstance(v, ir.Value)]

    def mixed(self, p: float, q: float) -> Operand:
        """p·w⁺ + q·w⁻."""
        emit, least = self.emit, 0.0 if 0.0 in (p, q) else min(p, q)
        own = multiply(emit, least, self.w)
        own = (
            own if p == least else add(emit, own, multiply(emit, p - least, positive(emit, self.w)))
        )
        return (
            own if q == least else add(emit, own, multiply(emit, q - least, negative(emit, self.w)))
        )

    def bias(self, p: float, q: float) -> Operand:
        """p·b⁺ + q·b⁻."""
        emit, b = self.emit, self.layer.bias
        if b is None:
            return 0.0
        up = multiply(emit, p, positive(emit, b))
        return add(emit, up, multiply(emit, q, negative(emit, b)))

    def sum_of(self, of: tuple[Parts, Parts], bias: Parts, shift: float, known: int) -> ir.Value:
        """f(x⁺; Q[+]) + f(x⁻; Q[-]) + p·b⁺ + q·b⁻ + a shift; with its sign, if it has one."""
        ws = [self.mixed(*of[k]) for k, _ in self.sides]
        b = add(self.emit, self.bias(*bias), shift)
        return self.forward([x for _, x in self.sides], ws, b, known)

    def back(self, ss: Sequence[ir.Value], rows: Sequence[NormalForm]) -> Relevance:
        """x⁺·c₊ + x⁻·c₋ from the quotient of every share; a product where x has one sign.

        Where one share is of z₊ and one of z₋ two convolutions would do instead of four, of x and
        |x| as in `SignedShares._by_sizes`.  But what an input gives to the sum of the other sign
        cancels then, by digits that are lost where that sum is small: 1e-2 of the largest relevance
        in 2 of 80 random networks.

        A Where would choose between the two, but ONNX Runtime computes it on one thread, since 1.32
        in five times the time.
        """
        ws = [
            values_of([multiply(self.emit, r.factor, self.mixed(*r.of[k])) for k, _ in self.sides])
            for r in rows
        ]
        cs = self.layer.backward(self.emit, ss, ws)
        if len(cs) == 1:
            return Relevance(cs[0], self.x)
        total: Operand = 0.0
        for (_, x), c in zip(self.sides, cs, strict=True):
            total = add(self.emit, total, multiply(self.emit, x, c))
        return Relevance(tensor(total))

    def forward(
        self, xs: Sequence[Operand], ws: Sequence[Operand], b: Operand, known: int
    ) -> ir.Value:
        """Σ f(xₖ; wₖ) + b, whose sign is known."""
        emit, bias = self.emit, self._as_bias(b)
        own = self.layer.forward(emit, values_of(xs), values_of(ws), bias)
        z = tensor(add(emit, own, b if bias is None else 0.0))
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

    def _part(self, share: NormalForm) -> Part | None:
        """The share as a part; None where the bias counts other than contributions of its sign."""
        parts = share.parts(self.sign)
        if parts is None or (self.layer.bias is not None and share.bias != parts):
            return None
        return Part(*parts, share.factor, share.where)

    def _as_bias(self, b: Operand) -> Input:
        """b in the shape of the operator's bias; None where the operator takes none, or of a size
        that only the run decides.
        """
        if not self.layer.op.biased or b == 0.0:
            return None
        if isinstance(b, ir.Value):
            return b
        if self.layer.bias is not None:
            return expand_like(self.emit, b, self.layer.bias)
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
        share = tensor(divide(self.emit, of, divisor))
        return self.multiple(c, share), share

    def over(self, of: ir.Value, divisor: Operand) -> ir.Value:
        """c · a / Z for R = c·a, in the order that the runtime prefers."""
        operands = [self.relevance.coefficient, of, tensor(divisor)]
        return self.emit.dialect("Share", operands, [self.relevance.coefficient])[0]

    def multiple(self, c: ir.Value, share: Operand) -> ir.Value:
        """c · share, shaped like the output."""
        return tensor(multiply(self.emit, c, share))

    def quotients(self, divisors: Sequence[Operand]) -> list[ir.Value]:
        """R over each of the sums."""
        if len(divisors) == 1 and self.relevance.factor is not None:
            return [self.over(self.relevance.factor, divisors[0])]
        whole = self.relevance.whole(self.emit)
        return [tensor(divide(self.emit, whole, divisor)) for divisor in divisors]

    def magnitude(self, is_added: bool = False) -> ir.Value:
        """relu(z) or |z|: where relevance is 0 at z ≤ 0 both serve as z.

        is_added: to a convolution, which runtimes do in one go with relu(z), in the layout in which
        they convolve.
        """
        if self.relevance.is_of_relu(self.z) and self.relevance.factor is not None:
            return self.relevance.factor
        return tensor((positive if is_added else absolute)(self.emit, self.z))

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
    return [tensor(operand) for operand in operands]
