"""Any opset from 7 to 28 becomes one that the compiler and every runtime knows: 18 to 21.

Each operator is looked at by itself.  Most mean at the new opset what they meant at the old one and
stay as they are, so names, text, metadata and the order of nodes survive; the few others are
rewritten (`raising`, `lowering`, `forms`).  A rewrite changes the node in place and returns None,
or returns what stands for each output; what it builds beside is put in front of the node.  It
raises UnsupportedError, with the fact alone, where there is no form.
"""

from __future__ import annotations

from functools import partial

import onnx
import onnx_ir as ir
from onnx import defs, shape_inference
from onnx_ir.passes import common

from lrp_onnx.errors import ModelError, UnsupportedError
from lrp_onnx.frontend.decompose.standard_function import call_function, inline_functions
from lrp_onnx.frontend.opset import CEILING, FLOOR, NEWEST, OLDEST
from lrp_onnx.frontend.opset.forms import FORMS
from lrp_onnx.frontend.opset.lowering import lowered
from lrp_onnx.frontend.opset.node import Rewrite
from lrp_onnx.frontend.opset.raising import raised
from lrp_onnx.graph.inferred_types import take_types
from lrp_onnx.graph.replacement import Build, take_place
from lrp_onnx.graph.subgraphs import nodes_of

__all__ = ["convert", "rewrite_nodes"]

STANDARD = ("", "ai.onnx")
ADVICE = f"Export it with an opset from {FLOOR} to {CEILING}, or replace what is named"


def convert(model: ir.Model) -> None:
    """Bring the model's standard opset into 18 … 21, in place.

    Below 18 it becomes 18, above 21 it becomes 21.  Inputs, outputs, names and other domains stay;
    constants are initializers, functions inlined before.  Raises ModelError naming every node that
    has no form there, or the opset if it is outside 7 … 28.
    """
    opset = _standard_opset(model)
    if opset < FLOOR:
        rewrite_nodes(model, opset, raised, FLOOR)
    elif opset > CEILING:
        # what one function leaves behind may be newer than opset 21 itself
        lower = partial(lowered, ceiling=CEILING, forms=FORMS)
        while rewrite_nodes(model, opset, lower, CEILING):
            pass
    _set_opset(model, min(max(opset, FLOOR), CEILING))


def _standard_opset(model: ir.Model) -> int:
    """The model's standard opset; ModelError unless it is one we know."""
    imports = model.graph.opset_imports
    versions = [version for domain, version in imports.items() if domain in STANDARD]
    newest = min(NEWEST, defs.onnx_opset_version())
    opset = max(versions, default=FLOOR if imports else 1)
    if opset < OLDEST:
        raise ModelError(
            f"the model has opset {opset}, and lrp-onnx reads {OLDEST} to {NEWEST}. Export it "
            f"again with a newer exporter, or raise it with onnx.version_converter.convert_version"
        )
    if opset > newest:
        raise ModelError(
            f"the model has opset {opset}, and lrp-onnx with onnx {onnx.__version__} reads "
            f"{OLDEST} to {newest}. Export it with an opset from {FLOOR} to {CEILING}"
        )
    _set_opset(model, opset)
    return opset


def _set_opset(model: ir.Model, opset: int) -> None:
    """Give the model one entry for the standard domain."""
    imports = model.graph.opset_imports
    for domain in STANDARD:
        imports.pop(domain, None)
    imports[""] = opset


def rewrite_nodes(
    model: ir.Model, opset: int, rewrite: Rewrite, target: int, advice: str = ADVICE
) -> bool:
    """Rewrite every standard node in place; say whether one was replaced.

    advice: what to do where a node has no form.  Raises ModelError that names these nodes.
    """
    _infer_types(model)
    changed, refused = False, list[str]()
    for node in list(nodes_of(model.graph)):
        if node.domain:
            continue
        try:
            changed |= _rewritten(node, rewrite, opset)
        except (UnsupportedError, ModelError) as refusal:  # kept for the end, so that all are told
            has_no_form = rewrite is not raised and isinstance(refusal, UnsupportedError)
            if not (has_no_form and call_function(model, node)):
                name = node.name or node.outputs[0].name
                refused.append(f"node '{name}' ({node.op_type}): {refusal}")
    if refused:
        raise ModelError(
            f"the model cannot be brought from opset {opset} to {target}: {'; '.join(refused)}. "
            f"{advice}"
        )
    changed |= inline_functions(model)
    if changed:
        common.NameFixPass()(model)
    return changed


def _infer_types(model: ir.Model) -> None:
    """The types of its tensors, as far as they can be known."""
    try:
        take_types(model, shape_inference.infer_shapes)
    except shape_inference.InferenceError as error:
        raise ModelError(
            f"the model is not valid ONNX: {str(error).splitlines()[0].rstrip('.')}. "
            f"onnx.checker.check_model may tell more; export it again"
        ) from error


def _rewritten(node: ir.Node, rewrite: Rewrite, opset: int) -> bool:
    """Put what a rewrite makes of a node in its place; says whether that are other nodes."""
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    build = Build(graph, node, opset=opset)
    values = rewrite(build, node)
    graph.insert_before(node, build.nodes)
    if values is not None:
        for old, new in zip(node.outputs, values, strict=False):
            take_place(old, new)
        graph.remove(node, safe=True)
    return bool(build.nodes)
