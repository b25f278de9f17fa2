"""The model at an opset that the rules know, or at the one that the user asked for."""

from __future__ import annotations

from collections.abc import Callable

import onnx
import onnx_ir as ir
from onnx import version_converter
from onnx_ir.passes import common

from lrp_onnx.errors import ModelError
from lrp_onnx.frontend.decompose import DECOMPOSITIONS, WITHOUT_KERNEL, decompose
from lrp_onnx.frontend.normalize.shapes import infer_shapes
from lrp_onnx.frontend.opset import CEILING, FLOOR, OLDER
from lrp_onnx.frontend.opset.convert import convert
from lrp_onnx.frontend.opset.weights import widen_weights
from lrp_onnx.graph.annotations import REFUSED
from lrp_onnx.graph.refusal import refusal
from lrp_onnx.graph.small_model import through_proto
from lrp_onnx.graph.subgraphs import nodes_of

__all__ = ["bring_to_opset"]

OPSETS = range(FLOOR, CEILING + 1)
ROUNDS = 6
"""How often operators are written out that a decomposition wrote."""


def bring_to_opset(model: ir.Model, wanted: int | None) -> None:
    """Convert to an opset of OPSETS, and to `wanted` if it is one; an older one is written at last.

    Raises ModelError where onnx cannot, and for another `wanted`; UnsupportedError for an operator
    that is too new.
    """
    if model.graph.opset_imports.get("", 0) > OPSETS[-1]:
        widen_weights(model)
        _write_out(model, _is_newer)
        # its function would spell what the decomposition refused, and need not be one that
        # relevance gets through rightly
        nodes = nodes_of(model.graph)
        refused = {n: n.metadata_props[REFUSED] for n in nodes if _is_refused(n)}
        if refused:
            raise refusal(refused)
    if model.graph.opset_imports.get("", 0) not in OPSETS:
        convert(model)
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    if wanted is not None:
        _convert(model, max(wanted, OPSETS[0]) if wanted in OLDER else wanted)
    _write_out(model, _lacks_kernel)


def _write_out(model: ir.Model, which: Callable[[ir.Node], bool]) -> None:
    """Write out these operators by their decompositions, and what those are written in."""
    for _ in range(ROUNDS if any(map(which, nodes_of(model.graph))) else 0):
        infer_shapes(model)
        if not decompose(model, which):
            break


def _is_newer(node: ir.Node) -> bool:
    """Whether it has a decomposition and does not exist at OPSETS."""
    known = not node.domain and ("", node.op_type) in DECOMPOSITIONS
    return known and not onnx.defs.has(node.op_type, OPSETS[-1], "")


def _is_refused(node: ir.Node) -> bool:
    return _is_newer(node) and REFUSED in node.metadata_props


def _lacks_kernel(node: ir.Node) -> bool:
    """Whether ONNX Runtime cannot run it, so that the prediction is written out too."""
    batch_first = node.attributes.get_int("layout", 0) and not node.domain
    return (node.domain, node.op_type) in WITHOUT_KERNEL or bool(batch_first)


def _convert(model: ir.Model, wanted: int) -> None:
    """Bring the model to the opset that the user asked for, one of OPSETS."""
    if wanted not in OPSETS:
        raise ModelError(
            f"opset {wanted} is not one that compiled models use. Choose from {OLDER[0]} to "
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
