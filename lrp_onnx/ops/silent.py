"""Operators that carry no relevance: they make integers, truth values, shapes, indices, constants
or random numbers.

Rounding is among them: its derivative is 0 wherever it exists.
"""

from __future__ import annotations

from lrp_onnx.ops.registry import no_relevance

__all__: list[str] = []

SHAPES = ("Shape", "Size", "Constant", "ConstantOfShape", "Range", "EyeLike")
INDICES = ("NonZero", "ArgMax", "ArgMin", "OneHot", "NonMaxSuppression")
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
BITS = ("BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor")
ROUNDING = ("Sign", "Floor", "Ceil", "Round")
RANDOM = (
    "RandomNormal",
    "RandomUniform",
    "RandomNormalLike",
    "RandomUniformLike",
    "Bernoulli",
    "Multinomial",
)

no_relevance([*SHAPES, *INDICES, *WINDOWS, *TRUTH, *BITS, *ROUNDING, *RANDOM])
