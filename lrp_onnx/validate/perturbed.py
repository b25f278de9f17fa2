"""A question's samples with their units and what replaces these, ready to be flipped."""

from __future__ import annotations

from lrp_onnx.validate.flipping import Ends, Flipping
from lrp_onnx.validate.original import Original
from lrp_onnx.validate.question import Question
from lrp_onnx.validate.replacement import replacement_of
from lrp_onnx.validate.units import units_of

__all__ = ["flipping_of"]


def flipping_of(question: Question, original: Original) -> tuple[Flipping, str]:
    """The samples with what their units are replaced by, and that in words."""
    samples, names, apart = original.samples, original.names, original.batches.apart
    others, words = replacement_of(samples, names, apart, question.replacement)
    pairs = list(zip(samples, others, strict=True))
    units = [units_of(feeds, names, apart, question.unit, other) for feeds, other in pairs]
    ends = [
        Ends(original.own[k], float(original.scores(k, {n: x[None] for n, x in other.items()})[0]))
        for k, other in enumerate(others)
    ]
    return Flipping(samples, others, units, ends, question.points), words
