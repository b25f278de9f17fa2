"""The table of decompositions: operators that become standard ones, before any other stage.

A decomposition is one function next to its operator's name:

    @decomposes("QuickGelu", domain="com.microsoft")
    def quick_gelu(build, node):
        '''x · σ(alpha · x).  Spec: ONNX Runtime contrib operators, QuickGelu.'''
        x, alpha = node.inputs[0], node.attributes.get_float("alpha", 1.702)
        return [build.op("Mul", x, build.op("Sigmoid", build.op("Mul", x, build.like(alpha, x))))]

It returns one value for each output of the node that may be read, None for those that it does not
compute; or None for a node that stays as it is.  What it emits takes the node's place in the
canonical view; the prediction keeps the node, if a runtime has a kernel for it.  It raises
`refuse(reason)` for a use that cannot be explained; then the node stays, and the explanation path
names it if relevance would have to go through it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import onnx_ir as ir

from lrp_onnx.graph.replacement import Build

__all__ = [
    "DECOMPOSITIONS",
    "FINDERS",
    "OWN_LAYOUT",
    "WITHOUT_KERNEL",
    "Decomposition",
    "decomposes",
    "finds_layers",
]

Decomposition = Callable[[Build, ir.Node], Sequence[ir.Value | None] | None]

Finder = Callable[[ir.Model], Iterator[tuple[ir.Node, Decomposition]]]

DECOMPOSITIONS: dict[tuple[str, str], Decomposition] = {}
FINDERS: list[Finder] = []
"""What finds layers that several nodes spell: the node whose place is taken, and what stands for
it."""
WITHOUT_KERNEL = {
    ("ai.onnx.preview", "FlexAttention"),
    ("com.microsoft", "BiasAdd"),
    ("com.microsoft", "BiasDropout"),
    ("com.microsoft", "BiasSoftmax"),
    ("com.microsoft", "BiasSplitGelu"),
    ("com.microsoft", "FusedMatMulActivation"),
    ("com.microsoft", "GemmFastGelu"),
    ("com.microsoft", "GroupNorm"),
    ("com.microsoft", "SimplifiedLayerNormalization"),
    ("com.microsoft", "SkipGroupNorm"),
    ("com.microsoft", "TorchEmbedding"),
}
"""Operators that ONNX Runtime cannot run on a CPU, under that name at least: the prediction is
written out too.
"""
OWN_LAYOUT = {("com.microsoft", "GroupQueryAttention"): (1, 2)}
"""Outputs that the decomposition lays out in another way than the runtime does."""


def decomposes(op_type: str, domain: str = "") -> Callable[[Decomposition], Decomposition]:
    """Register the decorated function as what stands for operator `op_type`."""

    def register(decomposition: Decomposition) -> Decomposition:
        assert (domain, op_type) not in DECOMPOSITIONS, f"{op_type} is registered twice"
        DECOMPOSITIONS[domain, op_type] = decomposition
        return decomposition

    return register


def finds_layers(finder: Finder) -> Finder:
    """Register the decorated function as one of FINDERS."""
    FINDERS.append(finder)
    return finder
