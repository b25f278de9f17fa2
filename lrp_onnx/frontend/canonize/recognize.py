"""Regions become the concept that they behave as: a softmax, a norm, in whatever spelling.

A region ends where several values meet that depend on one tensor, at a function over an axis, or
behind it, past the constants that scale and shift the result.  Its entry is one of the end's
dominators.  Operators decide only where it is worth looking; what a region is, its function decides
on random inputs in float64.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import onnx_ir as ir

from lrp_onnx.frontend.canonize.dependence import agree, rescales, together
from lrp_onnx.frontend.canonize.norm import Norm, norm_of, write_norm
from lrp_onnx.frontend.canonize.probe import Evaluators, Probe
from lrp_onnx.frontend.canonize.regions import Dominators, Region
from lrp_onnx.frontend.canonize.softmax import Softmax, gives, softmax_of, write_softmax
from lrp_onnx.graph.annotations import RESEMBLES, spelled_anew
from lrp_onnx.graph.constants import sole_reader
from lrp_onnx.graph.makers import inputs_by, made_by
from lrp_onnx.graph.replacement import Build
from lrp_onnx.ops.registry import find

__all__ = ["recognize"]

Concept = Softmax | Norm

NONLINEAR = frozenset(
    {"Div", "Reciprocal", "Pow", "Sqrt", "Exp", "LogSoftmax", "Softmax", "ReduceLogSumExp"}
    | {"InstanceNormalization", "LayerNormalization", "ReduceL2", "MeanVarianceNormalization"}
)
"""One of these is in every softmax and norm."""
OVER_AXES = frozenset(
    {"ReduceMean", "ReduceSum", "ReduceSumSquare", "ReduceL2", "ReduceLogSumExp", "ReduceLogSum"}
    | {
        "ReduceL1",
        "CumSum",
        "MatMul",
        "Gemm",
        "Einsum",
        "GlobalAveragePool",
        "AveragePool",
        "Softmax",
    }
    | {"LogSoftmax", "InstanceNormalization", "MeanVarianceNormalization", "LayerNormalization"}
)
"""So is one of these: by them elements depend on each other."""
WHOLE = ("Softmax", "LogSoftmax", "Exp", "InstanceNormalization", "Log")
"""Functions of one tensor that may end a region alone."""
NORMS = ("InstanceNormalization", "LayerNormalization", "MeanVarianceNormalization")
"""Norms that a scale or a shift behind them belongs to."""
SCALES = ("Mul", "Add", "Sub", "Div", "BatchNormalization")
BEHIND = (*SCALES, "Cast", "Reshape", "Neg", "Exp")
"""What may lie behind its end."""
MASKS = (
    *("Mul", "Where", "Trilu", "Cast"),
    *("Reshape", "Transpose", "Unsqueeze", "Squeeze", "Expand"),
)
"""What masks or moves exponentials."""
BEGINS = (
    *("Exp", "Pow", "Sub", "Add", "Mul", "Div", "Neg", "Clip", "Where"),
    *("Cast", "Reshape", "Identity", "MatMul", "Gemm", "Softmax", "Reciprocal", "Trilu"),
)
"""What a concept may begin with, in front of where its values part."""
FARTHEST = 4
"""As many dominators are tried as entries, and as many nodes behind the end."""
PASSED = ("LogSoftmax", "Log", "Reshape", "Cast")
"""What may stand in front of such a function, besides where values meet."""


def recognize(model: ir.Model) -> bool:
    """Put one operator in the place of each region that behaves as one.

    The last ends come first: a concept may be part of another one, exp of a log-softmax.
    """
    graph = model.graph
    ends = [node for node in graph if not node.domain and _may_end(node)]
    if not ends:
        return False
    evaluators = Evaluators(model)
    dominators, taken = Dominators(graph), set[ir.Node]()
    left: list[tuple[ir.Node, list[Region]]] = []
    for end in reversed(ends):
        if end in taken or not _meets(end, dominators):
            continue
        regions = list(_regions(end, dominators))
        region, concept = _largest(regions, dominators, taken, evaluators)
        name = None if region is None else region.exit.name
        widens = region is not None and any(map(_widens, region.own))
        if region is not None and concept is not None and _write(graph, region, concept):
            taken.update(node for node in region.own if node.graph is None)
            if isinstance(concept, Norm) and widens:
                # ONNX Runtime's own fusion of it fails where the explanation reads what is cast
                spelled_anew(model).add(name)
        elif regions and _divides(end, dominators):
            left.append((end, [region for region in regions if region.exit is end.outputs[0]]))
    for end, regions in left:
        apart = taken.isdisjoint(node for region in regions[:1] for node in region.own)
        if apart and _resembles(regions, evaluators):
            end.meta[RESEMBLES] = True
    return bool(taken)


def _widens(node: ir.Node) -> bool:
    """Whether it is a Cast of what is a float already."""
    x = node.inputs[0] if node.op_type == "Cast" else None
    return x is not None and x.dtype is not None and x.dtype.is_floating_point()


def _concept_of(region: Region, evaluators: Evaluators) -> Concept | None:
    """The softmax or the norm that a region is."""
    concept: Concept | None = evaluators.once("concept", region, _tried)
    return concept


def _is_ratio(region: Region, evaluators: Evaluators) -> bool:
    """Whether a region is a norm of any kind: x over a size that its row shares."""
    return bool(evaluators.once("ratio", region, _divided))


def _divided(probe: Probe, like: object) -> bool | None:
    return any(rescales(probe, shape) for shape in probe.shapes()) or None


def _tried(probe: Probe, like: Concept | None) -> Concept | None:
    """The concept on one of the probe's shapes.

    like: that of a region of the same structure.
    """
    for shape in probe.shapes():
        if isinstance(like, Norm) and (again := like.again(probe, shape)) is not None:
            return again if _in_other_sizes(probe, again, shape) else None
        if (met := together(probe, shape)) is not None:
            concept = softmax_of(probe, met, shape) or norm_of(probe, met, shape)
            concept = concept or norm_of(probe, met, shape, centered=False)
            if concept is not None:
                return concept if _in_other_sizes(probe, concept, shape) else None
    return None


def _in_other_sizes(probe: Probe, concept: Concept, shape: Sequence[int]) -> bool:
    """Whether a region that reads sizes is the concept whatever the run's are: x over the square
    root of their number, in front of a softmax, has another temperature in each run.
    """
    other = probe.other_sizes(shape)
    if other is None:
        return True
    x = np.random.default_rng(2).standard_normal(other)
    if (y := probe(x)) is None:  # constants have these sizes
        return True
    return gives(probe, concept, x) if isinstance(concept, Softmax) else agree(y, concept(x))


def _largest(
    regions: Iterable[Region], dominators: Dominators, taken: set[ir.Node], evaluators: Evaluators
) -> tuple[Region | None, Concept | None]:
    """The first softmax or norm, the softmax from before its shifts; else the first norm that
    subtracts no mean: x less its mean is the entry of such a one.
    """
    first: tuple[Region | None, Concept | None] = None, None
    second = first
    for region in regions:
        if first[0] is not None and not _is_shifted(first[0], region, dominators):
            break
        if not taken.isdisjoint(region.own):
            continue
        concept = _concept_of(region, evaluators)
        if isinstance(concept, Softmax):
            if concept.guarded and any(node.op_type == "Softmax" for node in region.own):
                continue  # the operator and its guard are there
            first = region, concept
        elif concept is not None and concept.centered:
            return region, concept
        elif second[0] is None and concept is not None and not _is_quotient(region):
            second = region, concept
    return second if first[0] is None else first


def _is_shifted(region: Region, larger: Region, dominators: Dominators) -> bool:
    """Whether the larger region is the same with what shifts its entry by something of its own."""
    shift = region.entry.producer()
    within = shift in larger.own and region.exit is larger.exit
    return within and shift is not None and len(dominators.active(shift)) > 1


def _divides(end: ir.Node, dominators: Dominators) -> bool:
    """Whether it divides by what depends, over axes, on the dividend."""
    if end.op_type != "Div" and not (end.op_type == "Mul" and any(map(_is_inverse, end.inputs))):
        return False
    smallest = next(dominators.regions(end.outputs[0], ()), None)
    return smallest is not None and any(node.op_type in OVER_AXES for node in smallest.own)


def _is_inverse(value: ir.Value | None) -> bool:
    """Whether it is one over something, copied to more places or not."""
    while moved := inputs_by(value, "Expand", "Unsqueeze", "Reshape"):
        value = moved[0]
    if quotient := inputs_by(value, "Div"):
        return quotient[0] is not None and quotient[0].is_initializer()
    return made_by(value, "Reciprocal", "Pow") is not None


def _resembles(regions: Iterable[Region], evaluators: Evaluators) -> bool:
    """Whether no operator says it, or it is neither a concept nor a norm of another kind, which
    passes.
    """
    known = False
    for region in regions:
        concept = _concept_of(region, evaluators)
        if isinstance(concept, Softmax) or (concept is not None and concept.centered):
            return True
        # a row of exponentials over another sum is a softmax with something between
        known |= not _is_exponential(region.entry) and _is_ratio(region, evaluators)
    return not known


def _is_exponential(value: ir.Value | None, left: int = FARTHEST) -> bool:
    """Whether it is one, masked or moved or not."""
    masked = inputs_by(value, *MASKS) if left > 0 else []
    return made_by(value, "Exp") is not None or any(_is_exponential(v, left - 1) for v in masked)


def _is_quotient(region: Region) -> bool:
    """Whether it is spelled so that its divisor is known as one, or its factor as a gate."""
    last = next(n for n in reversed(region.own) if n.op_type not in ("Cast", "Reshape"))
    operators = [find(node) for node in region.own]
    return last.op_type == "Div" or (
        last.op_type == "Mul"
        and all(o is not None and (o.elementwise or o.statistic) for o in operators)
    )


def _may_end(node: ir.Node) -> bool:
    ends = node.op_type in (*WHOLE, *NORMS, "Reciprocal")
    return ends or len({v for v in node.inputs if v is not None}) > 1


def _meets(node: ir.Node | None, dominators: Dominators) -> bool:
    """Whether values that vary meet there, or in front of it where it is such a function."""
    if node is None:
        return False
    if node.op_type in NORMS and _is_scaled(node, dominators):
        return True
    if node.op_type not in WHOLE:
        return len(dominators.active(node)) > 1 or _inverts_sum(node)
    before = made_by(node.inputs[0])
    if before is None or (before.op_type == "Softmax" and node.op_type != "Log"):
        return False
    if node.op_type == "Log":
        return before.op_type in ("Softmax", "Div")
    return before.op_type in PASSED or len(dominators.active(before)) > 1


def _inverts_sum(node: ir.Node) -> bool:
    """Whether it is one over a sum of exponentials, as of the differences in 1/Σⱼ exp(xⱼ - xᵢ)."""
    summed = node.inputs[int(node.op_type == "Div")] if _is_inverse(node.outputs[0]) else None
    total = inputs_by(summed, *OVER_AXES)
    return bool(total) and _is_exponential(total[0])


def _is_scaled(node: ir.Node, dominators: Dominators) -> bool:
    """Whether constants scale or shift its result."""
    readers = (value.producer() for value in _behind(node, dominators))
    return any(reader is not None and reader.op_type in SCALES for reader in readers)


def _regions(end: ir.Node, dominators: Dominators) -> Iterator[Region]:
    """The regions around a node, those that end farthest behind it first."""
    needs = (NONLINEAR, OVER_AXES, frozenset({end}))
    for exit in reversed([end.outputs[0], *_behind(end, dominators)]):
        for k, region in enumerate(dominators.regions(exit, needs)):
            if len(region.own) > 1:
                yield region
            if k == FARTHEST or not _leads_on(region.entry, dominators):
                break


def _leads_on(entry: ir.Value, dominators: Dominators) -> bool:
    """Whether a concept may begin before its producer: with an exponential, a shift, a mask."""
    node = entry.producer()
    if node is None or node.op_type not in BEGINS:
        return False
    scalars = [
        v for v in node.inputs if v in dominators.constants and v is not None and not v.shape
    ]
    return (
        not scalars
        or node.op_type in ("Pow", "Where")
        or _exponent(entry)
        or _is_exponential(entry)
    )


def _exponent(value: ir.Value) -> bool:
    """Whether it is one: log 2 belongs to a power of two."""
    return any(reader.op_type == "Pow" for reader, _ in value.uses())


def _behind(node: ir.Node, dominators: Dominators) -> Iterator[ir.Value]:
    """What scales and shifts the result, or moves it."""
    for _ in range(FARTHEST):
        reader, _ = sole_reader(node.outputs[0]) or (None, 0)
        if reader is None or reader.domain or reader.op_type not in BEHIND:
            return
        if len(dominators.active(reader)) > 1 and reader.op_type != "Reshape":
            return
        node = reader
        yield node.outputs[0]


def _write(graph: ir.Graph, region: Region, concept: Concept) -> bool:
    """One operator in place of the region; its result keeps the name."""
    last, x = region.exit.producer(), region.entry
    assert last is not None
    build, region.exit.shape = Build(graph, last, "concept"), x.shape
    if isinstance(concept, Softmax):
        y = write_softmax(build, concept, x)
    else:
        y = write_norm(build, concept, x)
    if y is None:
        return False
    if region.exit.dtype not in (None, x.dtype):
        y.type, y.shape = x.type, region.exit.shape
        y = build.op("Cast", y, to=int(region.exit.dtype or ir.DataType.FLOAT))
    build.replace_all(region.own, y)
    return True
