"""What is said of each sample: prediction, explained class, how much of the relevance arrived."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lrp_onnx.answer.class_names import Labels
from lrp_onnx.answer.detection import Detection
from lrp_onnx.answer.explained_entry import ExplainedEntry, Spot, explained_entry
from lrp_onnx.answer.prediction import prediction_of
from lrp_onnx.answer.scores import are_probabilities, probabilities
from lrp_onnx.errors import TargetError
from lrp_onnx.graph.annotations import TOPK_INDEX, has_batch
from lrp_onnx.graph.arrays import Array
from lrp_onnx.run.explainer import Explainer
from lrp_onnx.run.result import Result
from lrp_onnx.validate.verdict import BLOWN_UP, out_of_proportion

__all__ = ["Sample", "Written", "note_on", "samples_of"]

PLACE = re.compile(r" \((entry [^()]*)\)$")
"""Behind an entry's value: its indices, and the box of a detection."""
BESIDE = re.compile(r" \(([^()]* at \d+ of \d+ places)\)$")
"""Behind what is read: how often the blank stands between."""
MUCH = 1.25
"""Times the starting relevance above which what the input did not give is told."""
LITTLE = 0.1
"""Part of the starting relevance below which its amount says nothing."""


@dataclass(frozen=True)
class Sample:
    """One sample's prediction and the sum of its relevance."""

    prediction: str
    explained: str
    """What was explained, where that is not the prediction; else empty."""
    start: float | None
    """The sum of the starting relevance; None for gradients, which share out nothing."""
    total: float
    """The sum of relevance over all explained inputs."""
    conserving: bool = True
    """Whether all relevance but what is absorbed should arrive there."""
    through: str = ""
    """The channels that relevance had to pass; empty where it was free."""
    magnitude: float = 0.0
    """The sum of the absolute relevance over all explained inputs."""
    by_softmax: bool = False
    """Whether the model gives logits, so that the probabilities are those of their softmax."""
    detection: Detection | None = None
    """The one that was explained, where it has a box."""
    spot: Spot | None = None
    """Where in a map the entry lies that was explained."""
    is_part: bool = False
    """Whether that is one number of what is predicted, a map or a sequence."""
    probability: float | None = None
    """Of the predicted class, if the output is one number for each class."""

    @property
    def title(self) -> str:
        """In one line."""
        softmax = " by softmax" if self.by_softmax else ""
        explained = f"; explained: {self.explained}" if self.explained else ""
        through = f"; through {self.through}" if self.through else ""
        if self.is_part:
            return f"predicted: {self.prediction}{explained}{softmax}{through}"
        return f"predicted: {self.prediction}{softmax}{explained}{through}"

    @property
    def headline(self) -> str:
        """What is explained: the title of a picture, without the place of an entry that has a
        name.
        """
        text = self.explained or self.prediction
        place, bare = PLACE.search(text), BESIDE.sub("", PLACE.sub("", text))
        return bare if place is None or ", " in bare else f"{place[1].split(';')[0]}: {bare}"

    def subtitle(self, by: str) -> str:
        """What a picture says below its title. by: the composite or method."""
        text = self.explained or self.prediction
        place, beside = PLACE.search(text), BESIDE.search(text)
        parts = [
            self._other,
            "" if beside is None else beside[1],
            "" if place is None else place[1],
            by,
            f"through {self.through}" if self.through else "",
            "probabilities by softmax" if self.by_softmax else "",
        ]
        return " · ".join(filter(None, parts))

    @property
    def _other(self) -> str:
        """The prediction, where what is explained does not say it."""
        read = BESIDE.sub("", self.prediction)
        if not self.explained or read in self.explained:
            return ""
        return f"{'predicted:' if self.is_part else 'explained in place of the prediction,'} {read}"

    @property
    def conservation(self) -> str:
        """How much of the starting relevance arrived."""
        if not self.start:
            return f"{self.total:.5g}"
        return f"{self.total:.5g} of {self.start:.5g} ({self.total / self.start:.1%})"

    @property
    def absorbed(self) -> float | None:
        """Percent of the starting relevance, where hardly any arrived."""
        if not self.conserving or not self.start or self.total / self.start >= LITTLE:
            return None
        return 100 * (1 - self.total / self.start)

    @property
    def is_zero(self) -> bool:
        """Whether no entry of an input got any relevance."""
        return self.total == 0 and self.magnitude == 0

    @property
    def wrong(self) -> str:
        """What is wrong with the sum of relevance, its sign or its size; empty if nothing is."""
        return out_of_proportion(self.total, self.start) if self.conserving and self.start else ""


def note_on(samples: Sequence[Sample]) -> str:
    """What to think of relevance that hardly arrived, is far too much or changed its sign, of all
    samples at once; empty where there is none.
    """
    blown_up = [s for s in samples if s.start and s.magnitude > BLOWN_UP * abs(s.start)]
    if blown_up:
        times = max(s.magnitude / abs(s.start or 1.0) for s in blown_up)
        return (
            f"in absolute value relevance adds up to {times:.4g} times what is explained: terms "
            "of both signs cancel, so that the map means nothing (lrp-onnx verify shows where; try "
            "another composite, or --method integrated-gradients)"
        )
    wrong = [s for s in samples if s.wrong]
    if wrong:
        worst = max(wrong, key=lambda s: abs(s.total / (s.start or 1.0)))
        some = f" ({len(wrong)} of {len(samples)} times)" if len(wrong) < len(samples) else ""
        return (
            f"relevance sums to {worst.total:.4g} where {worst.start:.4g} is explained{some}: "
            f"{worst.wrong}, so that the map cannot be trusted (lrp-onnx verify shows what took "
            "the rest; try another composite)"
        )
    percents = [sample.absorbed for sample in samples if sample.absorbed is not None]
    if not percents:
        return _over(samples)
    if all(sample.is_zero for sample in samples):
        return (
            "the map is 0 everywhere: the biases, the stabilizers or the rules took all of the "
            "relevance, as where no unit is active (lrp-onnx verify shows where)"
        )
    ends = dict.fromkeys(f"{p:.1f}".removesuffix(".0") for p in (min(percents), max(percents)))
    some = f" ({len(percents)} of {len(samples)} times)" if len(percents) < len(samples) else ""
    return (
        f"the biases and stabilizers absorbed {' to '.join(ends)} % of the relevance{some}: read "
        "the pattern, not the amount (lrp-onnx verify shows where)"
    )


def _over(samples: Sequence[Sample]) -> str:
    """A note where more arrives than is explained, though not out of proportion."""
    times = [s.total / s.start for s in samples if s.conserving and s.start]
    over = [share for share in times if share > MUCH]
    if not over:
        return ""
    ends = dict.fromkeys(f"{share:.0%}" for share in (min(over), max(over)))
    some = f" ({len(over)} of {len(samples)} times)" if len(over) < len(samples) else ""
    return (
        f"relevance sums to {' to '.join(ends)} of what is explained{some}: biases or rules hold "
        "something against it, which is in no input (lrp-onnx verify shows where)"
    )


def samples_of(
    explainer: Explainer,
    result: Result,
    labels: Labels | None,
    conserving: bool = True,
    through: str = "",
) -> list[Sample]:
    """One entry a sample of the batch; relevance at the output, if it is there, is its starting
    relevance.

    conserving: whether all relevance but what is absorbed should arrive at the explained inputs.
    through: the channels that it had to pass.
    """
    output = explainer.metadata["output"]
    relevance = [result.relevance[name] for name in json.loads(explainer.metadata["explained"])]
    outputs = _output_by_sample(explainer, result.outputs[output], relevance)
    count, at_output = len(outputs), result.relevance.get(output)
    starts = [None] * count if at_output is None else _sums(at_output, count).tolist()
    totals = sum((_sums(r, count) for r in relevance), np.zeros(count)).tolist()
    sizes = sum((_sums(np.abs(r), count) for r in relevance), np.zeros(count)).tolist()
    sums = list(zip(totals, sizes, strict=True))
    classes = result.outputs.get(f"{output}{TOPK_INDEX}", [None] * count)
    entries = _entries(explainer, result, outputs, at_output, labels)
    predictions = [
        prediction_of(explainer.metadata, y, result.outputs[output].ndim, labels, chosen, entry, k)
        for k, (y, chosen, entry) in enumerate(zip(outputs, classes, entries, strict=True))
    ]
    return [
        Sample(
            *prediction,
            start,
            total,
            conserving,
            through,
            size,
            entry.by_softmax or (y.ndim == 1 and "%" in prediction[0] and not are_probabilities(y)),
            entry.detection,
            entry.spot,
            entry.is_part,
            _probability(prediction[0], y),
        )
        for prediction, y, start, (total, size), entry in zip(
            predictions, outputs, starts, sums, entries, strict=True
        )
    ]


def _probability(prediction: str, y: Array) -> float | None:
    """That of the largest class, where the prediction tells it."""
    if y.ndim > 1 or "%" not in prediction:
        return None
    return float(y.item() if y.size == 1 else probabilities(y).max())


def _entries(
    explainer: Explainer, result: Result, y: Array, start: Array | None, labels: Labels | None
) -> list[ExplainedEntry]:
    """The one entry that was explained in each sample."""
    metadata, count = explainer.metadata, len(y)
    start = _named_entry(metadata["target"], y) if start is None else start
    if start is None:
        return [ExplainedEntry()] * count
    start = start.reshape(y.shape)
    head = json.loads(metadata.get("head") or "{}")

    def of_each(name: object) -> Sequence[Array | None]:
        """An output beside it, sample by sample."""
        values = result.outputs.get(str(name))
        if values is None:
            return [None] * count
        return list(values) if has_batch(metadata) else [values]

    boxes, classes = of_each(head.get("beside")), of_each(head.get("label"))
    rows = zip(y, start, boxes, classes, strict=True)
    return [explained_entry(metadata, own, r, labels, box, c) for own, r, box, c in rows]


def _named_entry(target: str, y: Array) -> Array | None:
    """1 at the entry that a target names, as where gradients start; None for other targets."""
    place = [int(part) for part in target.split(",") if part.isdigit()]
    if "," not in target or len(place) != y.ndim - 1 or target.count(",") != y.ndim - 2:
        return None
    if any(k >= size for k, size in zip(place, y.shape[1:], strict=True)):
        return None
    one: Array = np.zeros(y.shape[1:])
    one[tuple(place)] = 1
    return np.broadcast_to(one, y.shape)


def _sums(relevance: Array, count: int) -> Array:
    """Of each sample."""
    return np.asarray(relevance.reshape(count, -1).sum(axis=1, dtype=np.float64))


def _output_by_sample(explainer: Explainer, y: Array, relevance: Sequence[Array]) -> Array:
    """The output with its samples along axis 0: one, where that is no axis that the inputs have.

    Raises TargetError where numbers of samples would then be classes.
    """
    if not y.ndim or not has_batch(explainer.metadata):
        return y[None]
    if len(y) == 1 or all(r.ndim and len(r) == len(y) for r in relevance):
        return y
    if y.ndim == 1 and explainer.metadata["target"] != "all":
        name, shape = explainer.metadata["output"], list(relevance[0].shape)
        raise TargetError(
            f"output {name!r} of shape {list(y.shape)}: the explained input of shape {shape} is no "
            f"batch of {len(y)} samples, so these may be the classes of one sample. Give "
            "--class-axis 0 for classes, or --target all for their sum."
        )
    return y[None]


@dataclass(frozen=True)
class Written:
    """What is said of one explained output."""

    explainer: Explainer
    about: dict[str, str]
    """What is kept beside the result."""
    samples: list[Sample]
    drawn: str = ""
    """What was done to what is drawn; empty where that is nothing."""
    thumbnail: bytes = b""
    """The first sample as a small PNG, where many are written."""
    rows: Sequence[int] = ()
    """Of samples that are rows of a table: their numbers, from 1."""
