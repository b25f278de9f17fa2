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

from collections.abc import Mapping

import onnx_ir as ir

from lrp_onnx.errors import TargetError
from lrp_onnx.gradients.baseline import starting_points
from lrp_onnx.gradients.completeness import Completion
from lrp_onnx.gradients.leaves import check_apart, cut_at_leaves
from lrp_onnx.gradients.mean_gradient import mean_gradients
from lrp_onnx.gradients.path_points import StraightPath
from lrp_onnx.gradients.quadrature import quadrature
from lrp_onnx.graph.builder import Emit
from lrp_onnx.lrp.assigned import Walk
from lrp_onnx.lrp.assignment import Assignment

__all__ = ["integrated_gradients"]


def integrated_gradients(
    emit: Emit,
    model: ir.Model,
    assignment: Assignment,
    mask: ir.Value,
    walk: Walk,
    account: str,
) -> dict[ir.Value, ir.Value]:
    """The relevance of each explained input, in its shape; with `account` also COMPLETENESS as an
    output.
    """
    graph = model.graph
    cut = cut_at_leaves(assignment.inputs, assignment.nodes)
    check_apart(cut)
    _check_mean(assignment)
    begin = starting_points(emit, graph, assignment.inputs, cut, assignment.options.baseline)
    emit.write_for(assignment.start_at, "path", "integrated-gradients")
    way = {x: emit.shaped(emit.op("Sub", _own(emit, x), begin[x]), x) for x in cut.leaves}
    point_path = StraightPath(model, cut, assignment.start_at, mask, walk, begin, way)
    means, axes = mean_gradients(emit, point_path, quadrature(assignment.steps))
    whole = Completion(emit, point_path, axes)
    if account:
        coarse, _ = mean_gradients(emit, point_path, quadrature(max(1, assignment.steps // 2)))
        whole.add_account(account, means, coarse)
    means = whole.nearest(means)
    relevance = {}
    for x, g in means.items():
        emit.write_for(x, str(x.name), "integrated-gradients")
        relevance[x] = emit.shaped(emit.op("Mul", way[x], g), x)
    embedded = {x: relevance[x] for x in cut.embedded if x in relevance}
    return relevance | walk(emit, cut.before, embedded, assignment.inputs)


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
