"""A result on its way to the user: maps of classes as arrays, each of the K largest classes as a
sample, what the steps alone sum to, the largest channels, and no NaN or infinity.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from lrp_onnx.answer.inputs import Inputs
from lrp_onnx.errors import CheckError, InputError, TargetError
from lrp_onnx.graph.annotations import COMPLETENESS, TOPK_INDEX
from lrp_onnx.graph.arrays import Array
from lrp_onnx.graph.map_outputs import numbers_of
from lrp_onnx.propagation.condition import channel_axis
from lrp_onnx.run.explainer import Explainer
from lrp_onnx.run.feeds import first_place
from lrp_onnx.run.result import Result
from lrp_onnx.validate.completeness import ROUGH, completeness_of, too_few_steps

__all__ = [
    "check_finite",
    "class_by_class",
    "class_count",
    "maps_as_arrays",
    "sum_of_steps",
    "top_channels",
]

MOST_CHANNELS = 5


def maps_as_arrays(explainer: Explainer, result: Result) -> Result:
    """The result with arrays for the maps that ZipMap makes; the explained one under the name of
    the tensor that they are made of.
    """
    explained, outputs = explainer.metadata["output"], {}
    for name, y in result.outputs.items():
        array = numbers_of(y)
        unnamed = array is not y and explained not in result.outputs
        outputs[explained if unnamed else name] = array
    return Result(outputs, result.relevance)


def class_count(explainer: Explainer) -> int | None:
    """K of target `top-K`; None for another target."""
    kind, _, count = explainer.metadata["target"].partition("-")
    return int(count) if kind == "top" else None


def class_by_class(explainer: Explainer, result: Result, inputs: Inputs) -> tuple[Result, Inputs]:
    """Of target `top-K` result and inputs with K entries a sample, one for each class; as they are
    for another target.
    """
    count = class_count(explainer)
    if count is None:
        return result, inputs
    _check_batch(explainer, result)
    classes = f"{explainer.metadata['output']}{TOPK_INDEX}"
    outputs = {name: _repeated(y, count) for name, y in result.outputs.items()}
    ranks = np.split(result.outputs[classes], count, int(explainer.metadata["class_axis"] or -1))
    outputs[classes] = np.stack(ranks, 1).reshape(-1, *ranks[0].shape[1:])
    relevance = {  # [N, K, …] becomes [N·K, …], and [1] of a number the number
        name: r.reshape(-1, *r.shape[2:]) if r.ndim > 1 else r.squeeze()
        for name, r in result.relevance.items()
    }
    feeds = {name: _repeated(x, count) for name, x in inputs.feeds.items()}
    return Result(outputs, relevance), replace(inputs, feeds=feeds)


def _check_batch(explainer: Explainer, result: Result) -> None:
    """Raise TargetError where the axis that the classes stand behind is not the output's batch."""
    name = explainer.metadata["output"]
    y = result.outputs[name]
    for x in json.loads(explainer.metadata["explained"]):
        r = result.relevance[x]
        if y.ndim and r.ndim > 1 and len(r) != len(y):
            raise TargetError(
                f"target {explainer.metadata['target']}: input {x!r} and output {name!r} of shape "
                f"{list(y.shape)} have no batch axis in common, which is needed to tell the "
                "classes apart. Choose argmax or a class."
            )


def _repeated(values: Array, count: int) -> Array:
    return np.repeat(values, count, 0) if values.ndim else values


def sum_of_steps(explainer: Explainer, result: Result) -> str | None:
    """What the steps of integrated gradients sum to before they are made complete, in words; taken
    out of the result. None where that is not computed.
    """
    names = json.loads(explainer.metadata["explained"])
    sums = {n: float(result.relevance[n].sum(dtype=np.float64)) for n in names}
    steps = int(explainer.metadata.get("steps") or 0)
    output = explainer.metadata["output"]
    completeness = completeness_of(result.outputs, output, sums, steps)
    if completeness is None:
        return None
    del result.outputs[f"{COMPLETENESS}{output}"]
    if completeness.is_rounding:
        return (
            f"f(x) - f(baseline) is {completeness.explained:.3g}, no more than f is rounded by: "
            "the map means nothing. Give another --baseline"
        )
    error, coarse = completeness.error_of_steps, too_few_steps(completeness)
    more = ". Give more --steps" if error > ROUGH and not coarse else ""
    return (
        f"the gradients at {steps} step{'s' * (steps != 1)} alone sum to "
        f"{completeness.of_steps:.5g} of {completeness.explained:.5g}, off by {error:.2%}"
        f"{more}{f'; {coarse}' * bool(coarse)}"
    )


def top_channels(relevance: Array) -> str:
    """The channels with the most relevance, and their part of all: `7 (31.2 %), 3 (-12.0 %)`."""
    axis = channel_axis(relevance.ndim)
    others = tuple(k for k in range(relevance.ndim) if k != axis)
    sums = relevance.sum(axis=others, dtype=np.float64)
    total = float(np.abs(sums).sum()) or 1.0
    order = np.argsort(-np.abs(sums), kind="stable")[:MOST_CHANNELS]
    return ", ".join(f"{k} ({sums[k] / total:.1%})" for k in order) + f" of {len(sums)}"


def check_finite(explainer: Explainer, result: Result, inputs: Inputs, model: Path) -> None:
    """Raise InputError where NaN or infinity in the input made the result so, else CheckError.

    A model that tolerates such an input, and gives it a finite relevance, is fine.
    """
    parts = _finite_parts(explainer, result)
    broken = next((part for part, values in parts if not _is_finite(values)), None)
    if broken is None:
        return
    for name, x in inputs.feeds.items():
        if not _is_finite(x):
            raise InputError(
                f"'{inputs.files[name]}': input {name!r} holds {first_place(x)}, and {broken} is "
                "not finite either. Replace such values by numbers."
            )
    files = ", ".join(f"'{file}'" for file in inputs.files.values())
    arguments = " ".join(f"{name}={file}" for name, file in inputs.files.items())
    raise CheckError(
        f"{files}: the input is finite, but {broken} is not. "
        f"lrp-onnx verify {model} {arguments} with the same options shows where."
    )


def _finite_parts(explainer: Explainer, result: Result) -> Iterator[tuple[str, Array]]:
    """What must be finite, in words: the explained value and every relevance."""
    y = result.outputs[explainer.metadata["output"]]
    yield "the explained value", _explained_entries(explainer, y)
    for name, relevance in result.relevance.items():
        yield f"the relevance of {name!r}", relevance


def _explained_entries(explainer: Explainer, y: Array) -> Array:
    """The entries that the target names; of the largest the largest, for others may be -inf."""
    target, axis = explainer.metadata["target"], explainer.metadata["class_axis"]
    classes = [int(part) for part in target.split("-") if part.isdigit()]
    if target == "all" or not y.size or (classes and not axis):
        return y
    if classes and not target.startswith("top-"):
        return np.take(y, classes, int(axis))
    return np.asarray(y.max())


def _is_finite(values: Array) -> bool:
    return values.dtype.kind != "f" or bool(np.isfinite(values).all())
