"""A result that is no explanation: a relevance or an explained value that is NaN or infinite."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lrp_onnx.cli.material import Material
from lrp_onnx.errors import CheckError, InputError
from lrp_onnx.graph.session import Array
from lrp_onnx.run.explainer import Explainer, Result

__all__ = ["check_finite"]


def check_finite(explainer: Explainer, result: Result, material: Material, model: Path) -> None:
    """Raise InputError where NaN or infinity in the input made the result so, else CheckError.

    A model that tolerates such an input, and gives it a finite relevance, is fine.
    """
    broken = next((what for what, values in _parts(explainer, result) if _broken(values)), None)
    if broken is None:
        return
    for name, x in material.feeds.items():
        if _broken(x):
            held = f"'{material.files[name]}': input {name!r} holds {_where(x)}"
            raise InputError(
                f"{held}, and {broken} is not finite either. Replace such values by numbers."
            )
    files = [f"'{file}'" for file in material.files.values()]
    given = " ".join(f"{name}={file}" for name, file in material.files.items())
    raise CheckError(
        f"{', '.join(files)}: the input is finite, but {broken} is not. "
        f"lrp-onnx verify {model} {given} with the same options shows where."
    )


def _parts(explainer: Explainer, result: Result) -> Iterator[tuple[str, Array]]:
    """What must be finite, in words: the explained value and every relevance."""
    output = explainer.metadata["output"]
    yield "the explained value", _explained(explainer, result.outputs[output])
    for name, relevance in result.relevance.items():
        yield f"the relevance of {name!r}", relevance


def _explained(explainer: Explainer, y: Array) -> Array:
    """The entries that the target names; of the largest the largest, for others may be -inf."""
    target, axis = explainer.metadata["target"], explainer.metadata["class_axis"]
    classes = [int(part) for part in target.split("-") if part.isdigit()]
    if target == "all" or not y.size or (classes and not axis):
        return y
    if classes and not target.startswith("top-"):
        return np.take(y, classes, int(axis))
    return np.asarray(y.max())


def _broken(values: Array) -> bool:
    return values.dtype.kind == "f" and not bool(np.isfinite(values).all())


def _where(x: Array) -> str:
    """The first such value and its place: `NaN at [0, 2, 5] and 3 such values more`."""
    places = np.argwhere(~np.isfinite(x))
    value = x[tuple(places[0])]
    word = "NaN" if np.isnan(value) else "infinity"
    more = len(places) - 1
    others = f" and {more} such value{'s' * (more > 1)} more" if more else ""
    return f"{word} at {places[0].tolist()}{others}"
