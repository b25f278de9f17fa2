"""Integrated gradients (Sundararajan et al. 2017, eq. 1) in one graph.

    R = (x - x₀) · Σ_k w_k · g(x₀ + a_k · (x - x₀)),    g = ∂(m·y)/∂x,

the midpoint rule over S steps (lrp_onnx.gradients.quadrature), then moved the least that makes
Σ R = m·y(x) - m·y(x₀), completeness (lrp_onnx.gradients.completeness).

The mask m is formed once, at x: the class that argmax chooses there is explained all along.

The network is copied and differentiated at the points (lrp_onnx.gradients.path_points).  Where its
samples are independent, points become a part of the batch, as many as fit into a bounded memory;
else they are taken one by one. Where one pass does not take them all, a Scan goes over the passes
with the copy as its body.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from lrp_onnx.errors import TargetError
from lrp_onnx.gradients.baseline import starting_points
from lrp_onnx.gradients.completeness import completed
from lrp_onnx.gradients.path_points import (
    COPY,
    BatchOfPoints,
    OnePoint,
    Path,
    at_once,
    samples_apart,
)
from lrp_onnx.gradients.quadrature import quadrature
from lrp_onnx.gradients.source import Cut, cut_at_sources
from lrp_onnx.graph.builder import Emit
from lrp_onnx.lrp.assignment import Assignment
from lrp_onnx.propagation.backward_pass import walk

__all__ = ["integrated_gradients"]


def integrated_gradients(
    emit: Emit, model: ir.Model, assignment: Assignment, mask: ir.Value, account: str
) -> dict[ir.Value, ir.Value]:
    """The relevance of each explained input, in its shape; with `account` also COMPLETENESS as an
    output.
    """
    graph = model.graph
    cut = cut_at_sources(assignment.inputs, assignment.nodes)
    _check_apart(cut)
    _check_mean(assignment)
    begin = starting_points(emit, graph, assignment.inputs, cut, assignment.options.baseline)
    emit.write_for(assignment.start_at, "path", "integrated-gradients")
    way = {x: emit.shaped(emit.op("Sub", _own(emit, x), begin[x]), x) for x in cut.sources}
    path = Path(model, cut, assignment.start_at, mask, begin, way)
    side_by_side = at_once(path)
    means = _means(emit, path, assignment.steps, side_by_side)
    apart = side_by_side is not None or samples_apart(path)
    means = completed(emit, path, means, apart, account)
    relevance = {}
    for x, g in means.items():
        emit.write_for(x, str(x.name), "integrated-gradients")
        relevance[x] = emit.shaped(emit.op("Mul", way[x], g), x)
    embedded = {x: relevance[x] for x in cut.embedded if x in relevance}
    return relevance | walk(emit, cut.before, embedded, assignment.inputs)


def _check_apart(cut: Cut) -> None:
    """Refuse a table that is explained beside the token ids that choose from it."""
    for site in cut.behind:
        for value in site.step.node.outputs:
            if value in cut.embedded:
                raise TargetError(
                    f"tensor {value.name!r} depends on explained inputs of integers and of floats "
                    "at once. Choose one of them with --explain."
                )


def _check_mean(assignment: Assignment) -> None:
    """Refuse a mean per sample and channel where no axis is the batch's."""
    baselines, output = assignment.options.baseline, assignment.output
    assert isinstance(baselines, Mapping)
    if assignment.class_axis == 0 and any(b.kind == "mean" for b in baselines.values()):
        raise TargetError(
            f"baseline mean: it is taken for each sample and channel, and output {output.name!r} "
            f"of shape {output.shape} has no batch axis (its classes are along axis 0). Choose "
            "zero or a file, or give the model a batch axis."
        )


def _own(emit: Emit, x: ir.Value) -> ir.Value:
    """x in the dtype that relevance is computed in."""
    emit.write_for(x)
    value = emit.at_least_float(x)
    assert isinstance(value, ir.Value)
    return value


def _means(
    emit: Emit, path: Path, steps: int, side_by_side: int | None
) -> dict[ir.Value, ir.Value]:
    """The weighted mean of the gradients along the path, by source."""
    points = quadrature(steps)
    if side_by_side is None:
        return _scanned(emit, path, OnePoint(path), points.fractions, points.weights)
    if side_by_side >= steps:
        fractions, weights = emit.constant(points.fractions), emit.constant(points.weights)
        return BatchOfPoints(emit, path, steps)(emit, fractions, weights)
    groups = points.in_groups(side_by_side)
    some = BatchOfPoints(emit, path, groups.fractions.shape[1])
    return _scanned(emit, path, some, groups.fractions, groups.weights)


def _scanned(
    emit: Emit,
    path: Path,
    part: OnePoint | BatchOfPoints,
    fractions: NDArray[np.float64],
    weights: NDArray[np.float64],
) -> dict[ir.Value, ir.Value]:
    """The parts summed up in a Scan over the first axis, whose body holds the copy."""
    emit.write_for(path.y)
    numbers = [
        ir.Value(name=f"{COPY}/{what}", shape=ir.Shape(fractions.shape[1:]), type=_type(emit.dtype))
        for what in ("fraction", "weight")
    ]
    body = ir.Graph(numbers, [], nodes=[], name="path",
                    opset_imports=path.model.graph.opset_imports)  # fmt: skip
    scanned = [emit.constant(fractions), emit.constant(weights)]
    sources = _add_one_more(emit.inside(body), part, numbers)
    zeros = []
    for x in sources:
        emit.write_for(x)
        zeros.append(emit.op("Expand", 0.0, emit.shape_of(x)))
    outputs = emit.outputs(
        "Scan",
        (*zeros, *scanned),
        {"body": ir.AttrGraph("body", body), "num_scan_inputs": 2},
        len(sources),
    )
    return dict(zip(sources, outputs, strict=True))


def _add_one_more(
    emit: Emit, part: OnePoint | BatchOfPoints, numbers: Sequence[ir.Value]
) -> list[ir.Value]:
    """Let the body add one more part to its sums; returns the sources that have one."""
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
