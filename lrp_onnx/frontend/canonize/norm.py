"""What behaves like a norm by mean and deviation becomes one operator.

With the mean m and the variance v of x over some axes, every spelling is

    y = (x − m)/d·γ + β,    d = √(v + ε), √v + ε or max(√v, ε),

γ and β varying along these axes, or along the channels.  Where v is large ε does not count, so
that the results for x and −x tell β, half their sum, and γ, half their difference over (x − m)/√v;
d follows from y where v is as large as ε.  A factor of v (n/(n − 1), say) is one of γ and ε.
Sources: Ba et al. 2016, Layer normalization; Ulyanov et al. 2016, Instance normalization; Wu and
He 2018, Group normalization.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from lrp_onnx.frontend.canonize.dependence import Together, agree
from lrp_onnx.frontend.canonize.probe import Probe
from lrp_onnx.graph.constants import Float
from lrp_onnx.graph.replacement import Build

__all__ = ["DEVIATIONS", "Norm", "norm_of"]

DEVIATIONS: dict[str, Callable[[Float, float], Float]] = {
    "in the root": lambda root, e: np.sqrt(root * root + e),
    "behind the root": lambda root, e: root + e,
    "at least": np.maximum,
}
"""d, given √v and ε, by where ε stands."""
EPSILON: dict[str, Callable[[float, float], float]] = {
    "in the root": lambda root, d: d * d - root * root,
    "behind the root": lambda root, d: d - root,
    "at least": lambda root, d: d,
}
"""ε, given √v and d."""
FEWEST = 3
"""Of fewer elements a norm says nothing."""
LARGE, OFFSET = 1e5, 0.7
CLOSE = 1e-4
"""So far √v/d may be from what ε and its place say."""
DECADES = 10.0 ** -np.arange(10)


@dataclass(frozen=True)
class Norm:
    """A norm: over what, γ and β (None for 1 and 0), ε and where it stands."""

    met: Together
    scale: Float | None
    bias: Float | None
    epsilon: float = 0.0
    place: str = "in the root"
    centered: bool = True
    """Whether the mean is subtracted; where it is not v is the mean of x²."""

    def __call__(self, x: Float) -> Float:
        n, root = standardized(x, self.met, self.centered)
        d = DEVIATIONS[self.place](root, self.epsilon)
        y = (n * root / d).reshape(x.shape) * (1.0 if self.scale is None else self.scale)
        return np.asarray(y + (0.0 if self.bias is None else self.bias))


    def again(self, probe: Probe, shape: tuple[int, ...]) -> Norm | None:
        """The norm of a region with other γ and β, if it is one with the same ε."""
        norm, _ = _affine_norm(probe, self.met, shape, self.centered)
        found = norm and replace(norm, epsilon=self.epsilon, place=self.place)
        return found if found and _holds(probe, found, shape) else None

    def write(self, build: Build, x: ir.Value) -> ir.Value | None:
        """The operator that says it; None where no operator does."""
        name, rank, double = build.node.name, len(x.shape or ()), x.dtype == ir.DataType.DOUBLE
        if not self.centered:
            return None if self.met.groups > 1 else self._by_size(build, x, rank)
        plain = self.place == "in the root" and not (double and self.met.groups == 1)
        channels = x.shape[1] if x.shape is not None and rank > 1 else None
        if self.met.groups > 1:
            if not plain or not isinstance(channels, int):
                return None
            constants = self._constants(build, x, (channels,), always=False)
            groups = {"num_groups": self.met.groups, "epsilon": self.epsilon, "domain": "lrp"}
            return build.outputs("GroupNormalization", 1, x, *constants, named=name, **groups)[0]
        sizes = self._last_sizes(x)
        if plain and sizes is not None and self._varies_along(self.met.axes):
            constants = self._constants(build, x, sizes, always=False)
            own = {"axis": self.met.axes[0] - rank, "epsilon": self.epsilon}
            return build.outputs("LayerNormalization", 1, x, *constants, named=name, **own)[0]
        if plain and self.met.axes == tuple(range(2, rank)) and isinstance(channels, int):
            if self._varies_along((1,)) and (self.scale is not None or self.bias is not None):
                constants = self._constants(build, x, (channels,), always=True)
                own = {"named": name, "epsilon": self.epsilon}
                return build.outputs("InstanceNormalization", 1, x, *constants, **own)[0]
        return self._by_statistics(build, x, rank)

    def _last_sizes(self, x: ir.Value) -> tuple[int, ...] | None:
        """The sizes of the axes, if these are the last ones and all is known."""
        shape = [*(x.shape or ())]
        sizes = tuple(n for axis in self.met.axes if isinstance(n := shape[axis], int))
        last = self.met.axes == tuple(range(len(shape) - len(self.met.axes), len(shape)))
        return sizes if last and len(sizes) == len(self.met.axes) else None

    def _varies_along(self, axes: tuple[int, ...]) -> bool:
        """Whether γ and β vary along no other axes."""
        arrays = [a for a in (self.scale, self.bias) if a is not None]
        return all(n == 1 or axis in axes for a in arrays for axis, n in enumerate(a.shape))

    def _constants(
        self, build: Build, x: ir.Value, sizes: tuple[int, ...], always: bool
    ) -> list[ir.Value]:
        """γ and β of those sizes; β only where there is one, or always."""
        assert x.dtype is not None
        ones, zeros = np.ones(1), np.zeros(1) if always else None
        parts = {"scale": self.scale if self.scale is not None else ones,
                 "bias": self.bias if self.bias is not None else zeros}  # fmt: skip
        return [
            build.constant(np.broadcast_to(a.reshape(-1) if a.size == 1 else a.reshape(
                [n for n in a.shape if n != 1] if len(sizes) == 1 else a.shape[-len(sizes):]
            ), sizes), x.dtype, part)
            for part, a in parts.items() if a is not None
        ]  # fmt: skip

    def _by_statistics(self, build: Build, x: ir.Value, rank: int) -> ir.Value:
        """`lrp::Norm`, which reads the mean and the deviation."""
        axes = build.ints(*(axis - rank for axis in self.met.axes))
        mean = build.op("ReduceMean", x, axes, keepdims=1)
        mean.type, mean.shape = x.type, self._reduced(x)
        deviation = self._deviation(build, build.op("Sub", x, mean, like=x), axes)
        constants = [None if a is None else _like(build, a, x) for a in (self.scale, self.bias)]
        own = {"domain": "lrp", "named": build.node.name, "axes": [a - rank for a in self.met.axes]}
        return build.outputs("Norm", 1, x, *constants, mean, deviation, **own)[0]

    def _by_size(self, build: Build, x: ir.Value, rank: int) -> ir.Value:
        """x/d·γ + β, whose divisor relevance passes by."""
        deviation = self._deviation(build, x, build.ints(*(a - rank for a in self.met.axes)))
        y = build.op("Div", x, deviation, like=x)
        y = y if self.scale is None else build.op("Mul", y, _like(build, self.scale, x), like=x)
        return y if self.bias is None else build.op("Add", y, _like(build, self.bias, x), like=x)

    def _deviation(self, build: Build, centered: ir.Value, axes: ir.Value) -> ir.Value:
        """d."""
        squares = build.op("Mul", centered, centered, like=centered)
        variance = build.op("ReduceMean", squares, axes, keepdims=1)
        variance.type, variance.shape = centered.type, self._reduced(centered)
        epsilon = build.like(self.epsilon, centered)
        if self.place == "in the root":
            return build.op("Sqrt", build.op("Add", variance, epsilon, like=variance), like=variance)
        op_type = "Add" if self.place == "behind the root" else "Max"
        return build.op(op_type, build.op("Sqrt", variance, like=variance), epsilon, like=variance)

    def _reduced(self, x: ir.Value) -> ir.Shape:
        return ir.Shape([1 if k in self.met.axes else n for k, n in enumerate(x.shape or ())])


def _like(build: Build, array: Float, x: ir.Value) -> ir.Value:
    assert x.dtype is not None
    return build.constant(array, x.dtype)


def standardized(x: Float, met: Together, centered: bool) -> tuple[Float, Float]:
    """(x − m)/√v and √v, the groups on an axis of their own."""
    apart, axes = met.apart(x), met.apart_axes
    deviations = apart - apart.mean(axes, keepdims=True) if centered else apart
    root = np.sqrt((deviations * deviations).mean(axes, keepdims=True))
    return deviations / np.where(root > 0, root, 1.0), root


def norm_of(
    probe: Probe, met: Together, shape: tuple[int, ...], centered: bool = True
) -> Norm | None:
    """The norm that a region is on inputs of a shape."""
    norm, n = _affine_norm(probe, met, shape, centered)
    if norm is None:
        return None
    place = _epsilon_of(probe, n, norm)
    found = None if place is None else replace(norm, epsilon=place[0], place=place[1])
    return found if found and _holds(probe, found, shape) else None


def _affine_norm(
    probe: Probe, met: Together, shape: tuple[int, ...], centered: bool
) -> tuple[Norm | None, Float]:
    """The norm as far as large inputs tell it, and (x − m)/√v of what was tried."""
    x = np.random.default_rng(0).standard_normal(shape)
    n = standardized(x, met, centered)[0].reshape(shape)
    if np.prod([met.apart(x).shape[axis] for axis in met.apart_axes]) < FEWEST:
        return None, n
    above, below = (probe(sign * LARGE * _of_root_one(n, centered)) for sign in (1, -1))
    if above is not None and below is not None:
        for axes in _parameter_axes(met, x.ndim):
            scale, bias = _affine(n, above, below, axes)
            if agree(above, n * scale + bias) and np.abs(scale).max() > 0:
                gamma = None if np.abs(scale - 1).max() < 1e-9 else scale
                beta = bias if bias.any() else None
                return Norm(met, gamma, beta, centered=centered), n
    return None, n


def _of_root_one(n: Float, centered: bool) -> Float:
    """An input whose v is 1."""
    return n + OFFSET if centered else n


def _parameter_axes(met: Together, rank: int) -> Iterator[tuple[int, ...]]:
    """Along which axes γ and β may vary: those of the norm, else the channels."""
    if met.groups == 1:
        yield met.axes
    if met.groups > 1 or met.axes == tuple(range(2, rank)):
        yield (1,)
    elif met.axes == tuple(range(1, rank - 1)):
        yield (rank - 1,)


def _affine(n: Float, above: Float, below: Float, axes: tuple[int, ...]) -> tuple[Float, Float]:
    """γ and β by least squares, of size 1 along all other axes."""
    others = tuple(axis for axis in range(n.ndim) if axis not in axes)
    squares = (n * n).sum(others, keepdims=True)
    scale = ((above - below) / 2 * n).sum(others, keepdims=True) / squares
    bias = ((above + below) / 2).mean(others, keepdims=True)
    noise = 1e-9 * np.abs(above).max()
    return scale, np.where(np.abs(bias) < noise, 0.0, bias)


def _epsilon_of(probe: Probe, n: Float, norm: Norm) -> tuple[float, str] | None:
    """ε and its place: √v goes down by decades until ε counts."""
    ratios = np.array([_ratio(probe, n, root, norm) for root in DECADES])
    if np.abs(ratios - 1).max() < 1e-7:
        return 0.0, "in the root"
    counts = np.flatnonzero(ratios < 0.95)
    if not len(counts) or np.isnan(ratios).any() or ratios[counts[0]] <= 0:
        return None
    root, d = DECADES[counts[0]], DECADES[counts[0]] / ratios[counts[0]]
    for place, epsilon_of in EPSILON.items():
        epsilon = float(epsilon_of(root, d))
        expected = DECADES / DEVIATIONS[place](DECADES, epsilon)
        if np.abs(expected - ratios).max() < CLOSE:
            return epsilon, place
    return None


def _ratio(probe: Probe, n: Float, root: float, norm: Norm) -> float:
    """√v/d at a √v."""
    y = probe(root * _of_root_one(n, norm.centered))
    if y is None:
        return np.nan
    whole = n * (1.0 if norm.scale is None else norm.scale)
    bias = 0.0 if norm.bias is None else norm.bias
    return float(((y - bias) * whole).sum() / (whole * whole).sum())


def _holds(probe: Probe, norm: Norm, shape: tuple[int, ...]) -> bool:
    """Whether the region is the norm on inputs of several sizes, each group with its own."""
    rng = np.random.default_rng(1)
    draws = [scale * rng.standard_normal(shape) + scale for scale in (1.0, 1e-2)]
    return all(agree(probe(x), norm(x)) for x in draws)
