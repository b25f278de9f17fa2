"""Operators of ai.onnx.ml that carry no relevance, or that have no layers to explain by."""

from __future__ import annotations

from lrp_onnx.ops.registry import never_propagates, no_relevance

__all__: list[str] = []

ML = "ai.onnx.ml"

no_relevance(["Binarizer", "OneHotEncoder", "LabelEncoder", "CategoryMapper", "ZipMap"], domain=ML)
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
