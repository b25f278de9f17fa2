"""Shapes and types of every tensor of a model, and what its outputs declare."""

from __future__ import annotations

from functools import partial

import onnx
import onnx_ir as ir

from lrp_onnx.errors import ModelError
from lrp_onnx.frontend.normalize.equal_sizes import name_equal_sizes
from lrp_onnx.frontend.normalize.inference import inferred
from lrp_onnx.frontend.normalize.local import make_local
from lrp_onnx.graph.annotations import corrections
from lrp_onnx.graph.model_file import through_proto

__all__ = ["infer_shapes"]


def infer_shapes(model: ir.Model, strict: bool = True) -> None:
    """Shapes and types of every tensor, with symbolic dimensions kept; ModelError where they
    contradict each other, if strict.
    """
    make_local(model)
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        for value in node.outputs:
            if not value.is_graph_output():
                value.shape, value.type = None, None
    try:
        through_proto(model, partial(inferred, strict=strict))
        name_equal_sizes(model.graph)
    except onnx.shape_inference.InferenceError as e:
        if not (declared := _forget_output_shapes(model)):
            raise ModelError(
                f"the model's shapes contradict each other: {e}. Export it again."
            ) from e
        infer_shapes(model)
        _keep_declared(model, declared)


def _forget_output_shapes(model: ir.Model) -> dict[str, ir.Shape]:
    """Take the declared shapes off the outputs; returns what they were, by name."""
    known = [v for v in model.graph.outputs if v.shape is not None and v.producer() is not None]
    declared = {str(v.name): v.shape for v in known if v.shape is not None}
    for value in known:
        value.shape = None
    return declared


def _keep_declared(model: ir.Model, declared: dict[str, ir.Shape]) -> None:
    """Keep each declared shape unless the graph computes another rank or size: then the graph is
    right, and `annotations.corrections` says so.
    """
    for value in model.graph.outputs:
        shape = declared.get(str(value.name))
        if shape is None:
            continue
        if value.shape is None or _agree(value.shape, shape):
            value.shape = value.shape or shape
            continue
        corrections(model)[value.name] = (
            f"output {value.name!r}: the model declares the shape {shape}, and its graph computes "
            f"{value.shape}; the compiled model declares the latter."
        )


def _agree(a: ir.Shape, b: ir.Shape) -> bool:
    if len(a) != len(b):
        return False
    pairs = zip(a, b, strict=True)
    return all(m == n or not (isinstance(m, int) and isinstance(n, int)) for m, n in pairs)
