"""Operators of ai.onnx.ml: categories that become numbers, what carries no relevance, and what has
no layers to explain by.
"""

from __future__ import annotations

import onnx_ir as ir

from lrp_onnx.graph.builder import Emit
from lrp_onnx.ops.registry import never_propagates, no_relevance, op

__all__: list[str] = []

ML = "ai.onnx.ml"

no_relevance(["Binarizer", "CategoryMapper", "ZipMap"], domain=ML)


def _of_categories(node: ir.Node, active: tuple[int, ...]) -> str:
    """Of floats an encoder makes steps, without a derivative."""
    x = node.inputs[0]
    return "none" if x is None or x.dtype is None or x.dtype.is_floating_point() else "move"


def _of_texts(node: ir.Node, active: tuple[int, ...]) -> str:
    """What encodes whole numbers most often names classes."""
    x = node.inputs[0]
    return "move" if x is not None and x.dtype == ir.DataType.STRING else "none"


@op("OneHotEncoder", kind=("move", "none"), choose=_of_categories, domain=ML)
def one_hot_encoder(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """A category's sum over the numbers that stand for it, as of a token over its embedding.

    s: (*shape, categories)    ->    c: (*shape,).    Spec: ONNX ai.onnx.ml OneHotEncoder-1.
    """
    return emit.op("ReduceSum", s, emit.ints(-1), keepdims=0)


@op("LabelEncoder", kind=("move", "none"), choose=_of_texts, domain=ML)
def label_encoder(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """That of the number that stands for a text.

    s, c: the same shape.    Spec: ONNX ai.onnx.ml LabelEncoder-4.
    """
    return s


never_propagates(
    ["TreeEnsemble", "TreeEnsembleClassifier", "TreeEnsembleRegressor"],
    "a tree is constant between its thresholds, so nothing of its output can be traced to an "
    "input. Use a method made for trees, such as TreeSHAP, on the model that it was made from",
    domain=ML,
)
never_propagates(
    ["SVMClassifier", "SVMRegressor"],
    "a kernel machine compares the input with stored examples and has no layers to propagate "
    "through. Use a linear model, or explain it by perturbation",
    domain=ML,
)
never_propagates(
    ["CastMap", "DictVectorizer"],
    "its input is a map, not a tensor. Export the model behind it",
    domain=ML,
)
