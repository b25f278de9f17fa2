"""A composite for the user's own data: the graded family, searched on half of the samples.

The family, by share of depth among the linear layers: a rule for the first convolution, one for the
lower third of the others, gamma for the middle third, epsilon on the rest and on every dense layer.
One choice after the other is varied and the one with the largest mean SRG kept.  What was found is
judged on the samples that it was not chosen on; on those it was it would look better than it is.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lrp_onnx.errors import InputError
from lrp_onnx.graph.atomic_files import atomic
from lrp_onnx.graph.temporary import temporary_folder
from lrp_onnx.validate.candidate import Opened
from lrp_onnx.validate.evaluation import Clock, Float, mean_and_error
from lrp_onnx.validate.original import Original
from lrp_onnx.validate.perturbed import flipping_of
from lrp_onnx.validate.question import Candidate, Compared, Question, Watch

__all__ = ["FEWEST", "Graded", "Tuning", "tune"]

FEWEST = 4
"""Samples without which nothing is chosen: half of them judge."""
CONVOLUTION = 'op = ["Conv", "ConvTranspose"]\nkind = "linear"\n'
LOWER = {"gamma": 'rule = "gamma"\nparameters = { gamma = 1 }', "zplus": 'rule = "zplus"'}
CHOICES: dict[str, tuple[str | float, ...]] = {
    "epsilon": (0.25, 0.1, 0.5),
    "lower": ("gamma", "zplus"),
    "middle": (0.25, 0.1, 0.5),
    "first": ("flat", "zbox"),
}
"""What is varied, in this order; the first is where the search begins."""


@dataclass(frozen=True)
class Graded:
    """One composite of the family."""

    first: str | float = "flat"
    """The rule of the first convolution."""
    lower: str | float = "gamma"
    """That of the lower third: gamma with γ = 1, or zplus."""
    middle: str | float = 0.25
    """γ of the middle third."""
    epsilon: str | float = 0.25
    """ε of the rest, in units of the root mean square of its layer."""

    def toml(self, summary: str) -> str:
        """The composite's file."""
        return f"""summary = "{summary}"
reference = "lrp-onnx evaluate --tune; Montavon et al. 2019, section 10.3"
base = "base"

[[layer]]
first = true
{CONVOLUTION}rule = "{self.first}"

[[layer]]
{CONVOLUTION}depth = [0, 0.33]
{LOWER[str(self.lower)]}

[[layer]]
{CONVOLUTION}depth = [0.33, 0.67]
rule = "gamma"
parameters = {{ gamma = {self.middle} }}

[[layer]]
kind = "linear"
rule = "epsilon"
parameters = {{ epsilon = "{self.epsilon}*rms(z)" }}
"""

    def __str__(self) -> str:
        lower = "gamma 1" if self.lower == "gamma" else self.lower
        return f"{self.first}, {lower}, gamma {self.middle}, epsilon {self.epsilon}*rms(z)"


@dataclass(frozen=True)
class Tuning:
    """What was tried, and what is left to judge it on."""

    best: Graded
    tried: dict[Graded, Float]
    """The SRG of each of the samples that were chosen on."""
    question: Question
    """With the other samples."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the best as a composite. Raises OutputError where the file cannot be written."""
        with atomic(path) as temporary:
            temporary.write_text(self.best.toml(self.summary), encoding="utf-8")

    @property
    def summary(self) -> str:
        """What was chosen from what, in words."""
        mean, error = mean_and_error(self.tried[self.best])
        count = len(self.tried[self.best])
        chosen = f"SRG {mean:.3f} ± {error:.3f} on the {count} samples it was chosen on"
        return f"by depth: {self.best}; {chosen}"


def tune(question: Question, watch: Watch, comparison: Compared) -> Tuning:
    """Search the family on every second sample. Raises InputError where there are too few."""
    original = Original(question, Clock(), comparison)
    samples = original.samples
    if len(samples) < FEWEST:
        count = f"{len(samples)} sample{'s' * (len(samples) != 1)}"
        raise InputError(
            f"tune: {count}, and one half chooses the composite while the other judges it. Give "
            f"{FEWEST} or more."
        )
    choosing, judging = (_half(question, original, first) for first in (0, 1))
    chosen_from = Original(choosing, Clock(), comparison)
    best, tried = _search(choosing, chosen_from, _choices(question, original), watch)
    return Tuning(best, tried, judging)


def _half(question: Question, original: Original, first: int) -> Question:
    """The same on every second sample that has a score."""
    half, classes = slice(first, None, 2), question.classes
    return replace(
        question,
        inputs=original.samples[half],
        names=None if question.names is None else original.called[half],
        left_out=original.left_out,
        classes=None if classes is None else classes[half],
    )


def _choices(question: Question, original: Original) -> dict[str, tuple[str | float, ...]]:
    """What there is to vary: without a convolution only epsilon, zbox where the range is known."""
    convolutions = original.comparison.operators & {"Conv", "ConvTranspose"}
    choices = dict(CHOICES) if convolutions else {"epsilon": CHOICES["epsilon"]}
    if not question.knows_range:
        choices.pop("first", None)
    return choices


def _search(
    question: Question,
    original: Original,
    choices: dict[str, tuple[str | float, ...]],
    watch: Watch,
) -> tuple[Graded, dict[Graded, Float]]:
    flipping, _ = flipping_of(question, original)
    count = 1 + sum(len(values) - 1 for values in choices.values())
    watch.begin("tune", 2 * count * len(original.samples))
    tried: dict[Graded, Float] = {}
    with temporary_folder() as folder:

        def try_out(every: Sequence[Graded]) -> None:
            new = [graded for graded in every if graded not in tried]
            files = [folder / f"{len(tried) + k}.toml" for k in range(len(new))]
            for graded, file in zip(new, files, strict=True):
                file.write_text(graded.toml("tried"), encoding="utf-8")
            maps = Opened([Candidate(str(file)) for file in files], question, original).maps()
            for graded, own in zip(new, maps, strict=True):
                flipped = flipping.curves(original.scores, own, watch.tick)
                tried[graded] = np.array([f.srg for f in flipped])

        best = Graded()
        for name, values in choices.items():
            every = [replace(best, **{name: value}) for value in values]
            try_out(every)
            best = max(every, key=lambda graded: float(tried[graded].mean()))
    return best, tried
