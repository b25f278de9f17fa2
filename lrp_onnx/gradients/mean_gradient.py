"""The mean of the gradients at several points: as one batch, or in a Scan over several."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from lrp_onnx.gradients.path_points import (
    COPY,
    BatchOfPoints,
    Gradients,
    OnePoint,
    PointPath,
    at_once,
    sample_axes,
)
from lrp_onnx.gradients.quadrature import Quadrature
from lrp_onnx.graph.builder import Emit

__all__ = ["mean_gradients"]

Axes = tuple[int, int] | None
"""That of the leaves and that of the explained value along which samples lie; None where they
may meet.
"""


def mean_gradients(emit: Emit, point_path: PointPath, points: Quadrature) -> tuple[Gradients, Axes]:
    """The weighted mean of the gradients at the points, by leaf, and where samples lie.

    Memory does not grow with the points: as many are taken at once as fit into a bound.
    """
    side_by_side = at_once(point_path)
    means = _means(emit, point_path, points, side_by_side)
    return means, sample_axes(point_path) if side_by_side is None else (0, 0)


def _means(
    emit: Emit, point_path: PointPath, points: Quadrature, side_by_side: int | None
) -> Gradients:
    if side_by_side is None:
        return _scanned(emit, point_path, OnePoint(point_path), points.fractions, points.weights)
    if side_by_side >= len(points):
        fractions, weights = emit.constant(points.fractions), emit.constant(points.weights)
        return BatchOfPoints(emit, point_path, len(points))(emit, fractions, weights)
    groups = points.in_groups(side_by_side)
    some = BatchOfPoints(emit, point_path, groups.fractions.shape[1])
    return _scanned(emit, point_path, some, groups.fractions, groups.weights)


def _scanned(
    emit: Emit,
    point_path: PointPath,
    part: OnePoint | BatchOfPoints,
    fractions: NDArray[np.float64],
    weights: NDArray[np.float64],
) -> Gradients:
    """The parts summed up in a Scan over the first axis, whose body holds the copy."""
    emit.write_for(point_path.y)
    numbers = [
        ir.Value(name=f"{COPY}/{what}", shape=ir.Shape(fractions.shape[1:]), type=_type(emit.dtype))
        for what in ("fraction", "weight")
    ]
    body = ir.Graph(numbers, [], nodes=[], name="path",
                    opset_imports=point_path.model.graph.opset_imports)  # fmt: skip
    scanned = [emit.constant(fractions), emit.constant(weights)]
    leaves = _add_one_more(emit.inside(body), part, numbers)
    zeros = []
    for x in leaves:
        emit.write_for(x)
        zeros.append(emit.op("Expand", 0.0, emit.shape_of(x)))
    outputs = emit.outputs(
        "Scan",
        (*zeros, *scanned),
        {"body": ir.AttrGraph("body", body), "num_scan_inputs": 2},
        len(leaves),
    )
    return dict(zip(leaves, outputs, strict=True))


def _add_one_more(
    emit: Emit, part: OnePoint | BatchOfPoints, numbers: Sequence[ir.Value]
) -> list[ir.Value]:
    """Let the body add one more part to its sums; returns the leaves that have one."""
    totals = []
    gradients = part(emit, *numbers)
    for k, (x, gradient) in enumerate(gradients.items()):
        emit.write_for(x, f"path/{x.name}")
        before = ir.Value(name=f"{COPY}/sum_{k}", shape=x.shape, type=_type(emit.dtype))
        emit.graph.inputs.insert(k, before)
        total = emit.op("Add", before, gradient)
        total.shape, total.type = x.shape, before.type
        totals.append(total)
    emit.graph.outputs.extend(totals)
    return list(gradients)


def _type(dtype: ir.DataType) -> ir.TensorType:
    return ir.TensorType(dtype)
