"""Linear models and what prepares their input, of domain ai.onnx.ml, as standard operators.

Each node stays in the forward, so that labels and rounding are its own; relevance goes through the
spelling.  Labels carry none; categories: `ops/classical.py`.  Specifications: ONNX ai.onnx.ml.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import ArrayLike

from lrp_onnx.errors import UnsupportedError
from lrp_onnx.frontend.decompose.heads import rank_of
from lrp_onnx.frontend.decompose.registry import decomposes
from lrp_onnx.graph.replacement import Build, attribute

__all__: list[str] = []

ML = "ai.onnx.ml"
FLOAT = ir.DataType.FLOAT
NO_TYPE = "the element type of its input is unknown"
TRANSFORMS = {"NONE": None, "SOFTMAX": "Softmax", "LOGISTIC": "Sigmoid"}


def _floats(build: Build, x: ir.Value | None) -> ir.Value:
    """The input as float32, in which these operators compute."""
    if x is None or x.dtype is None:
        raise UnsupportedError(NO_TYPE)
    return x if x.dtype == FLOAT else build.op("Cast", x, to=int(FLOAT))


def _constant(build: Build, values: ArrayLike) -> ir.Value:
    return build.constant(np.asarray(values, np.float32), FLOAT)


@decomposes("Scaler", domain=ML)
def scaler(build: Build, node: ir.Node) -> Sequence[ir.Value]:
    """(x - offset) · scale, each one number or one per feature."""
    x = _floats(build, node.inputs[0])
    offset, scale = (node.attributes.get_floats(k) for k in ("offset", "scale"))
    z = x if offset is None else build.op("Sub", x, _constant(build, offset))
    z = z if scale is None else build.op("Mul", z, _constant(build, scale))
    return [build.explained(node.outputs[0], z)]


@decomposes("Normalizer", domain=ML)
def normalizer(build: Build, node: ir.Node) -> Sequence[ir.Value]:
    """x over its largest entry, its L1 norm or its L2 norm along the features; 0 stays 0."""
    x, kind = _floats(build, node.inputs[0]), node.attributes.get_string("norm", "MAX")
    reductions = {"MAX": "ReduceMax", "L1": "ReduceL1", "L2": "ReduceL2"}
    length = build.op(reductions[kind], x, build.ints(-1), keepdims=1)
    empty = build.op("Equal", length, _constant(build, 0.0))
    divisor = build.op("Where", empty, _constant(build, 1.0), length)
    return [build.explained(node.outputs[0], build.op("Div", x, divisor))]


@decomposes("LinearRegressor", domain=ML)
def linear_regressor(build: Build, node: ir.Node) -> Sequence[ir.Value]:
    """x·wᵀ + b; one target alone is not transformed, as in ONNX Runtime.

    coefficients: (targets, features), flat    intercepts: (targets,)
    """
    targets = node.attributes.get_int("targets", 1)
    w = np.reshape(node.attributes.get_floats("coefficients"), (targets, -1))
    scores = _scores(build, node, w, attribute(node, "intercepts", np.zeros(targets)))
    z = _transformed(build, node, scores) if targets > 1 else scores
    return [build.explained(node.outputs[0], z)]


@decomposes("LinearClassifier", domain=ML)
def linear_classifier(build: Build, node: ir.Node) -> Sequence[ir.Value | None]:
    """The scores x·wᵀ + b of each class, transformed; the label stays the node's.

    coefficients: (classes, features), flat    intercepts: (classes,)

    One row for two classes is the second one's: the first has the score -s behind LOGISTIC, whose
    result is 1 - σ(s), and 1 - s behind anything else, which ONNX Runtime does not transform.
    """
    labels = (
        node.attributes.get_ints("classlabels_ints")
        or node.attributes.get_strings("classlabels_strings")
        or []
    )
    coefficients = node.attributes.get_floats("coefficients")
    intercepts = np.asarray(attribute(node, "intercepts", ()), np.float64)
    rows = intercepts.size or len(labels)
    w = np.reshape(coefficients, (rows, -1))
    b = intercepts if intercepts.size else np.zeros(rows)
    if (rows, len(labels)) != (1, 2):
        z = _transformed(build, node, _scores(build, node, w, b))
        return [None, build.explained(node.outputs[1], z)]
    logistic = node.attributes.get_string("post_transform", "NONE") == "LOGISTIC"
    both = [-b[0] if logistic else 1 - b[0], b[0]]
    scores = _scores(build, node, np.concatenate([-w, w]), both)
    z = _transformed(build, node, scores) if logistic else scores
    return [None, build.explained(node.outputs[1], z)]


def _scores(build: Build, node: ir.Node, w: ArrayLike, b: ArrayLike) -> ir.Value:
    x = _floats(build, node.inputs[0])
    if rank_of(x if x.shape is not None else node.inputs[0]) != 2:
        raise UnsupportedError("its input is no matrix. Export the model with a batch axis")
    return build.op("Gemm", x, _constant(build, w), _constant(build, b), transB=1)


def _transformed(build: Build, node: ir.Node, scores: ir.Value) -> ir.Value:
    name = node.attributes.get_string("post_transform", "NONE")
    if name not in TRANSFORMS:
        raise UnsupportedError(f"its post_transform {name} has no rule. Export it with NONE")
    op_type = TRANSFORMS[name]
    if op_type is None:
        return scores
    return build.op(op_type, scores, **({"axis": -1} if op_type == "Softmax" else {}))


@decomposes("Imputer", domain=ML)
def imputer(build: Build, node: ir.Node) -> Sequence[ir.Value] | None:
    """x where it is there, else a constant; integers carry no relevance."""
    x, values = node.inputs[0], node.attributes.get_floats("imputed_value_floats")
    if x is None or x.dtype is None or not x.dtype.is_floating_point() or values is None:
        return None
    missing = node.attributes.get_float("replaced_value_float", 0.0)
    if np.isnan(missing):
        lacks = build.op("IsNaN", x)
    else:
        lacks = build.op("Equal", x, build.constant(missing, x.dtype))
    z = build.op("Where", lacks, build.constant(np.asarray(values), x.dtype), x)
    return [build.explained(node.outputs[0], z)]


@decomposes("FeatureVectorizer", domain=ML)
def feature_vectorizer(build: Build, node: ir.Node) -> Sequence[ir.Value]:
    """The features of every input side by side."""
    if any(rank_of(v) != 2 for v in node.inputs):
        raise UnsupportedError("an input is no matrix. Export the model with a batch axis")
    parts = [_floats(build, v) for v in node.inputs]
    return [build.explained(node.outputs[0], build.op("Concat", *parts, axis=1))]


@decomposes("ArrayFeatureExtractor", domain=ML)
def array_feature_extractor(build: Build, node: ir.Node) -> Sequence[ir.Value] | None:
    """The chosen entries of the last axis; of labels and other integers nothing."""
    x, chosen = node.inputs
    if x is None or x.dtype is None:
        raise UnsupportedError(NO_TYPE)
    if not x.dtype.is_floating_point():
        return None
    z = build.op("Gather", x, build.op("Reshape", chosen, build.ints(-1)), axis=-1)
    if rank_of(x) == 1:
        z = build.op("Unsqueeze", z, build.ints(0))
    return [build.explained(node.outputs[0], z)]
