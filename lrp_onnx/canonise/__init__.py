"""Many exported nodes become one concept.

Each rewrite leaves the forward as it is, up to the rounding of new weights, which are formed in
float64; its module derives why.  `model.meta["lrp.aliases"]` names, for each tensor that
disappears, the one that has its relevance.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common

from lrp_onnx.canonise.batchnorm import fold_batchnorm_before, fold_batchnorm_behind
from lrp_onnx.canonise.dense import add_biases, plain_gemms
from lrp_onnx.canonise.layer_norm import layer_norms
from lrp_onnx.canonise.padding import explicit_pads, fold_pads
from lrp_onnx.canonise.variadic import binary_sums

__all__ = ["REWRITES", "canonise"]

REWRITES = (
    binary_sums,
    layer_norms,  # its scale and bias are its own, not of a linear node near it
    plain_gemms,
    explicit_pads,
    fold_pads,
    add_biases,
    fold_batchnorm_behind,  # what follows a linear node belongs to it, before the next one takes it
    fold_batchnorm_before,
)


def canonise(model: ir.Model) -> None:
    """Rewrite spellings into the forms that operators and rules are defined for; the forward stays
    the same.
    """
    for rewrite in REWRITES:
        rewrite(model)
    common.RemoveUnusedNodesPass()(model)
