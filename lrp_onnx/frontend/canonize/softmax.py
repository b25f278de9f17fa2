"""What behaves like a softmax becomes Softmax, or LogSoftmax.

With weights w and a constant k every spelling is

    y = w·exp(x) / (k + Σ w·exp(x)),

over some axes: w is 1, or 0 where a mask leaves out; k is 0, or 1 in a "quiet" softmax, which is
one over x and a constant log k.  y at x = 0 tells both, since Σ y is 1 less k's share.  x is what
is computed before any maximum is subtracted: a shift cancels, whatever it is.
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

__all__ = ["Softmax", "softmax_of"]


@dataclass(frozen=True)
class Softmax:
    """A softmax over axes; `rest` is k, `mask` where w is not 0 (None: everywhere)."""

    axes: tuple[int, ...]
    rest: float = 0.0
    mask: Float | None = None
    logarithm: bool = False
    guarded: bool = False
    """Whether rows that are masked whole are 0, not NaN."""

    def __call__(self, x: Float) -> Float:
        """y."""
        largest = np.maximum(x.max(self.axes, keepdims=True), np.finfo(float).min)
        powers = np.exp(x - largest) * (1.0 if self.mask is None else self.mask)
        total = powers.sum(self.axes, keepdims=True) + self.rest * np.exp(-largest)
        y = np.asarray(powers / total)
        return np.where(np.isnan(y), 0.0, y) if self.guarded else y

    def write(self, build: Build, x: ir.Value) -> ir.Value | None:
        """The nodes that compute it of x; None where the shapes that they need are not known."""
        rank = len(x.shape or ())
        if len(self.axes) > 1:
            return self._flattened(build, x, rank)
        (axis,), op_type = self.axes, "LogSoftmax" if self.logarithm else "Softmax"
        name = build.node.name
        if self.mask is not None:
            if not _fits(self.mask, x):
                return None
            seen = build.constant(self.mask != 0, ir.DataType.BOOL)
            x = build.op("Where", seen, x, build.like(-np.inf, x), like=x)
        if not self.rest:
            (y,) = build.outputs(op_type, 1, x, named=name, axis=axis - rank, like=x)
            return self._guard(build, y) if self.guarded else y
        ends = [0] * (2 * rank)
        ends[rank + axis] = 1
        wide = build.op("Pad", x, build.ints(*ends), build.like(float(np.log(self.rest)), x))
        wide.type, wide.shape = x.type, _one_more(x.shape, axis)
        y = build.outputs(op_type, 1, wide, named=name, axis=axis - rank, like=wide)[0]
        bounds = (build.ints(0), build.ints(-1), build.ints(axis), build.ints(1))
        return build.op("Slice", y, *bounds, like=x)

    def _guard(self, build: Build, y: ir.Value) -> ir.Value:
        """0 in place of NaN."""
        zero = build.like(0.0, y)
        is_number = build.op("GreaterOrEqual", y, zero, like=y)
        is_number.type = ir.TensorType(ir.DataType.BOOL)
        return build.op("Where", is_number, y, zero, like=y)

    def _flattened(self, build: Build, x: ir.Value, rank: int) -> ir.Value | None:
        """Over the last axes: as one."""
        if self.axes != tuple(range(self.axes[0], rank)) or self.rest or self.mask is not None:
            return None
        flat = build.op("Reshape", x, build.ints(*[0] * self.axes[0], -1))
        flat.type, flat.shape = x.type, ir.Shape([*[*(x.shape or ())][: self.axes[0]], None])
        op_type = "LogSoftmax" if self.logarithm else "Softmax"
        y = build.outputs(op_type, 1, flat, named=build.node.name, axis=-1, like=flat)[0]
        return build.op("Reshape", y, build.op("Shape", x), like=x)


def _fits(mask: Float, x: ir.Value) -> bool:
    """Whether it has the tensor's own sizes wherever it varies."""
    sizes = zip(mask.shape, x.shape or (), strict=True)
    return all(n in (1, size) for n, size in sizes)


def _one_more(shape: ir.Shape | None, axis: int) -> ir.Shape:
    sizes = [*(shape or ())]
    size = sizes[axis]
    sizes[axis] = size + 1 if isinstance(size, int) else None
    return ir.Shape(sizes)


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
    draws = [rng.standard_normal(shape) * scale for scale in (1, 3, 0.3)]
    if not all(_is(probe, softmax, x) for x in draws):
        return None
    guarded = replace(softmax, guarded=True)
    masked = _masked(draws[0], met)
    return next((s for s in (softmax, guarded) if _is(probe, s, masked)), None)


def _is(probe: Probe, softmax: Softmax, x: Float) -> bool:
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
