"""Any exported model in one form: no functions, opset 18 to 21, constants as initializers, known
shapes, operators that the rules know, shape arithmetic on known sizes done, no no-ops.

A pass changes the model in place and says whether it changed anything.
"""

from __future__ import annotations

from functools import partial

import onnx_ir as ir
from onnx_ir.passes import common

from lrp_onnx.frontend.decompose import decompose, write_out_functions
from lrp_onnx.frontend.normalize.branch import inline_branches
from lrp_onnx.frontend.normalize.fold import fold
from lrp_onnx.frontend.normalize.functions import inline_model_functions
from lrp_onnx.frontend.normalize.generated_names import free_generated_names, name_apart
from lrp_onnx.frontend.normalize.invariants import read_invariants_directly
from lrp_onnx.frontend.normalize.no_ops import drop_no_ops
from lrp_onnx.frontend.normalize.opsets import bring_to_opset
from lrp_onnx.frontend.normalize.ranks import choose_ranks
from lrp_onnx.frontend.normalize.shapes import (
    believe_declared,
    forget_declared,
    infer_shapes,
)
from lrp_onnx.frontend.normalize.unbind import unbind_without_length
from lrp_onnx.frontend.prediction import Prediction
from lrp_onnx.frontend.quantized.unsigned import make_unsigned
from lrp_onnx.graph.constants import lift_weights
from lrp_onnx.graph.subgraphs import graphs_of
from lrp_onnx.graph.unused import remove_unused

__all__ = ["infer_shapes", "normalize"]

IR_VERSIONS = {18: 8, 19: 9, 20: 9, 21: 10}
"""The format of a file by its opset, the oldest that has all of it: ONNX Runtime up to 1.17 refuses
10.
"""
PASSES = (decompose, fold, inline_branches, read_invariants_directly)
"""Each may uncover work for the others, once shapes are inferred again."""
ROUNDS = 6
"""How often they are run again because something was changed."""


def normalize(model: ir.Model, to_opset: int | None = None) -> Prediction:
    """Bring a model into the form the other stages expect; the forward and its inputs and outputs
    stay the same.  Returns the nodes that the model computes its outputs by.

    Raises ModelError where the model's opset cannot be converted or its shapes contradict each
    other.
    """
    declared = forget_declared(model)
    inline_model_functions(model)
    common.RemoveInitializersFromInputsPass()(model)
    _lift_constants(model)
    bring_to_opset(model, to_opset)
    model.ir_version = IR_VERSIONS[model.graph.opset_imports[""]]
    common.NameFixPass()(model)
    name_apart(model.graph)
    free_generated_names(model)
    for body in graphs_of(model.graph)[1:]:
        lift_weights(model.graph, body)
    unbind_without_length(model)
    make_unsigned(model)
    if any(map(_rounds_up, graphs_of(model.graph)[1:])):
        infer_shapes(model, strict=False)  # bodies are recorded whole, their pooling cut
    prediction = Prediction.of(model)
    if write_out_functions(model):  # shape inference does not know all of them
        _lift_constants(model)
        common.NameFixPass()(model)
    run_passes(model)
    undecided = set[str | None]()
    while choose_ranks(model, partial(run_passes, strict=False), undecided):
        run_passes(model)
    remove_unused(model)
    believe_declared(model, declared)
    return prediction


def run_passes(model: ir.Model, strict: bool = True) -> None:
    """Shapes, and what they decide: decompositions, constants, branches taken."""
    infer_shapes(model, strict)
    drop_no_ops(model)
    for _ in range(ROUNDS):
        changes = [change(model) for change in PASSES]  # all: what is folded may be a condition
        if not any(changes):
            break
        remove_unused(model)
        infer_shapes(model, strict)
        drop_no_ops(model)


def _rounds_up(graph: ir.Graph) -> bool:
    return any(node.attributes.get_int("ceil_mode", 0) for node in graph if not node.domain)


def _lift_constants(model: ir.Model) -> None:
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
