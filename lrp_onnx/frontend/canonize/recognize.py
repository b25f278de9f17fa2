"""Regions become the concept that they behave as: a softmax, a norm, in whatever spelling.

A region ends where several values meet that depend on one tensor, at a function over an axis, or
behind it, past the constants that scale and shift the result.  Its entry is one of the end's
dominators.  Operators decide only where it is worth looking; what a region is, its function decides
on random inputs in float64.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from lrp_onnx.frontend.canonize.norm import Norm, norm_of
from lrp_onnx.frontend.canonize.probe import Evaluators, Probe
from lrp_onnx.frontend.canonize.regions import Dominators, Region
from lrp_onnx.frontend.canonize.softmax import Softmax, softmax_of
from lrp_onnx.graph.constants import sole_reader
from lrp_onnx.graph.replacement import Build, take_place

__all__ = ["recognize"]

Concept = Softmax | Norm

NONLINEAR = frozenset(
    {"Div", "Reciprocal", "Pow", "Sqrt", "Exp", "LogSoftmax", "Softmax", "ReduceLogSumExp"}
    | {"InstanceNormalization", "ReduceL2", "MeanVarianceNormalization"}
)
"""One of these is in every softmax and norm."""
OVER_AXES = frozenset(
    {"ReduceMean", "ReduceSum", "ReduceSumSquare", "ReduceL2", "ReduceLogSumExp", "ReduceLogSum"}
    | {"MatMul", "Gemm", "Einsum", "GlobalAveragePool", "AveragePool", "Conv", "Softmax"}
    | {"LogSoftmax", "InstanceNormalization", "MeanVarianceNormalization", "LayerNormalization"}
)
"""So is one of these: by them elements depend on each other."""
WHOLE = ("Softmax", "LogSoftmax", "Exp", "InstanceNormalization")
"""Functions of one tensor that may end a region alone."""
AFFINE = ("Mul", "Add", "Sub", "Div", "Cast", "Reshape")
FARTHEST = 6
"""As many dominators are tried as entries, and as many nodes behind the end."""
ROUNDS = 3
"""A concept may be part of another one: exp of a log-softmax."""


def recognize(model: ir.Model) -> bool:
    """Put one operator in the place of each region that behaves as one."""
    evaluators = Evaluators(model.graph.opset_imports.get("", 18))
    changed = False
    for _ in range(ROUNDS):
        written = _round(model.graph, evaluators)
        changed |= written
        if not written:
            break
    return changed


def _round(graph: ir.Graph, evaluators: Evaluators) -> bool:
    ends = [node for node in graph if not node.domain and _may_end(node)]
    if not ends:
        return False
    dominators, taken = Dominators(graph), set[ir.Node]()
    for end in ends:
        if end in taken or not (end.op_type in WHOLE or len(dominators.active(end)) > 1):
            continue
        for region in _regions(end, dominators):
            if not taken.isdisjoint(region.own) or not region.alone():
                continue
            concept = _concept(region, evaluators)
            if concept is not None and _write(graph, region, concept):
                taken.update(region.own)
                break
    return bool(taken)


def _may_end(node: ir.Node) -> bool:
    return node.op_type in WHOLE or len({v for v in node.inputs if v is not None}) > 1


def _regions(end: ir.Node, dominators: Dominators) -> Iterator[Region]:
    """The regions around a node, those that end farthest behind it first."""
    ends = [end.outputs[0], *_behind(end, dominators)]
    for exit in reversed(ends):
        for k, entry in enumerate(dominators.entries(exit)):
            region = dominators.between(entry, exit) if k < FARTHEST else None
            if region is None:
                break
            if end in region.own and len(region.own) > 1 and region.has(NONLINEAR) and region.has(OVER_AXES):
                yield region


def _behind(node: ir.Node, dominators: Dominators) -> Iterator[ir.Value]:
    """What scales and shifts the result, or moves it."""
    for _ in range(FARTHEST):
        reader, _ = sole_reader(node.outputs[0]) or (None, 0)
        if reader is None or reader.domain or reader.op_type not in AFFINE:
            return
        if len(dominators.active(reader)) > 1 and reader.op_type != "Reshape":
            return
        node = reader
        yield node.outputs[0]


def _concept(region: Region, evaluators: Evaluators) -> Concept | None:
    probe = Probe(region, evaluators)
    for shape in probe.shapes():
        concept = softmax_of(probe, shape) or norm_of(probe, shape)
        if concept is not None:
            return concept
    return None


def _write(graph: ir.Graph, region: Region, concept: Concept) -> bool:
    """One operator in place of the region; its result keeps the name."""
    last, x = region.exit.producer(), region.entry
    assert last is not None
    build = Build(graph, last, "concept")
    y = concept.write(build, x)
    if y is None:
        return False
    if region.exit.dtype not in (None, x.dtype):
        y.type, y.shape = x.type, region.exit.shape
        y = build.op("Cast", y, to=int(region.exit.dtype or ir.DataType.FLOAT))
    build.insert_before(last)
    take_place(region.exit, y)
    graph.remove([node for node in reversed(graph) if node in set(region.own)], safe=True)
    return True
