"""Shapes and types of every tensor of a model.

A declared shape is a claim: exporters and scripts that open a batch leave old ones behind.  What
the graph computes decides, so those of all but the inputs are forgotten and inferred, and a claim
that the graph contradicts is told.  Of one that it neither bears out nor contradicts the rank is
believed, and the sizes where no input has an open one, which may have been opened after they were
written down.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import prod

import onnx
import onnx_ir as ir

from lrp_onnx.errors import ModelError
from lrp_onnx.frontend.normalize.equal_sizes import name_equal_sizes
from lrp_onnx.frontend.normalize.inference import inferred
from lrp_onnx.frontend.normalize.local import make_local
from lrp_onnx.graph.annotations import corrections
from lrp_onnx.graph.inferred_types import take_types
from lrp_onnx.graph.limits import budget_of
from lrp_onnx.graph.shapes import dimensions
from lrp_onnx.graph.small_model import through_proto
from lrp_onnx.graph.subgraphs import graphs_of, nodes_of

__all__ = ["believe_declared", "forget_declared", "infer_shapes"]

Size = int | ir.SymbolicDimProtocol | None
Declared = dict[str | None, ir.Shape]


def infer_shapes(model: ir.Model, strict: bool = True) -> None:
    """Shapes and types of every tensor, with symbolic dimensions kept; ModelError where they
    contradict each other, if strict.
    """
    make_local(model)
    for node in nodes_of(model.graph):
        for value in node.outputs:
            value.shape = None  # of an output too: it is what an earlier inference found
            if not value.is_graph_output():
                value.type = None
    try:
        rounds_up = any(node.attributes.get_int("ceil_mode", 0) for node in nodes_of(model.graph))
        take = through_proto if rounds_up else take_types  # the former takes rewritten nodes too
        take(model, partial(inferred, budget=budget_of(model), strict=strict))
        _refuse_giants(model)
        name_equal_sizes(model.graph)
    except onnx.shape_inference.InferenceError as e:
        raise ModelError(f"the model's shapes contradict each other: {e}. Export it again.") from e


def _refuse_giants(model: ir.Model) -> None:
    """Raise OverBudget for a tensor that alone would take more memory than the model's budget."""
    budget = budget_of(model)
    for graph in graphs_of(model.graph):
        for value in (*graph.inputs, *(v for node in graph for v in node.outputs)):
            if value.shape is None or value.dtype is None or value.dtype == ir.DataType.STRING:
                continue
            sizes = [size for size in value.shape if isinstance(size, int)]
            if prod(max(size, 1) for size in sizes) * value.dtype.bitwidth // 8 > budget.nbytes:
                raise budget.over(f"tensor {value.name!r} of shape {value.shape}")


def forget_declared(model: ir.Model) -> Declared:
    """Take the shapes off the outputs, those of bodies included, and give each nameless axis of an
    input a name, so that it is known again where the graph leaves it; returns what the model's
    outputs declared, by name.
    """
    for value in model.graph.inputs:
        if value.shape is not None:
            sizes = dimensions(value.shape)
            named = [f"{value.name}_axis_{k}" if d is None else d for k, d in enumerate(sizes)]
            value.shape = ir.Shape(named)
    outputs = [v for v in model.graph.outputs if v.producer() is not None]
    declared = {v.name: v.shape for v in outputs if v.shape is not None}
    for graph in graphs_of(model.graph):
        for value in graph.outputs:
            if value.producer() is not None:
                value.shape = None
    return declared


def believe_declared(model: ir.Model, declared: Declared) -> None:
    """Give outputs what the graph does not tell and their declarations do, and tell of those that
    the graph contradicts, in `annotations.corrections`.
    """
    open_sizes = _open_sizes(model.graph)
    for value in model.graph.outputs:
        claim = declared.get(value.name)
        if claim is None or value.producer() is None:
            continue
        computed = [None] * len(claim) if value.shape is None else list(value.shape)
        if _contradicts(computed, claim, open_sizes):
            names = ["?" if _is_made_up(c, open_sizes) else c for c in computed]
            corrections(model)[value.name] = (
                f"output {value.name!r}: the model declares the shape {claim}, and its graph "
                f"computes {ir.Shape(names)}; the compiled model declares the latter."
            )
            continue
        pairs = zip(computed, claim, strict=True)
        believed = [d if isinstance(d, int) and not open_sizes else c for c, d in pairs]
        value.shape = ir.Shape(believed)


def _is_made_up(size: Size, open_sizes: set[str | None]) -> bool:
    """Whether onnx gave a size that it does not know a name."""
    return not isinstance(size, int) and (size is None or size.value not in open_sizes)


def _open_sizes(graph: ir.Graph) -> set[str | None]:
    """The names of the sizes that only the run knows."""
    shapes = [v.shape for v in graph.inputs if v.shape is not None]
    return {d.value for shape in shapes for d in shape if not isinstance(d, int)}


def _contradicts(computed: Sequence[Size], claim: ir.Shape, open_sizes: set[str | None]) -> bool:
    """Whether there are runs whose shape is not the one claimed."""
    if len(computed) != len(claim):
        return True
    pairs = zip(computed, claim, strict=True)
    return any(
        c != size if isinstance(c, int) else not _is_made_up(c, open_sizes)
        for c, size in pairs
        if isinstance(size, int)
    )
