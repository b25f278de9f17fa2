"""Many exported nodes become one concept.

Each rewrite is a pass as in `normalize`: it changes the model in place and says whether it changed
anything.  It leaves the forward as it is, up to the rounding of new weights, which are formed in
float64; its module derives why.  `annotations.aliases` names, for each tensor that
disappears, the one that has its relevance.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common

from lrp_onnx.frontend.canonize.activations import activations
from lrp_onnx.frontend.canonize.apart import bring_together
from lrp_onnx.frontend.canonize.averages import averages
from lrp_onnx.frontend.canonize.batchnorm import fold_batchnorm_before, fold_batchnorm_behind
from lrp_onnx.frontend.canonize.branches import merge_branches
from lrp_onnx.frontend.canonize.cells import mark_cells
from lrp_onnx.frontend.canonize.choices import choices
from lrp_onnx.frontend.canonize.chunked_scans import mark_chunked_scans
from lrp_onnx.frontend.canonize.constant_columns import columns_as_biases
from lrp_onnx.frontend.canonize.cut_layers import join_cut_layers
from lrp_onnx.frontend.canonize.dense import add_biases, plain_gemms
from lrp_onnx.frontend.canonize.dense_branches import merge_dense_branches
from lrp_onnx.frontend.canonize.dense_einsum import dense_einsums
from lrp_onnx.frontend.canonize.flattened import layers_of_places
from lrp_onnx.frontend.canonize.gate_products import gate_products
from lrp_onnx.frontend.canonize.joined import scale_before_joins
from lrp_onnx.frontend.canonize.knots import open_at_knots
from lrp_onnx.frontend.canonize.lookup import lookups
from lrp_onnx.frontend.canonize.masked import finite_twins
from lrp_onnx.frontend.canonize.masked_sums import masked_sums
from lrp_onnx.frontend.canonize.norm_affine import fold_behind_norms
from lrp_onnx.frontend.canonize.padding import explicit_pads, fold_pads
from lrp_onnx.frontend.canonize.quantized_biases import bring_quantized_biases
from lrp_onnx.frontend.canonize.recognize import recognize
from lrp_onnx.frontend.canonize.scaled import scale_first_factor
from lrp_onnx.frontend.canonize.scans import mark_scans
from lrp_onnx.frontend.canonize.shifts import unshifted_softmaxes
from lrp_onnx.frontend.canonize.spread_constants import unspread_constants
from lrp_onnx.frontend.canonize.spread_products import matrix_products
from lrp_onnx.frontend.canonize.sum_biases import bring_biases
from lrp_onnx.frontend.canonize.transposed import single_transposes
from lrp_onnx.frontend.canonize.unfolded import unfolded_windows
from lrp_onnx.frontend.canonize.variadic import binary_sums
from lrp_onnx.graph.annotations import share_aliases
from lrp_onnx.graph.constants import lift_weights
from lrp_onnx.graph.subgraphs import graphs_of
from lrp_onnx.graph.unused import remove_unused

__all__ = ["REWRITES", "canonize"]

REWRITES = (
    binary_sums,
    unspread_constants,
    matrix_products,
    lookups,
    single_transposes,
    averages,
    choices,
    masked_sums,
    bring_together,
    gate_products,
    activations,
    recognize,  # a norm's scale and bias are its own, not of a linear node near it
    fold_behind_norms,
    unshifted_softmaxes,
    finite_twins,
    open_at_knots,
    scale_first_factor,
    plain_gemms,
    bring_quantized_biases,
    columns_as_biases,
    dense_einsums,
    unfolded_windows,
    layers_of_places,
    lookups,  # by what was an Einsum
    merge_dense_branches,
    explicit_pads,
    fold_pads,
    scale_before_joins,
    bring_biases,
    add_biases,
    fold_batchnorm_behind,  # what follows a linear node belongs to it, before the next one takes it
    merge_branches,
    fold_pads,  # in front of what were branches
    fold_batchnorm_before,
)


def canonize(model: ir.Model) -> None:
    """Rewrite spellings into the forms that operators and rules are defined for, in the bodies of
    nodes too; the forward stays the same.
    """
    join_cut_layers(model)
    graphs = graphs_of(model.graph)
    for graph in graphs:
        part = model if graph is model.graph else _alone(model, graph)
        for rewrite in REWRITES:
            rewrite(part)
    if len(graphs) > 1:
        for graph in graphs[1:]:
            lift_weights(model.graph, graph)
        common.NameFixPass()(model)  # new constants of a body are named within it
    mark_cells(model)
    mark_scans(model)
    mark_chunked_scans(model)
    remove_unused(model)


def _alone(model: ir.Model, graph: ir.Graph) -> ir.Model:
    """A body as a model of its own, which shares what is kept of removed tensors."""
    part = ir.Model(graph, ir_version=model.ir_version)
    share_aliases(model, part)
    return part
