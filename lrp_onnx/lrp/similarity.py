"""Similarity: what of an input makes its embedding like that of another.

The explained value is the cosine of the embeddings e(x) and o of both, normalized over all axes
behind the batch,

    cos = Σ_k u_k·v_k,    u = e/‖e‖,    v = o/‖o‖.

LRP starts with R₀_k = u_k·v_k, the share of each feature, so that relevance sums to the cosine but
for what biases and stabilizers take: through the normalization it passes, as through every norm.
Gradients start with ∂cos/∂e = (v - cos·u)/‖e‖.  The other embedding is an input of the compiled
model, so the same model explains both sides: the cosine is symmetric.
"""

from __future__ import annotations

import onnx_ir as ir

from lrp_onnx.errors import TargetError
from lrp_onnx.graph.annotations import OTHER
from lrp_onnx.graph.appending import graph_input
from lrp_onnx.graph.builder import Emit
from lrp_onnx.graph.ranks import known_rank
from lrp_onnx.lrp.assignment import Assignment

__all__ = ["similarity_start"]

TINY = 1e-30
"""Stands for ‖e‖ of an embedding of zeros, which is like nothing."""


def similarity_start(emit: Emit, graph: ir.Graph, assignment: Assignment) -> ir.Value:
    """R₀, shaped like the output; adds the graph input `<output>_other`.

    Raises TargetError for an output that is no embedding, and for a method or start that does not
    take the cosine at the input itself.
    """
    y, output = assignment.logits, assignment.output
    axes = list(range(0 if assignment.class_axis == 0 else 1, known_rank(y)))
    _check(assignment, axes)
    shape = ir.Shape(["others", *list(y.shape or ())[1:]]) if axes[0] else y.shape
    other = graph_input(graph, f"{output.name}{OTHER}", emit.dtype, shape)
    e = emit.at_least_float(y)
    u, length = _normalized(emit, e, axes)
    v, _ = _normalized(emit, other, axes)
    shares = emit.op("Mul", u, v)
    if assignment.start == "logit":
        return emit.shaped(shares, y)
    cosine = emit.op("ReduceSum", shares, emit.ints(*axes), keepdims=1)
    along = emit.op("Sub", v, emit.op("Mul", cosine, u))
    return emit.shaped(emit.op("Div", along, length), y)


def _normalized(emit: Emit, value: ir.Value, axes: list[int]) -> tuple[ir.Value, ir.Value]:
    """The value divided by its length over the axes, and the length."""
    squared = emit.op("ReduceSum", emit.op("Mul", value, value), emit.ints(*axes), keepdims=1)
    length = emit.op("Max", emit.op("Sqrt", squared), TINY)
    return emit.op("Div", value, length), length


def _check(assignment: Assignment, axes: list[int]) -> None:
    output, method = assignment.output, assignment.method
    if assignment.logits is not output:
        raise TargetError(
            f"target similarity: output {output.name!r} ends in a softmax or sigmoid, and is no "
            "embedding. Choose an embedding with --output."
        )
    if not axes:
        raise TargetError(
            f"target similarity: output {output.name!r} of shape {output.shape} has one number a "
            "sample, and is no embedding. Choose one with --output."
        )
    if method.many_points:
        raise TargetError(
            f"target similarity: method {method.name!r} explains what is linear in the output, and "
            "the cosine is not. Choose another method."
        )
    if method.rules and assignment.start != "logit":
        raise TargetError(
            f"target similarity: relevance starts at the cosine, not at {assignment.start}. Leave "
            "--start out."
        )
