"""Losses of class scores, where one is the target of an explanation.

Labels select: what does not belong to a label is left out by a condition.
Source: ONNX NegativeLogLikelihoodLoss-13, SoftmaxCrossEntropyLoss-13.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from lrp_onnx.frontend.decompose.heads import positions, rank_of, size_of
from lrp_onnx.frontend.decompose.registry import decomposes
from lrp_onnx.graph.replacement import Build

__all__: list[str] = []

Value = ir.Value | None


@decomposes("NegativeLogLikelihoodLoss")
def negative_log_likelihood(build: Build, node: ir.Node) -> Sequence[ir.Value]:
    """- Σ w[label] x[label], or its mean.  Spec: ONNX NegativeLogLikelihoodLoss-13."""
    x, labels, weight = [*node.inputs, None][:3]
    return [_loss(build, node, x, x, labels, weight)]


@decomposes("SoftmaxCrossEntropyLoss")
def softmax_cross_entropy(build: Build, node: ir.Node) -> Sequence[ir.Value]:
    """The same of the logarithm of the scores' softmax, which is the second output.

    Spec: ONNX SoftmaxCrossEntropyLoss-13.
    """
    scores, labels, weight = [*node.inputs, None][:3]
    logarithms = build.op("LogSoftmax", scores, axis=1)
    return [_loss(build, node, scores, logarithms, labels, weight), logarithms]


def _loss(build: Build, node: ir.Node, like: Value, x: Value, labels: Value, w: Value) -> ir.Value:
    """like, x: (N, C, *d)    labels: (N, *d)    w: (C,)    ->    (N, *d), or a scalar."""
    zero, one = build.like(0.0, like), build.like(1.0, like)
    others = [0, *range(2, rank_of(like, "scores"))]
    classes = build.op("Unsqueeze", positions(build, size_of(build, like, 1)), build.ints(*others))
    own = build.op("Cast", build.op("Unsqueeze", labels, build.ints(1)), to=ir.DataType.INT64)
    chosen = build.op("Equal", own, classes)
    if "ignore_index" in node.attributes:
        ignored = build.op("Equal", own, build.ints(node.attributes.get_int("ignore_index")))
        chosen = build.op("And", chosen, build.op("Not", ignored))
    weights = one if w is None else build.op("Unsqueeze", w, build.ints(*others))
    axis = build.ints(1)
    share = build.op("ReduceSum", build.op("Where", chosen, weights, zero), axis, keepdims=0)
    picked = build.op("ReduceSum", build.op("Where", chosen, x, zero), axis, keepdims=0)
    losses = build.op("Neg", build.op("Mul", picked, share))
    reduction = node.attributes.get_string("reduction", "mean")
    if reduction == "none":
        return losses
    total = build.op("ReduceSum", losses, keepdims=0)
    if reduction == "sum":
        return total
    return build.op("Div", total, build.op("ReduceSum", share, keepdims=0))
