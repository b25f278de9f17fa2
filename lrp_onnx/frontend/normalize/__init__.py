"""Any exported model in one form: no functions, opset 18 to 21, constants as initializers, known
shapes, operators that the rules know, shape arithmetic on known sizes done, no no-ops.
"""

from __future__ import annotations

from functools import partial

import onnx
import onnx_ir as ir
from onnx import version_converter
from onnx_ir.passes import common

from lrp_onnx.errors import ModelError
from lrp_onnx.frontend import opset
from lrp_onnx.frontend.decompose import DECOMPOSITIONS, decompose, write_out_functions
from lrp_onnx.frontend.normalize.branch import inline_branches
from lrp_onnx.frontend.normalize.fold import fold
from lrp_onnx.frontend.normalize.inference import inferred as inferred_proto
from lrp_onnx.frontend.normalize.local import make_local
from lrp_onnx.frontend.normalize.ranks import settle
from lrp_onnx.graph.annotations import REFUSED, aliases, corrections
from lrp_onnx.graph.model_file import through_proto
from lrp_onnx.graph.refusal import refusal

__all__ = ["infer_shapes", "normalize"]

OPSETS = range(18, 22)
IR_VERSION = 10
ROUNDS = 6
"""How often shapes are inferred again because something was folded."""


def normalize(model: ir.Model, to_opset: int | None = None) -> ir.Model:
    """Bring a model into the form the other stages expect; the forward and its inputs and outputs
    stay the same.

    Raises ModelError where the model's opset cannot be converted or its shapes contradict each
    other.
    """
    common.InlinePass()(model)
    common.RemoveInitializersFromInputsPass()(model)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    if model.graph.opset_imports.get("", 0) > OPSETS[-1]:
        opset.widen_weights(model)
        model = _expanded(model)
    if model.graph.opset_imports.get("", 0) not in OPSETS:
        model = through_proto(model, opset.convert)
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    if to_opset is not None:
        model = _at_opset(model, to_opset)
    model.ir_version = min(max(model.ir_version, 8), IR_VERSION)
    if write_out_functions(model):  # shape inference does not know all of them
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    common.NameFixPass()(model)
    model = _settled(model)
    undecided = set[str | None]()
    while settle(model, partial(_settled, strict=False), undecided):
        model = _settled(model)
    common.RemoveUnusedNodesPass()(model)
    return model


def _settled(model: ir.Model, strict: bool = True) -> ir.Model:
    """Shapes, and what they decide: decompositions, constants, branches taken."""
    model = infer_shapes(model, strict)
    drop_no_ops(model)
    for _ in range(ROUNDS):
        # all, one after the other: what is folded may be a condition
        if not any([decompose(model), fold(model), inline_branches(model)]):
            break
        common.RemoveUnusedNodesPass()(model)
        model = infer_shapes(model, strict)
        drop_no_ops(model)
    return model


def _expanded(model: ir.Model) -> ir.Model:
    """The model with the operators that OPSETS lack written out by their decompositions, where
    there are some; the others are lowered by their functions.

    Raises UnsupportedError where a decomposition refuses what its function would then spell: its
    spelling need not be one that relevance gets through rightly.
    """
    newer = [op for op in DECOMPOSITIONS if not op[0] and not onnx.defs.has(op[1], OPSETS[-1], "")]
    if not any((n.domain, n.op_type) in newer for n in model.graph.all_nodes()):
        return model
    for _ in range(ROUNDS):
        model = infer_shapes(model)
        if not decompose(model, newer):
            break
    refused = {n: n.metadata_props[REFUSED] for n in model.graph.all_nodes() if _too_new(n)}
    if refused:
        raise refusal(refused)
    return model


def _too_new(node: ir.Node) -> bool:
    """Whether its decomposition refused it, and it does not exist at OPSETS."""
    newest = not node.domain and not onnx.defs.has(node.op_type, OPSETS[-1], "")
    return newest and REFUSED in node.metadata_props


def _at_opset(model: ir.Model, wanted: int) -> ir.Model:
    """The model at the opset the user asked for, one of OPSETS."""
    if wanted not in OPSETS:
        raise ModelError(
            f"opset {wanted} is not one that compiled models use. Choose from {OPSETS[0]} to "
            f"{OPSETS[-1]}."
        )
    if model.graph.opset_imports[""] == wanted:
        return model
    try:
        return through_proto(model, lambda p: version_converter.convert_version(p, wanted))
    except (RuntimeError, version_converter.ConvertError) as e:
        raise ModelError(
            f"the model cannot be brought to opset {wanted}: {e}. Leave out --opset."
        ) from e


def infer_shapes(model: ir.Model, strict: bool = True) -> ir.Model:
    """Shapes and types of every tensor, with symbolic dimensions kept, and `model.meta`; ModelError
    where they contradict each other, if strict.
    """
    make_local(model)
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        for value in node.outputs:
            if not value.is_graph_output():
                value.shape, value.type = None, None
    try:
        inferred = through_proto(model, partial(inferred_proto, strict=strict))
    except onnx.shape_inference.InferenceError as e:
        if not (declared := _forget_output_shapes(model)):
            raise ModelError(
                f"the model's shapes contradict each other: {e}. Export it again."
            ) from e
        inferred = infer_shapes(model)
        _settle_output_shapes(inferred, declared)
        return inferred
    inferred.meta.update(model.meta)
    return inferred


def _forget_output_shapes(model: ir.Model) -> dict[str, ir.Shape]:
    """Take the declared shapes off the outputs; returns what they were, by name."""
    known = [v for v in model.graph.outputs if v.shape is not None and v.producer() is not None]
    declared = {str(v.name): v.shape for v in known if v.shape is not None}
    for value in known:
        value.shape = None
    return declared


def _settle_output_shapes(model: ir.Model, declared: dict[str, ir.Shape]) -> None:
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


def drop_no_ops(model: ir.Model) -> None:
    """Remove Identity, Dropout at inference and Cast to the same type, in bodies too, wherever that
    renames no graph output.

    What became of a removed tensor is kept in `annotations.aliases`, removed name → name.
    """
    removed = aliases(model)
    for node in list(ir.traversal.RecursiveGraphIterator(model.graph)):
        source, result = (node.inputs[0] if node.inputs else None), node.outputs[0]
        if source is None or not _is_no_op(node) or result.is_graph_output():
            continue
        removed[result.name] = source.name
        result.replace_all_uses_with(source)
        assert isinstance(node.graph, ir.Graph)
        node.graph.remove(node, safe=True)


def _is_no_op(node: ir.Node) -> bool:
    if node.domain:
        return False
    if node.op_type == "Cast":
        dtype = None if node.inputs[0] is None else node.inputs[0].dtype
        return dtype is not None and dtype == node.attributes["to"].as_int()
    if node.op_type == "Dropout":
        return len(node.inputs) < 3 and not any(
            v.uses() or v.is_graph_output() for v in node.outputs[1:]
        )
    return node.op_type == "Identity"
