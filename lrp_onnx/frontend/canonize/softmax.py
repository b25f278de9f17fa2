"""What behaves like a softmax becomes Softmax, or LogSoftmax.

With weights w and a constant k every spelling is

    y = w·exp(x/T) / (k + Σ w·exp(x/T)),

over some axes: w is 1, or 0 where a mask leaves out; k is 0, or 1 in a "quiet" softmax, which is
one over x and a constant log k; T is a temperature.  y at x = 0 tells w and k, since Σ y is 1 less
k's share; the slope of log y tells T.  x is what is computed before any maximum is subtracted: a
shift cancels, whatever it is.
Source: Bridle 1990, Probabilistic interpretation of feedforward classification network outputs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from lrp_onnx.frontend.canonize.dependence import TOLERANCE, Together
from lrp_onnx.frontend.canonize.probe import Probe
from lrp_onnx.graph.constants import Float
from lrp_onnx.graph.replacement import Build

__all__ = ["Softmax", "gives", "softmax_of", "write_softmax"]


@dataclass(frozen=True)
class Softmax:
    """A softmax over axes; `rest` is k, `mask` where w is not 0 (None: everywhere)."""

    axes: tuple[int, ...]
    rest: float = 0.0
    mask: Float | None = None
    logarithm: bool = False
    guarded: bool = False
    """Whether rows that are masked whole are 0, not NaN."""
    slope: float = 1.0
    """1/T."""

    def __call__(self, x: Float) -> Float:
        """y."""
        x = x * self.slope
        largest = np.maximum(x.max(self.axes, keepdims=True), np.finfo(float).min)
        powers = np.exp(x - largest) * (1.0 if self.mask is None else self.mask)
        total = powers.sum(self.axes, keepdims=True) + self.rest * np.exp(-largest)
        y = np.asarray(powers / total)
        return np.where(np.isnan(y), 0.0, y) if self.guarded else y


def softmax_of(probe: Probe, met: Together, shape: tuple[int, ...]) -> Softmax | None:
    """The softmax that a region is on inputs of a shape."""
    at_zero = probe(np.zeros(shape))
    if at_zero is None or met.groups > 1 or at_zero.max() > 1 + TOLERANCE:
        return None
    logarithm = bool(at_zero.max() <= 0)
    softmax = _read(np.exp(at_zero) if logarithm else at_zero, met.axes, logarithm)
    if softmax is None:
        return None
    rng = np.random.default_rng(0)
    softmax = replace(softmax, slope=_slope(probe, softmax, rng.standard_normal(shape)))
    draws = [rng.standard_normal(shape) * scale for scale in (1, 3, 0.3)]
    if not all(gives(probe, softmax, x) for x in draws):
        return None
    guarded = replace(softmax, guarded=True)
    masked = _masked(draws[0], met)
    return next((s for s in (softmax, guarded) if gives(probe, s, masked)), None)


def _slope(probe: Probe, softmax: Softmax, x: Float) -> float:
    """1/T: how log y goes with x where nothing is masked; 1 where it cannot be told."""
    y = probe(x)
    if y is None:
        return 1.0
    with np.errstate(all="ignore"):
        logarithms = y if softmax.logarithm else np.log(y)
    seen = np.isfinite(logarithms)
    counts = np.maximum(seen.sum(softmax.axes, keepdims=True), 1)
    a, b = (np.where(seen, v, 0) for v in (x, logarithms))
    a, b = (np.where(seen, v - v.sum(softmax.axes, keepdims=True) / counts, 0) for v in (a, b))
    if not a.any():
        return 1.0
    slope = float((a * b).sum() / (a * a).sum())
    return 1.0 if abs(slope - 1) < TOLERANCE else slope


def gives(probe: Probe, softmax: Softmax, x: Float) -> bool:
    """Whether a region gives what a softmax gives, where it gives numbers."""
    y = probe.any(x)
    if y is None:
        return False
    with np.errstate(all="ignore"):
        y, expected = np.exp(y) if softmax.logarithm else y, softmax(x)
    return bool((np.isnan(y) | (np.abs(y - expected) <= TOLERANCE)).all())


def _masked(x: Float, met: Together) -> Float:
    """With -inf at one element of each row, and in all of the first row."""
    first = tuple(slice(None) if axis in met.axes else 0 for axis in range(x.ndim))
    one = tuple(0 if axis in met.axes else slice(None) for axis in range(x.ndim))
    x = x.copy()
    x[first] = x[one] = -np.inf
    return x


def _read(at_zero: Float, axes: tuple[int, ...], logarithm: bool) -> Softmax | None:
    """w and k of y at 0."""
    present = at_zero > 0
    if at_zero.min() < 0 or not present.any():
        return None
    lacks = 1 - at_zero.sum(axes, keepdims=True)
    weights = np.where(present, at_zero, np.nan)
    with np.errstate(all="ignore"):
        ratios = (lacks / weights)[present]
    if np.isnan(ratios).any() or np.ptp(ratios) > TOLERANCE * max(1.0, np.abs(ratios).max()):
        return None
    rest = float(ratios.mean()) if abs(ratios.mean()) > TOLERANCE else 0.0
    rest = round(rest, 6) if abs(rest - round(rest, 6)) < TOLERANCE else rest
    if rest < 0 or (logarithm and rest):
        return None
    mask = None if present.all() else _varying(present.astype(np.float64))
    return Softmax(axes, rest, mask, logarithm)


def _varying(mask: Float) -> Float:
    """With size 1 along the axes where it does not vary."""
    for axis in range(mask.ndim):
        first = mask.take([0], axis)
        mask = first if (mask == first).all() else mask
    return mask


def write_softmax(build: Build, softmax: Softmax, x: ir.Value) -> ir.Value | None:
    """The nodes that compute it of x; None where the shapes that they need are not known."""
    rank, mask = len(x.shape or ()), softmax.mask
    if softmax.slope != 1:
        x = build.op("Mul", x, build.like(softmax.slope, x), like=x)
    if len(softmax.axes) > 1:
        return _flattened(build, softmax, x, rank)
    if mask is not None:
        if not _fits(mask, x):
            return None
        seen = build.constant(mask != 0, ir.DataType.BOOL)
        x = build.op("Where", seen, x, build.like(-np.inf, x))
    (axis,) = softmax.axes
    if softmax.rest:
        return _quiet(build, softmax, x, axis)
    y = _operator(build, softmax, x, axis - rank)
    if not softmax.guarded:
        return y
    zero = build.like(0.0, y)
    return build.op("Where", build.op("GreaterOrEqual", y, zero), y, zero)


def _operator(build: Build, softmax: Softmax, x: ir.Value, axis: int) -> ir.Value:
    op_type = "LogSoftmax" if softmax.logarithm else "Softmax"
    return build.outputs(op_type, 1, x, named=build.node.name, axis=axis, like=x)[0]


def _quiet(build: Build, softmax: Softmax, x: ir.Value, axis: int) -> ir.Value:
    """With log k behind x, and without its share."""
    sizes = [*(x.shape or ())]
    rank, size = len(sizes), sizes[axis]
    ends = [0] * (2 * rank)
    ends[rank + axis] = 1
    rest = build.like(float(np.log(softmax.rest)), x)
    wide = build.op("Pad", x, build.ints(*ends), rest, like=x)
    sizes[axis] = size + 1 if isinstance(size, int) else None
    wide.shape = ir.Shape(sizes)
    y = _operator(build, softmax, wide, axis - rank)
    bounds = (build.ints(0), build.ints(-1), build.ints(axis), build.ints(1))
    return build.op("Slice", y, *bounds, like=x)


def _flattened(build: Build, softmax: Softmax, x: ir.Value, rank: int) -> ir.Value | None:
    """Over several axes, as one: they go last."""
    if softmax.rest or softmax.mask is not None:
        return None
    order = [axis for axis in range(rank) if axis not in softmax.axes] + [*softmax.axes]
    first, transposed = rank - len(softmax.axes), order != sorted(order)
    last = build.op("Transpose", x, perm=order) if transposed else x
    flat = build.op("Reshape", last, build.ints(*[0] * first, -1))
    y = build.op("Reshape", _operator(build, softmax, flat, -1), build.op("Shape", last), like=last)
    back = [order.index(axis) for axis in range(rank)]
    return build.op("Transpose", y, perm=back) if transposed else y


def _fits(mask: Float, x: ir.Value) -> bool:
    """Whether it has the tensor's own sizes wherever it varies."""
    sizes = zip(mask.shape, x.shape or (), strict=True)
    return all(n in (1, size) for n, size in sizes)
