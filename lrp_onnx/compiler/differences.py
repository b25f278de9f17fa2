"""By how much the compiled graph's forward differs from the original's, and what is allowed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from lrp_onnx.analysis.precision import coarsest
from lrp_onnx.analysis.quantizer_step import quantizer_step
from lrp_onnx.compiler.judge import judge
from lrp_onnx.data.samples import is_added
from lrp_onnx.graph.annotations import CONDITION, OTHER, each_output, stamp_of
from lrp_onnx.graph.arrays import Array
from lrp_onnx.graph.limits import Budget, limit_of_run
from lrp_onnx.graph.map_outputs import numbers_of
from lrp_onnx.graph.model_file import ModelSource
from lrp_onnx.graph.session import runtime_form
from lrp_onnx.lowering.half_precision import round_halves

__all__ = [
    "TOLERANCES",
    "Differences",
    "extra_feeds",
    "forward_differences",
    "own_differences",
    "relative_difference",
    "run_in_half",
]

TOLERANCES = {"float64": 1e-9, "float32": 1e-5, "float16": 1e-3, "bfloat16": 1e-2}
"""Largest relative difference of an output, max|Δ| / max|y|, by the dtype that it is computed in;
other dtypes must be equal.
"""

ROUNDINGS = 2
"""So many times its own difference between two orders of the same sums an output may differ."""
Differences = dict[str, tuple[float, float]]
"""Per output: its relative difference and what is allowed."""


def forward_differences(
    source: ModelSource, model: ir.Model, feeds: Mapping[str, Array], expected: Mapping[str, Array]
) -> Differences:
    """Run the compiled graph's forward alone and compare each output with the original's.

    Where it differs by more than its arithmetic tells, ROUNDINGS times as much is allowed as the
    original differs from itself where the runtime optimizes it.
    """
    values = {str(v.name): v for v in model.graph.outputs}
    with runtime_form(_forward_part(model, list(expected))) as form:
        outputs = judge(form, budget=limit_of_run(model)).run(feeds, list(expected))
    coarse = coarsest(model.graph)
    differences = {
        name: _difference(values[name], coarse.get(values[name]), outputs[name], y)
        for name, y in expected.items()
    }
    if all(difference <= allowed for difference, allowed in differences.values()):
        return differences
    own = own_differences(source, feeds, expected, limit_of_run(model))
    return {
        name: (
            difference,
            max(allowed, ROUNDINGS * own[name]) if allowed and own[name] < np.inf else allowed,
        )
        for name, (difference, allowed) in differences.items()
    }


def own_differences(
    source: ModelSource,
    feeds: Mapping[str, Array],
    expected: Mapping[str, Array],
    budget: Budget | None = None,
) -> dict[str, float]:
    """By how much the original differs from itself where the runtime optimizes it, per output."""
    with runtime_form(source) as form:
        again = judge(form, plain=False, budget=budget).run(feeds, list(expected))
    return {name: relative_difference(again[name], y)[0] for name, y in expected.items()}


def run_in_half(model: ir.Model, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """The outputs as a runtime with float16 kernels has them, up to how it adds; the graph keeps
    the roundings as nodes afterwards.
    """
    round_halves(model)
    with runtime_form(model) as form:
        return judge(form, plain=False).run(feeds)


def _forward_part(model: ir.Model, names: Sequence[str]) -> ir.Model:
    """The model without its explanation."""
    graph = model.graph
    inputs = [v for v in graph.inputs if not is_added(model, v)]
    ends = [v for v in graph.outputs if v.name in names]
    part = ir.convenience.extract(graph, inputs, ends)
    return ir.Model(part, ir_version=model.ir_version)


def _difference(
    output: ir.Value, inside: ir.DataType | None, actual: Array, expected: Array
) -> tuple[float, float]:
    """The relative difference and what is allowed: that of the coarsest arithmetic inside, or one
    step of a quantizer, if there is one.

    inside: float16 or bfloat16, where that is computed in.
    """
    actual, expected = np.asarray(numbers_of(actual)), np.asarray(numbers_of(expected))
    if output.dtype == ir.DataType.DOUBLE and np.float32 in (actual.dtype, expected.dtype):
        # judged in float32, for want of a kernel
        actual, expected = actual.astype(np.float32), expected.astype(np.float32)
    difference, allowed = relative_difference(actual, expected)
    if not allowed or not np.size(expected):
        return difference, allowed
    allowed = max(allowed, TOLERANCES[inside.name.lower()] if inside is not None else 0.0)
    largest = float(np.abs(np.asarray(expected, np.float64)).max())
    step = quantizer_step(output, expected)
    return difference, max(allowed, step / largest) if largest > 0 else allowed


def extra_feeds(
    model: ir.Model, feeds: Mapping[str, Array], expected: Mapping[str, Array]
) -> dict[str, Array]:
    """The inputs that the compiler added: class 0 for each sample, or a seed of ones, and masks of
    ones.
    """
    explained = [one["output"] for one in each_output(stamp_of(model.metadata_props))]
    extra: dict[str, Array] = {}
    for value in model.graph.inputs:
        if not is_added(model, value) or value.name is None or value.name in feeds:
            continue
        seeded = value.name.removesuffix("_seed").removesuffix(OTHER)
        y = expected.get(seeded if seeded in explained else explained[0])
        if y is None:
            continue
        if value.name == "target":
            size = value.shape[0] if value.shape is not None else None
            extra[value.name] = np.zeros(size if isinstance(size, int) else y.shape[0], np.int64)
        elif value.name.endswith(CONDITION):
            extra[value.name] = np.ones((1, _channels(value)), np.float32)
        else:
            double = value.dtype == ir.DataType.DOUBLE
            extra[value.name] = np.ones(y.shape, np.float64 if double else np.float32)
    return extra


def _channels(condition: ir.Value) -> int:
    """How many a condition's input has; where only the run knows, one that is broadcast."""
    size = None if condition.shape is None else condition.shape[1]
    return size if isinstance(size, int) else 1


def relative_difference(actual: Array, expected: Array) -> tuple[float, float]:
    """max|Δ| / max|expected| and what is allowed for the dtype; NaN and infinities must be where
    they were.
    """
    actual, expected = np.asarray(actual), np.asarray(expected)
    allowed = TOLERANCES.get(str(expected.dtype), 0.0)
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        return float("inf"), allowed
    if not allowed:
        return float(np.mean(actual != expected)) if actual.size else 0.0, 0.0
    a, b = actual.astype(np.float64), expected.astype(np.float64)
    special = ~np.isfinite(b)
    if not np.array_equal(a[special], b[special], equal_nan=True):
        return float("inf"), allowed
    a, b = a[~special], b[~special]
    if not a.size:
        return 0.0, allowed
    scale = float(np.abs(b).max())
    difference = float(np.abs(a - b).max())
    return (difference / scale if scale else difference), allowed
