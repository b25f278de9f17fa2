"""Whether inputs and what is explained of them fit the model; what looks otherwise is said."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from lrp_onnx.answer.inputs import Inputs
from lrp_onnx.data.picture_scale import odd_scale
from lrp_onnx.data.preprocess import bounds
from lrp_onnx.graph.arrays import Array
from lrp_onnx.run.result import Result

__all__ = ["bad_fits", "odd_scales"]

SATURATED = 0.9
"""Part of a picture's values at the ends of their range, from which it is hardly a photo."""
FEWEST_CLASSES, SHORTEST_EMBEDDING = 10, 64
DIFFERENT = 0.1
"""How far apart numbers from 0 to 1 are that may be sigmoids or coordinates."""
UNSURE = 0.25
"""What Ultralytics' and others' programs take for a detection from; below it they show none."""
FLAT = 2.0
"""How often the probability of pure chance a prediction has to be, or it says nothing."""


def bad_fits(metadata: Mapping[str, str], result: Result, inputs: Inputs) -> list[str]:
    """Warnings of pictures that are saturated, of a flat prediction, of a detector that hardly sees
    anything, of an embedding whose largest number is explained as if it were a class, and of
    categories that can have no relevance.
    """
    warnings = _counted_as_zero(result, inputs)
    for name, preprocess in inputs.preprocess.items():
        ends = {value for side in bounds(preprocess) for value in side}
        x = np.asarray(inputs.feeds[name], np.float64)
        at_ends = np.logical_or.reduce([np.isclose(x, end, atol=1e-6) for end in ends])
        if at_ends.mean() >= SATURATED:
            warnings.append(
                f"input {name!r}: {at_ends.mean():.0%} of its values lie at the ends of its range, "
                "so that the picture is blank, of two colors, or was made brighter before"
            )
    y = result.outputs.get(metadata["output"])
    if y is not None and metadata["class_axis"] == "1" and y.ndim == 2:
        chance, top = 1 / y.shape[1], float(_probabilities(y).max(axis=1).min())
        if y.shape[1] >= FEWEST_CLASSES and top < FLAT * chance:
            warnings += _flat(metadata, y, top, inputs)
    return warnings + ([] if y is None else _nothing_detected(metadata, y))


def _nothing_detected(metadata: Mapping[str, str], y: Array) -> list[str]:
    """A warning where the best score of a detector is one that it would hardly show."""
    head = json.loads(metadata.get("head") or "{}")
    if head.get("kind") not in ("mixed", "scores") or metadata.get("target") != "argmax":
        return []
    scores = np.asarray(y, np.float64)
    if head.get("scores") is not None and head.get("axis") is not None:
        scores = np.take(scores, range(*head["scores"]), head["axis"])
        if head.get("objectness") is not None:
            scores = scores * np.take(y, [head["objectness"]], head["axis"])
    if not scores.size or scores.min() < 0 or scores.max() > 1 or scores.max() >= UNSURE:
        return []
    return [
        f"the largest score is {scores.max():.2g}, and detectors mostly show none below {UNSURE}: "
        "perhaps nothing is detected, and what is explained is no object"
    ]


def _counted_as_zero(result: Result, inputs: Inputs) -> list[str]:
    """Warnings of categories without relevance for no other reason than that their number is 0."""
    warnings = []
    zeros = {} if inputs.table is None else inputs.table.zeros
    for name, zero in zeros.items():
        rows = (inputs.feeds[name] == zero).reshape(len(inputs.feeds[name]), -1).any(1)
        relevance = result.relevance.get(name)
        if relevance is not None and rows.any() and not relevance[rows].any():
            warnings.append(
                f"column {name!r}: the model counts {zero!r} as 0, so that its relevance is 0 "
                "whatever it means, and that of the other categories says how they differ from it"
            )
    return warnings


def odd_scales(model: ir.Model, inputs: Inputs) -> list[str]:
    """Warnings of pictures whose numbers are far larger or smaller than the network's.

    model: canonized.
    """
    values = {value.name: value for value in model.graph.inputs}
    warnings = []
    for name, preprocess in inputs.preprocess.items():
        low, high = bounds(preprocess)
        warnings.append(odd_scale(values[name], inputs.feeds[name], min(low), max(high)))
    return [text for text in warnings if text]


def _flat(metadata: Mapping[str, str], y: Array, top: float, inputs: Inputs) -> list[str]:
    """What a prediction may mean in which no class stands out. top: the largest probability."""
    between = bool(y.min() >= 0 and y.max() <= 1 and np.ptp(y) > DIFFERENT)
    if between and not np.allclose(
        y.sum(axis=1), 1, atol=1e-3
    ):  # sigmoids, or coordinates in parts of a picture: no softmax
        return []
    unit = y.min() < 0 and np.allclose(np.linalg.norm(y, axis=1), 1, atol=1e-3)
    if inputs.preprocess and not unit:
        used = next(iter(inputs.preprocess.values())).name
        return [
            f"the prediction is flat: the largest of {y.shape[1]} classes has {top:.2g}, "
            f"hardly more than chance. Perhaps the picture was prepared wrongly (by {used}): "
            "try another --preprocess"
        ]
    named = metadata.get("target", "argmax") != "argmax"
    if named or y.min() >= 0 or (y.shape[1] < SHORTEST_EMBEDDING and not unit):
        return []
    return [
        f"output {metadata['output']!r}: none of its {y.shape[1]} numbers stands out, as if it "
        "were an embedding, of which the largest number means nothing by itself. Explain its "
        "similarity with that of another input: --target similarity=INPUT"
    ]


def _probabilities(y: Array) -> Array:
    """Those that the model gives, else the softmax of its logits."""
    values = np.asarray(y, np.float64)
    if values.min() >= 0 and np.allclose(values.sum(axis=1), 1, atol=1e-3):
        return values
    with np.errstate(invalid="ignore"):  # infinity is told where it is explained
        powers = np.exp(values - values.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))
