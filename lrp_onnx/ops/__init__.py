"""The operators, one module a family; importing the package fills the registry."""

from lrp_onnx.ops import (
    activation,
    arithmetic,
    deviation,
    elementary,
    explained,
    identity,
    linear,
    move,
    norm,
    pool,
    reduce,
    resize,
    select,
    silent,
    softmax,
)
from lrp_onnx.ops.registry import KINDS, REGISTRY, Op, find, op

__all__ = [
    "KINDS",
    "REGISTRY",
    "Op",
    "activation",
    "arithmetic",
    "deviation",
    "elementary",
    "explained",
    "find",
    "identity",
    "linear",
    "move",
    "norm",
    "op",
    "pool",
    "reduce",
    "resize",
    "select",
    "silent",
    "softmax",
]
