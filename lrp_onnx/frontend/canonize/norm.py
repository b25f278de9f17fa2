"""What behaves like a norm by mean and deviation becomes one operator.

With the mean m and the variance v of x over some axes, every spelling is

    y = (x − m)/d·γ + β,    d = √(v + ε), √v + ε or max(√v, ε),

γ and β varying along these axes, or along the channels.  Where v is large ε does not count, so
that the results for x and −x tell β, half their sum, and γ, half their difference over (x − m)/√v;
d follows from y where v is as large as ε.  A factor of v (n/(n − 1), say) is one of γ and ε.

The operator that says it is one of the standard where there is one, else `lrp::Norm`:
LayerNormalization is over the last axes, their sizes known; InstanceNormalization over those behind
the channels; `lrp::GroupNormalization` over groups of channels.  Their ε stands in the root, and is
too coarse for float64.  Any other norm reads its mean and its deviation.

Sources: Ba et al. 2016, Layer normalization; Ulyanov et al. 2016, Instance normalization; Wu and
He 2018, Group normalization.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir

from lrp_onnx.frontend.canonize.dependence import Together, agree
from lrp_onnx.frontend.canonize.probe import Probe
from lrp_onnx.graph.constants import Float
from lrp_onnx.graph.replacement import Build

__all__ = ["DEVIATIONS", "Norm", "norm_of", "write_norm"]

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
LARGE, OFFSET = 1e5, 0.7
LEAST = 1e-3
"""√v/d at √v = 1 of what is a norm at LARGE; of x less its mean it is 1/LARGE."""
CLOSE = 1e-4
"""So far √v/d may be from what ε and its place say."""
DECADES: Float = 10.0 ** -np.arange(10.0)


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
        """y."""
        n, root = standardized(x, self.met, self.centered)
        d = DEVIATIONS[self.place](root, self.epsilon)
        y = (n * root / d).reshape(x.shape) * (1.0 if self.scale is None else self.scale)
        return np.asarray(y + (0.0 if self.bias is None else self.bias))

    def again(self, probe: Probe, shape: tuple[int, ...]) -> Norm | None:
        """The norm of a region with other γ and β, if it is one with the same ε."""
        norm, _ = _affine_norm(probe, self.met, shape, self.centered)
        whole = norm and replace(norm, epsilon=self.epsilon, place=self.place)
        return whole if whole and _holds(probe, whole, shape) else None


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
    whole = None if place is None else replace(norm, epsilon=place[0], place=place[1])
    return whole if whole and _holds(probe, whole, shape) else None


def _affine_norm(
    probe: Probe, met: Together, shape: tuple[int, ...], centered: bool
) -> tuple[Norm | None, Float]:
    """The norm as far as large inputs tell it, and (x − m)/√v of what was tried."""
    x = np.random.default_rng(0).standard_normal(shape)
    n = standardized(x, met, centered)[0].reshape(shape)
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
    """Along which axes γ and β may vary: those of the norm, else the channels, whose groups may
    have an axis of their own.
    """
    if met.groups > 1:
        yield (met.channels,)
        return
    yield met.axes
    others = [axis for axis in range(rank) if axis not in met.axes]
    if len(others) == 2 and others[0] == 0:
        yield (others[1],)
        if len(met.axes) > 1:
            yield (others[1], others[1] + 1)


def _affine(n: Float, above: Float, below: Float, axes: tuple[int, ...]) -> tuple[Float, Float]:
    """γ and β by least squares, of size 1 along all other axes."""
    others = tuple(axis for axis in range(n.ndim) if axis not in axes)
    squares = (n * n).sum(others, keepdims=True)
    scale = ((above - below) / 2 * n).sum(others, keepdims=True) / squares
    bias = ((above + below) / 2).mean(others, keepdims=True)
    noise = 1e-9 * np.abs(above).max()
    return _varying(scale, noise), _varying(np.where(np.abs(bias) < noise, 0.0, bias), noise)


def _varying(parameter: Float, noise: float) -> Float:
    """With size 1 along the axes where it does not vary: these may have other sizes."""
    for axis in range(parameter.ndim):
        if np.ptp(parameter, axis).max() < noise:
            parameter = parameter.mean(axis, keepdims=True)
    return parameter


def _epsilon_of(probe: Probe, n: Float, norm: Norm) -> tuple[float, str] | None:
    """ε and its place: √v goes down by decades until ε counts."""
    ratios = np.array([_ratio(probe, n, root, norm) for root in DECADES])
    if np.abs(ratios - 1).max() < 1e-7:
        return 0.0, "in the root"
    counts = np.flatnonzero(ratios < 0.95)
    if not len(counts) or np.isnan(ratios).any() or ratios[counts[0]] <= 0 or ratios[0] < LEAST:
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
    """Whether the region is the norm on an input whose rows are of several sizes."""
    sizes = np.geomspace(1, 1e-2, shape[0]).reshape(-1, *[1] * (len(shape) - 1))
    x = sizes * (np.random.default_rng(1).standard_normal(shape) + 1)
    return agree(probe(x), norm(x))


def write_norm(build: Build, norm: Norm, x: ir.Value) -> ir.Value | None:
    """The norm of x; None where no operator says it."""
    if norm.met.groups > 1:
        return _group_norm(build, norm, x)
    if not norm.centered:
        return _by_size(build, norm, x)
    sizes, channels = _last_sizes(norm, x), _channels(norm, x)
    if norm.place != "in the root" or x.dtype == ir.DataType.DOUBLE:
        return _by_statistics(build, norm, x)
    if sizes is not None and _varies_along(norm, norm.met.axes):
        axis = -len(sizes)
        return _operator(build, "LayerNormalization", norm, x, sizes, False, axis=axis)
    if channels is not None and _varies_along(norm, (1,)) and not _is_plain(norm):
        return _operator(build, "InstanceNormalization", norm, x, (channels,), True)
    return _by_statistics(build, norm, x)


def _group_norm(build: Build, norm: Norm, x: ir.Value) -> ir.Value | None:
    at = norm.met.channels
    channels = x.shape[at] if x.shape is not None else None
    if not norm.centered or norm.place != "in the root" or not isinstance(channels, int):
        return None
    own = {"domain": "lrp", "num_groups": norm.met.groups}
    if at == 1:
        return _operator(build, "GroupNormalization", norm, x, (channels,), False, **own)
    order = [0, at, *(axis for axis in norm.met.axes if axis != at)]
    first = build.op("Transpose", x, perm=order)
    y = _operator(build, "GroupNormalization", norm, first, (channels,), False, **own)
    y.type, y.shape = first.type, first.shape
    return build.op("Transpose", y, perm=[order.index(axis) for axis in range(len(order))])


def _operator(
    build: Build,
    op_type: str,
    norm: Norm,
    x: ir.Value,
    sizes: Sequence[int],
    always_biased: bool,
    **attributes: Any,
) -> ir.Value:
    """An operator with γ and β of those sizes."""
    assert x.dtype is not None
    scale = np.ones(1) if norm.scale is None else norm.scale
    bias = np.zeros(1) if norm.bias is None and always_biased else norm.bias
    parts = [("scale", scale)] + ([] if bias is None else [("bias", bias)])
    constants = [build.constant(_of_sizes(a, sizes), x.dtype, part) for part, a in parts]
    name, epsilon = build.node.name, norm.epsilon
    own = {"named": name, "epsilon": epsilon, **attributes}
    return build.outputs(op_type, 1, x, *constants, **own)[0]


def _of_sizes(array: Float, sizes: Sequence[int]) -> Float:
    """Its elements, which vary along axes of those sizes alone."""
    if array.size not in (1, np.prod(sizes)):
        return np.broadcast_to(array.reshape(array.shape[-len(sizes) :]), sizes)
    return np.broadcast_to(array.reshape(sizes if array.size > 1 else 1), sizes)


def _last_sizes(norm: Norm, x: ir.Value) -> tuple[int, ...] | None:
    """The sizes of the axes, if these are the last ones and all is known."""
    shape, axes = [*(x.shape or ())], norm.met.axes
    sizes = tuple(n for axis in axes if isinstance(n := shape[axis], int))
    last = axes == tuple(range(len(shape) - len(axes), len(shape)))
    return sizes if last and len(sizes) == len(axes) else None


def _channels(norm: Norm, x: ir.Value) -> int | None:
    """How many channels there are, if the axes are all behind them."""
    shape = [*(x.shape or ())]
    if norm.met.axes != tuple(range(2, len(shape))):
        return None
    return shape[1] if isinstance(shape[1], int) else None


def _varies_along(norm: Norm, axes: Sequence[int]) -> bool:
    """Whether γ and β vary along no other axes."""
    arrays = [a for a in (norm.scale, norm.bias) if a is not None]
    return all(n == 1 or axis in axes for a in arrays for axis, n in enumerate(a.shape))


def _is_plain(norm: Norm) -> bool:
    return norm.scale is None and norm.bias is None


def _by_statistics(build: Build, norm: Norm, x: ir.Value) -> ir.Value:
    """`lrp::Norm`."""
    axes = _from_back(norm, x)
    mean = build.op("ReduceMean", x, build.ints(*axes), keepdims=1)
    mean.type, mean.shape = x.type, _reduced(norm, x)
    deviation = _deviation(build, norm, build.op("Sub", x, mean, like=x))
    constants = [None if a is None else _like(build, a, x) for a in (norm.scale, norm.bias)]
    name = build.node.name
    return build.outputs(
        "Norm", 1, x, *constants, mean, deviation, domain="lrp", named=name, axes=axes
    )[0]


def _by_size(build: Build, norm: Norm, x: ir.Value) -> ir.Value:
    """x/d·γ + β: relevance passes by the divisor."""
    y = build.op("Div", x, _deviation(build, norm, x), like=x)
    y = y if norm.scale is None else build.op("Mul", y, _like(build, norm.scale, x), like=x)
    return y if norm.bias is None else build.op("Add", y, _like(build, norm.bias, x), like=x)


def _deviation(build: Build, norm: Norm, centered: ir.Value) -> ir.Value:
    """d of x − m, or of x."""
    squares = build.op("Mul", centered, centered, like=centered)
    variance = build.op("ReduceMean", squares, build.ints(*_from_back(norm, centered)), keepdims=1)
    variance.type, variance.shape = centered.type, _reduced(norm, centered)
    epsilon = build.like(norm.epsilon, centered)
    if norm.place == "in the root":
        shifted = build.op("Add", variance, epsilon, like=variance)
        return build.op("Sqrt", shifted, like=variance)
    op_type = "Add" if norm.place == "behind the root" else "Max"
    root = build.op("Sqrt", variance, like=variance)
    return build.op(op_type, root, epsilon, like=variance)


def _from_back(norm: Norm, x: ir.Value) -> list[int]:
    return [axis - len(x.shape or ()) for axis in norm.met.axes]


def _reduced(norm: Norm, x: ir.Value) -> ir.Shape:
    return ir.Shape([1 if k in norm.met.axes else n for k, n in enumerate(x.shape or ())])


def _like(build: Build, array: Float, x: ir.Value) -> ir.Value:
    assert x.dtype is not None
    return build.constant(array, x.dtype)
