"""Central differences of a model's output in float64, at a point off its kinks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from wide import Array, Wide, wide

STEP = 1e-5
FEW = 12
"""Inputs with no more elements are moved one by one."""
AMPLITUDES = (*[2e-2] * 6, 1e-3, 1e-4, 0.0)
"""How far inputs are moved off the kinks they may lie on, until the forward is smooth around."""


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
) -> Slope:
    """Along a random direction with two steps; then element by element, or another direction."""
    x = wide(np.asarray(feeds[name]))
    finite = np.isfinite(x)

    def along(d: Array, h: float) -> float:
        above, below = (forward({**feeds, name: x + sign * h * d}) for sign in (1, -1))
        if above.shape != seed.shape or below.shape != seed.shape:
            return np.nan
        with np.errstate(all="ignore"):
            change = above - below
        return float(np.sum(seed * np.where(seed == 0, 0, change)) / (2 * h))

    first = rng.standard_normal(x.shape) * finite
    near, far = along(first, STEP), along(first, STEP / 3)
    directions, values = [first], [near]
    if not coarse:
        others = [rng.standard_normal(x.shape) * finite]
        if 0 < x.size <= FEW:
            others = list(np.eye(x.size).reshape(-1, *x.shape) * finite)
        directions += others
        values += [along(d, STEP) for d in others]
    found = np.array(values)
    scale = np.abs(found).max(initial=0)
    smooth = bool(np.isfinite(found).all() and abs(near - far) <= 1e-5 * scale + 1e-8)
    return Slope(directions, found, smooth)


def smooth_point(
    model: onnx.ModelProto,
    feeds: Mapping[str, Any],
    floats: list[str],
    output: str,
    rng: np.random.Generator,
    coarse: bool = False,
) -> Point:
    """Feeds near the given ones, off the kinks; what the forward does on the way may fail."""
    evaluator, element = Wide(model), _element_type(model, output)
    given = _quietly(evaluator, [output], feeds)[0]
    best: Point | None = None
    for amplitude in AMPLITUDES:
        moved = {n: _moved(v, amplitude, rng) if n in floats else v for n, v in feeds.items()}
        try:
            outputs = dict(
                zip(evaluator.output_names, _quietly(evaluator, None, moved), strict=True)
            )
            y = outputs[output]
            if y.shape != given.shape or np.isfinite(y).sum() < np.isfinite(given).sum():
                continue
            seed = np.where(np.isfinite(y), rng.standard_normal(y.shape), 0).astype(element)
            slopes = {
                n: slope(lambda v: _quietly(evaluator, [output], v)[0], moved, n, seed, rng, coarse)
                for n in floats
            }
        except Exception:
            if amplitude == AMPLITUDES[-1] and best is None:
                raise
            continue
        best = Point(moved, outputs, seed, slopes)
        if best.smooth:
            break
    assert best is not None
    return best


def _quietly(evaluator: Wide, names: list[str] | None, feeds: Mapping[str, Any]) -> list[Any]:
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
