"""The model at an opset that the rules know, or at the one that the user asked for."""

from __future__ import annotations

import onnx
import onnx_ir as ir
from onnx import version_converter
from onnx_ir.passes import common

from lrp_onnx.errors import ModelError
from lrp_onnx.frontend import opset
from lrp_onnx.frontend.decompose import DECOMPOSITIONS, decompose
from lrp_onnx.frontend.normalize.shapes import infer_shapes
from lrp_onnx.graph.annotations import REFUSED
from lrp_onnx.graph.model_file import through_proto
from lrp_onnx.graph.refusal import refusal

__all__ = ["bring_to_opset"]

OPSETS = range(18, 22)
ROUNDS = 6
"""How often operators are written out that a decomposition wrote."""


def bring_to_opset(model: ir.Model, wanted: int | None) -> None:
    """Convert to an opset of OPSETS, and to `wanted` if it is one.

    Raises ModelError where onnx cannot, and for another `wanted`; UnsupportedError for an operator
    that is too new.
    """
    if model.graph.opset_imports.get("", 0) > OPSETS[-1]:
        opset.widen_weights(model)
        _write_out_newer(model)
    if model.graph.opset_imports.get("", 0) not in OPSETS:
        through_proto(model, opset.convert)
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    if wanted is not None:
        _convert(model, wanted)


def _write_out_newer(model: ir.Model) -> None:
    """Write out the operators that OPSETS lack by their decompositions, where there are some; the
    others are lowered by their functions.

    Raises UnsupportedError where a decomposition refuses what its function would then spell: its
    spelling need not be one that relevance gets through rightly.
    """
    newer = [op for op in DECOMPOSITIONS if not op[0] and not onnx.defs.has(op[1], OPSETS[-1], "")]
    if not any((n.domain, n.op_type) in newer for n in model.graph.all_nodes()):
        return
    for _ in range(ROUNDS):
        infer_shapes(model)
        if not decompose(model, newer):
            break
    refused = {n: n.metadata_props[REFUSED] for n in model.graph.all_nodes() if _too_new(n)}
    if refused:
        raise refusal(refused)


def _too_new(node: ir.Node) -> bool:
    """Whether its decomposition refused it, and it does not exist at OPSETS."""
    newest = not node.domain and not onnx.defs.has(node.op_type, OPSETS[-1], "")
    return newest and REFUSED in node.metadata_props


def _convert(model: ir.Model, wanted: int) -> None:
    """Bring the model to the opset that the user asked for, one of OPSETS."""
    if wanted not in OPSETS:
        raise ModelError(
            f"opset {wanted} is not one that compiled models use. Choose from {OPSETS[0]} to "
            f"{OPSETS[-1]}."
        )
    if model.graph.opset_imports[""] == wanted:
        return
    try:
        through_proto(model, lambda p: version_converter.convert_version(p, wanted))
    except (RuntimeError, version_converter.ConvertError) as e:
        raise ModelError(
            f"the model cannot be brought to opset {wanted}: {e}. Leave out --opset."
        ) from e
