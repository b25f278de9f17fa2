"""Of target `top-K`: every class of every sample as a sample of its own, for words and pictures."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np

from lrp_onnx.cli.material import Material
from lrp_onnx.errors import TargetError
from lrp_onnx.graph.annotations import TOPK_INDEX
from lrp_onnx.graph.session import Array
from lrp_onnx.run.explainer import Explainer, Result

__all__ = ["class_by_class", "count_of"]


def count_of(explainer: Explainer) -> int | None:
    """K of target `top-K`; None for another target."""
    kind, _, count = explainer.metadata["target"].partition("-")
    return int(count) if kind == "top" else None


def class_by_class(
    explainer: Explainer, result: Result, material: Material
) -> tuple[Result, Material]:
    """Result and material with K entries a sample, one for each class; as they are for another
    target.
    """
    count = count_of(explainer)
    if count is None:
        return result, material
    classes = f"{explainer.metadata['output']}{TOPK_INDEX}"
    axis = int(explainer.metadata["class_axis"] or -1)
    outputs = {name: _repeated(y, count) for name, y in result.outputs.items()}
    places = np.split(result.outputs[classes], count, axis)
    outputs[classes] = np.stack(places, 1).reshape(-1, *places[0].shape[1:])
    _check_batch(explainer, result)
    relevance = {name: _joined(r) for name, r in result.relevance.items()}
    feeds = {name: _repeated(x, count) for name, x in material.feeds.items()}
    return Result(outputs, relevance), replace(material, feeds=feeds)


def _check_batch(explainer: Explainer, result: Result) -> None:
    """Raise TargetError where the axis that the classes stand behind is not the output's batch."""
    name = explainer.metadata["output"]
    y = result.outputs[name]
    for x in json.loads(explainer.metadata["explained"]):
        r = result.relevance[x]
        if y.ndim and r.ndim > 1 and len(r) != len(y):
            raise TargetError(
                f"target {explainer.metadata['target']}: input {x!r} and output {name!r} of shape "
                f"{list(y.shape)} have no batch axis in common behind which the classes could be "
                "stacked. Choose argmax or a class."
            )


def _repeated(values: Array, count: int) -> Array:
    return np.repeat(values, count, 0) if values.ndim else values


def _joined(relevance: Array) -> Array:
    """[N, K, …] as [N·K, …]; [1] of a number as the number."""
    return (
        relevance.reshape(-1, *relevance.shape[2:]) if relevance.ndim > 1 else relevance.squeeze()
    )
