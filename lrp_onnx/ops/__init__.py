"""The operators, one module a family; importing the package fills the registry."""

from lrp_onnx.ops import (
    activation,
    arithmetic,
    axiswise,
    elementary,
    explained,
    identity,
    indexed,
    linear,
    move,
    norm,
    pool,
    reduce,
    resize,
    select,
    silent,
)
from lrp_onnx.ops.registry import KINDS, REGISTRY, Op, find, op

__all__ = [
    "KINDS",
    "REGISTRY",
    "Op",
    "activation",
    "arithmetic",
    "axiswise",
    "elementary",
    "explained",
    "find",
    "identity",
    "indexed",
    "linear",
    "move",
    "norm",
    "op",
    "pool",
    "reduce",
    "resize",
    "select",
    "silent",
]
