"""Operators that carry no relevance: they make integers, truth values, shapes, indices, constants
or random numbers; and those that are refused because relevance cannot go through what they make.

Rounding is among them: its derivative is 0 wherever it exists.
"""

from __future__ import annotations

from lrp_onnx.ops.registry import never_propagates, no_relevance

__all__: list[str] = []

SHAPES = ("Shape", "Size", "Constant", "ConstantOfShape", "EyeLike")
# which boxes survive is an index; the boxes that it gathers keep their relevance
INDICES = ("NonZero", "ArgMax", "ArgMin", "NonMaxSuppression", "Hardmax")
WINDOWS = ("HammingWindow", "HannWindow", "BlackmanWindow", "MelWeightMatrix")
TRUTH = (
    "Equal",
    "Greater",
    "GreaterOrEqual",
    "Less",
    "LessOrEqual",
    "Not",
    "And",
    "Or",
    "Xor",
    "IsNaN",
    "IsInf",
)
BITS = ("BitCast", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor")
# counts of n-grams of tokens
COUNTS = ("TfIdfVectorizer",)
ROUNDING = ("Sign", "Floor", "Ceil", "Round")
RANDOM = (
    "RandomNormal",
    "RandomUniform",
    "RandomNormalLike",
    "RandomUniformLike",
    "Bernoulli",
    "Multinomial",
)

no_relevance([*SHAPES, *INDICES, *WINDOWS, *TRUTH, *BITS, *ROUNDING, *RANDOM, *COUNTS])

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
