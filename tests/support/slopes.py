"""Central differences of a model's output in float64, at a point off its kinks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from float64 import Array, Float64Evaluator, float64

STEP = 1e-5
OTHER_STEP = STEP / 7**0.5
"""Not a whole part of STEP, which crosses as many times the kinks of a sawtooth: Mod."""
AMPLITUDES = (*[2e-2] * 6, 0.2, 1e-3, 1e-4, 0.0)
"""How far inputs are moved off the kinks they may lie on, until the forward is smooth around."""
TRIES = [*((amplitude, False) for amplitude in AMPLITUDES), (0.0, True)]
"""At last equal elements stay equal, since an operator may count them: Unique."""


@dataclass
class Slope:
    """Differences of Σ seed·y along directions in one input."""

    directions: list[Array]
    values: Array
    smooth: bool
    """Whether two steps agree."""

    @property
    def flat(self) -> bool:
        return not np.abs(self.values).max(initial=0) > 1e-9

    def of(self, gradient: Array) -> tuple[Array, float]:
        """The slopes that a gradient would have, and what errors are measured against."""
        along = np.array([np.sum(gradient * d) for d in self.directions])
        scale = max(np.linalg.norm(gradient), np.abs(self.values).max(initial=0))
        return along, float(scale)


@dataclass
class Point:
    """Where a forward is differentiated: feeds, outputs there, the seed, the slopes by input."""

    feeds: dict[str, Any]
    outputs: dict[str, Any]
    seed: Array
    slopes: dict[str, Slope]

    @property
    def smooth(self) -> bool:
        return all(s.smooth for s in self.slopes.values())

    @property
    def flat(self) -> bool:
        return all(s.flat for s in self.slopes.values())


def slope(
    forward: Callable[[dict[str, Any]], Array],
    feeds: Mapping[str, Any],
    name: str,
    seed: Array,
    rng: np.random.Generator,
    coarse: bool = False,
    alike: bool = False,
) -> Slope:
    """Along two random directions, or one of a number alone, each with two steps.

    With `alike`, equal elements move together.
    """
    x = float64(np.asarray(feeds[name]))
    finite = np.isfinite(x)
    elements, place = np.unique(x, return_inverse=True) if alike else (x.ravel(), np.arange(x.size))

    def spread(moves: Array) -> Array:
        return moves[place].reshape(x.shape) * finite

    def along(d: Array, h: float) -> float:
        above, below = (forward({**feeds, name: x + sign * h * d}) for sign in (1, -1))
        if above.shape != seed.shape or below.shape != seed.shape:
            return np.nan
        with np.errstate(all="ignore"):
            change = above - below
        return float(np.sum(seed * np.where(seed == 0, 0, change)) / (2 * h))

    count = 1 if coarse or elements.size == 1 else 2
    directions = [spread(rng.standard_normal(elements.shape)) for _ in range(count)]
    found = np.array([along(d, STEP) for d in directions])
    again = np.array([along(d, OTHER_STEP) for d in directions])
    scale = np.abs(found).max(initial=0)
    agree = np.abs(found - again) <= 1e-5 * scale + 1e-8
    return Slope(directions, found, bool(np.isfinite(found).all() and agree.all()))


def smooth_point(
    model: onnx.ModelProto,
    feeds: Mapping[str, Any],
    floats: list[str],
    output: str,
    rng: np.random.Generator,
    coarse: bool = False,
) -> Point:
    """Feeds near the given ones, off the kinks; what the forward does on the way may fail."""
    evaluator, element = Float64Evaluator(model), _element_type(model, output)
    given = _quietly(evaluator, [output], feeds)[0]
    best: Point | None = None

    def at(v: dict[str, Any]) -> Array:
        return np.asarray(_quietly(evaluator, [output], v)[0])

    for amplitude, alike in TRIES:
        moved = {n: _moved(v, amplitude, rng) if n in floats else v for n, v in feeds.items()}
        try:
            outputs = dict(
                zip(evaluator.output_names, _quietly(evaluator, None, moved), strict=True)
            )
            y = outputs[output]
            if y.shape != given.shape or np.isfinite(y).sum() < np.isfinite(given).sum():
                continue
            seed = np.where(np.isfinite(y), rng.standard_normal(y.shape), 0).astype(element)
            slopes = {n: slope(at, moved, n, seed, rng, coarse, alike) for n in floats}
        except Exception:
            if alike and best is None:
                raise
            continue
        point = Point(moved, outputs, seed, slopes)
        best = point if best is None or point.smooth or not alike else best
        if best.smooth:
            break
    assert best is not None
    return best


def _quietly(
    evaluator: Float64Evaluator, names: list[str] | None, feeds: Mapping[str, Any]
) -> list[Any]:
    with np.errstate(all="ignore"):
        return evaluator.run(names, dict(feeds))


def _moved(value: Any, amplitude: float, rng: np.random.Generator) -> Array:
    """The value moved at random, still in its own precision."""
    value = np.asarray(value)
    there = value.astype(np.float64) + amplitude * rng.uniform(-1, 1, value.shape)
    return np.asarray(there.astype(value.dtype))


def _element_type(model: onnx.ModelProto, output: str) -> Any:
    (y,) = (v for v in model.graph.output if v.name == output)
    return onnx.helper.tensor_dtype_to_np_dtype(y.type.tensor_type.elem_type)
