"""The similarity of two inputs by their embeddings, explained on both sides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lrp_onnx.arguments import checked
from lrp_onnx.errors import InputError
from lrp_onnx.graph.annotations import OTHER, each_output
from lrp_onnx.graph.arrays import Array
from lrp_onnx.run.explainer import Explainer
from lrp_onnx.run.result import Result

__all__ = ["similarity"]


@checked
def similarity(
    explainer: Explainer,
    x: Array | Mapping[str, Array],
    other: Array | Mapping[str, Array],
    conditions: Mapping[str, Any] | None = None,
) -> tuple[Result, Result]:
    """Explain the cosine of the embeddings of two inputs: the result for x, and that for the other.

    explainer: of a model compiled with target "similarity". x, other: as a call takes them, as many
    samples of both, or one other for all. Raises InputError as a call does, and for a model of
    another target.
    """
    kind = explainer.metadata["target"]
    if kind != "similarity":
        raise InputError(
            f"the model was compiled for target {kind!r}. Compile it with target='similarity'."
        )
    others = _embeddings(explainer, explainer(other, _anything(explainer), conditions))
    first = explainer(x, others, conditions)
    own = _embeddings(explainer, first)
    count = max(len(e) for e in own.values())
    if count > 1 and all(len(e) == 1 for e in others.values()):
        other = _repeated(other, count)
    return first, explainer(other, own, conditions)


def _embeddings(explainer: Explainer, result: Result) -> dict[str, Array]:
    return {one["output"]: result.outputs[one["output"]] for one in each_output(explainer.metadata)}


def _anything(explainer: Explainer) -> dict[str, Array]:
    """What an embedding may be compared with while only itself is wanted."""
    wanted = {w.name.removesuffix(OTHER): w for w in explainer.inputs if w.name.endswith(OTHER)}
    outputs = [one["output"] for one in each_output(explainer.metadata)]
    sizes = {n: [d if isinstance(d, int) else 1 for d in wanted[n].shape] for n in outputs}
    return {name: np.ones(shape, wanted[name].dtype) for name, shape in sizes.items()}


def _repeated(x: Array | Mapping[str, Array], count: int) -> Array | dict[str, Array]:
    """One sample as often as that."""
    if isinstance(x, Mapping):
        return {name: np.repeat(value, count, 0) for name, value in x.items()}
    return np.repeat(x, count, 0)
