"""What is said of each sample: prediction, explained class, how much of the relevance arrived."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lrp_onnx.answer.class_names import Labels
from lrp_onnx.answer.detection import Detection
from lrp_onnx.answer.explained_entry import explained_entry
from lrp_onnx.answer.sequence import sequence_read
from lrp_onnx.data.labels import check_labels, class_name
from lrp_onnx.errors import TargetError
from lrp_onnx.graph.annotations import TOPK_INDEX, has_batch
from lrp_onnx.graph.arrays import Array
from lrp_onnx.run.explainer import Explainer
from lrp_onnx.run.result import Result
from lrp_onnx.validate.verdict import BLOWN_UP, out_of_proportion

__all__ = ["Sample", "Written", "check_class_names", "note_on", "samples_of"]

MANY, FLAT = 10, 2.0
"""Of so many numbers the softmax says nothing whose largest is below so many times chance."""
PLACE = re.compile(r" \((entry [^()]*)\)$")
"""Behind an entry's value: its indices, and the box of a detection."""
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

    @property
    def title(self) -> str:
        """In one line."""
        softmax = " by softmax" if self.by_softmax else ""
        explained = f"; explained: {self.explained}" if self.explained else ""
        through = f"; through {self.through}" if self.through else ""
        return f"predicted: {self.prediction}{softmax}{explained}{through}"

    @property
    def headline(self) -> str:
        """What is explained: the title of a picture, without the place of an entry that has a
        name.
        """
        text = self.explained or self.prediction
        place, bare = PLACE.search(text), PLACE.sub("", text)
        return bare if place is None or ", " in bare else f"{place[1].split(';')[0]}: {bare}"

    def subtitle(self, by: str) -> str:
        """What a picture says below its title. by: the composite or method."""
        place = PLACE.search(self.explained or self.prediction)
        other = self.explained and not self.explained.startswith(self.prediction)
        parts = [
            f"explained in place of the prediction, {self.prediction}" if other else "",
            "" if place is None else place[1],
            by,
            f"through {self.through}" if self.through else "",
            "probabilities by softmax" if self.by_softmax else "",
        ]
        return " · ".join(filter(None, parts))

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
            "of both signs cancel, so that the map means nothing (lrp-onnx verify shows where)"
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
        return ""
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
        _prediction(explainer, y, result.outputs[output].ndim, labels, chosen, entry)
        for y, chosen, (entry, _) in zip(outputs, classes, entries, strict=True)
    ]
    return [
        Sample(
            *prediction,
            start,
            total,
            conserving,
            through,
            size,
            y.ndim == 1 and "%" in prediction[0] and not _are_probabilities(y),
            detection,
        )
        for prediction, y, start, (total, size), (_, detection) in zip(
            predictions, outputs, starts, sums, entries, strict=True
        )
    ]


def _entries(
    explainer: Explainer, result: Result, y: Array, start: Array | None, labels: Labels | None
) -> list[tuple[str, Detection | None]]:
    """The one entry that was explained in each sample, in words, and the detection that it is a
    score of; empty where it is not one.
    """
    metadata, count = explainer.metadata, len(y)
    if start is None:
        return [("", None)] * count
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


def _prediction(
    explainer: Explainer,
    y: Array,
    rank: int,
    labels: Labels | None,
    chosen: Array | None,
    entry: str,
) -> tuple[str, str]:
    """The prediction of one sample in words, and what was explained if it is something else.

    rank: of the output with all samples. chosen: of target `top-K` the class. entry: the explained
    entry in words, if it is one.
    """
    target = explainer.metadata["target"]
    if target == "similarity":
        name, cosine = explainer.metadata["output"], explainer.metadata["cosine"]
        return f"{name} of shape {list(y.shape)}", cosine
    if entry and target == "argmax":
        return entry, ""
    output = explainer.metadata["output"]
    read = _read(explainer, y, rank, labels)
    whole = read or f"{output} of shape {list(y.shape)}"
    if entry:
        return whole, entry
    if y.ndim == 0 or (y.size == 1 and not labels and target in ("argmax", "max", "all")):
        return f"{output} {float(y.item()):.5g}", ""
    if y.ndim > 1 or not explainer.metadata["class_axis"]:  # a class for each place, or none
        return whole, "" if read and target == "argmax" else target
    best = int(np.argmax(y))
    prediction = _scored(best, y, labels)
    parts = target.split("-") if chosen is None else map(str, chosen.ravel())
    classes = [int(part) for part in parts if part.isdigit()]
    if target in ("argmax", "max") or classes == [best]:
        return prediction, ""
    return prediction, " against ".join(_scored(k, y, labels) for k in classes) or target


def _read(explainer: Explainer, y: Array, rank: int, labels: Labels | None) -> str:
    """The classes of a sequence, one after the other; empty where the sample is none, or where no
    place prefers a class.

    rank: of the output with all samples.
    """
    if y.ndim < 2 or explainer.metadata.get("head"):
        return ""
    known = explainer.metadata["class_axis"]
    axis = int(known) - (rank - y.ndim) if known else None
    if axis is not None and all(
        map(_prefers_none, np.moveaxis(y, axis, -1).reshape(-1, y.shape[axis]))
    ):
        return ""
    return sequence_read(y, axis, labels)


def _scored(index: int, y: Array, labels: Labels | None) -> str:
    """A class with its probability; with its value where there are no classes to compare, or where
    the softmax prefers none, as that of an embedding.
    """
    name = class_name(labels, index)
    if y.size < 2 or not np.isfinite(y).all() or _prefers_none(y):
        return f"{name}, {float(y[index]):.5g}"
    return f"{name}, {float(_probabilities(y)[index]):.2%}"


def _are_probabilities(y: Array) -> bool:
    """Whether these are no logits: shares of 1, or each from 0 to 1, as sigmoids give."""
    return bool(y.min() >= 0 and (y.max() <= 1 or abs(float(y.sum()) - 1) < 1e-3))


def _prefers_none(y: Array) -> bool:
    """Whether the softmax of so many numbers is hardly more than chance for each."""
    flat = y.size >= MANY and not _are_probabilities(y)
    return flat and float(_probabilities(y).max()) < FLAT / y.size


def _probabilities(y: Array) -> Array:
    if _are_probabilities(y):
        return y
    powers = np.exp(y.astype(np.float64) - float(y.max()))
    return np.asarray(powers / powers.sum())


def check_class_names(explainer: Explainer, result: Result, labels: Labels | None) -> None:
    """Raise InputError where there are more or fewer labels than classes."""
    metadata = explainer.metadata
    y, axis = result.outputs[metadata["output"]], metadata["class_axis"]
    head = json.loads(metadata.get("head") or "{}")
    if labels is None or head.get("labeled"):
        return
    if (scores := head.get("scores")) is not None:
        check_labels(labels, scores[1] - scores[0], metadata["output"])
    elif axis and y.ndim < 3 and not metadata.get("head"):
        check_labels(labels, y.shape[int(axis)], metadata["output"])


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
