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

from lrp_onnx.frontend.canonize.dependence import Together, agree
from lrp_onnx.frontend.canonize.probe import Probe
from lrp_onnx.graph.constants import Float

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
LARGE, OFFSET = 1e5, 0.7
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
    """Whether the region is the norm on an input whose rows are of several sizes."""
    sizes = np.geomspace(1, 1e-2, shape[0]).reshape(-1, *[1] * (len(shape) - 1))
    x = sizes * (np.random.default_rng(1).standard_normal(shape) + 1)
    return agree(probe(x), norm(x))
