"""A question's samples with their units and what replaces these, ready to be flipped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lrp_onnx.validate.batches import Feeds
from lrp_onnx.validate.flipping import Ends, Flipping, Scores
from lrp_onnx.validate.original import Original
from lrp_onnx.validate.question import Question, Watch
from lrp_onnx.validate.replacement import replacement_of
from lrp_onnx.validate.units import units_of

__all__ = ["flipping_of", "ticking"]


def flipping_of(question: Question, original: Original) -> tuple[Flipping, str]:
    """The samples with what their units are replaced by, and that in words."""
    samples, names, apart = original.samples, original.names, original.batches.apart
    others, words = replacement_of(samples, names, apart, question.replacement)
    pairs = list(zip(samples, others, strict=True))
    units = [units_of(feeds, names, apart, question.unit, other) for feeds, other in pairs]
    replaced = original.scores((k, {**feeds, **other}) for k, (feeds, other) in enumerate(pairs))
    ends = [Ends(own, other) for own, other in zip(original.own, replaced, strict=True)]
    return Flipping(samples, others, units, ends, question.points), words


def ticking(scores: Scores, watch: Watch) -> Scores:
    """The same scores, each of which is told."""

    def told(changed: Iterable[tuple[int, Feeds]]) -> Iterator[float]:
        for score in scores(changed):
            watch.tick()
            yield score

    return told
