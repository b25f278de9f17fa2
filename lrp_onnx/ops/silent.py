"""Operators that carry no relevance: they make integers, truth values, shapes, indices, constants
or random numbers; those that are refused because relevance cannot go through what they make; and
what is known of those that are expanded into others.

Rounding is among them: its derivative is 0 wherever it exists.
"""

from __future__ import annotations

from lrp_onnx.ops.bounds import common_sign, nonnegative, same_sign
from lrp_onnx.ops.registry import expanded, never_propagates, no_relevance
from lrp_onnx.ops.samples import along, by_shape

__all__: list[str] = []

SHAPES = ("Shape", "Size", "Constant", "EyeLike")
# which boxes survive is an index; the boxes that it gathers keep their relevance
INDICES = ("NonMaxSuppression",)
WINDOWS = ("HammingWindow", "HannWindow", "BlackmanWindow", "MelWeightMatrix")
COMPARISONS = ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "And", "Or")
BITS = ("BitCast", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor")
# counts of n-grams of tokens
COUNTS = ("TfIdfVectorizer",)
RANDOM = (
    *("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli"),
    "Multinomial",
)

no_relevance([*SHAPES, *INDICES, *WINDOWS, *RANDOM, *COUNTS])
no_relevance(BITS, elementwise=True)
no_relevance(["ConstantOfShape"], fills=True, folds=True, grows=True)
no_relevance(["NonZero"], folds=True, grows=True)
no_relevance(["ArgMax", "ArgMin"], samples_apart=along(0))
no_relevance(["Hardmax"], samples_apart=along(-1))
no_relevance(COMPARISONS, elementwise=True, folds=True)
no_relevance(["Xor", "IsNaN", "IsInf"], elementwise=True)
no_relevance(["Sign", "Floor", "Ceil", "Round"], sign=same_sign, folds=True)

STRINGS = ("RegexFullMatch", "StringConcat", "StringNormalizer", "StringSplit")
never_propagates(STRINGS, "it works on strings, which have no relevance")
SEQUENCES = ("SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceInsert")
never_propagates(
    [*SEQUENCES, "SplitToSequence", "Optional"],
    "its sequence or optional is not resolved into tensors when the model is compiled. Export the "
    "model without it",
)
no_relevance(["OptionalHasElement"])
never_propagates(["ImageDecoder"], "it decodes a compressed image. Decode before the model")
never_propagates(
    ("Adagrad", "Adam", "Gradient", "Momentum"),
    "it trains. Export the model for inference",
    domain="ai.onnx.preview.training",
)

expanded(["Sum"], sign=common_sign, folds=True)
expanded(["ReduceSumSquare"], sign=nonnegative, samples_apart=by_shape)
expanded(["ReduceLogSum"], samples_apart=by_shape)
expanded(["RMSNormalization", "LpNormalization"], samples_apart=along(-1))
