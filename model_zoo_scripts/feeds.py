"""What each real model is shown, and what it must then say: rows of zoo.toml, looked up here.

`feed` names a function of feed_pictures, feed_sounds or feed_rows, or is "noise".  A key `expect…`
says what must come out:

    expect          the argmax along the last axis, flattened
    expect_above    the largest value is above this
    expect_best     the largest of the class scores (rows 4 on) stands there, [row, anchor]
    expect_ctc      the argmax along the last axis, repeats merged and blanks (0) dropped
    expect_loudest  the largest column of the mean over time
    expect_in_box   so much of |R|, at least, lies in the box of the best class score
    expect_cosines  of the (mean) vectors of sentences 1-2, 1-3 and 2-3
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import combinations, groupby
from typing import Any

import feed_pictures
import feed_rows
import feed_sounds
import numpy as np
import onnx
from numpy.typing import NDArray
from obtain import TABLE

__all__ = ["feed", "prediction", "share_in_box"]

Array = NDArray[Any]


def noise(original: onnx.ModelProto) -> dict[str, Array]:
    """Seeded normal numbers for each float input, 1 where a size is open (20 for `frames`)."""
    rng = np.random.default_rng(0)
    return {
        value.name: rng.standard_normal(
            [
                axis.dim_value or (20 if axis.dim_param == "frames" else 1)
                for axis in value.type.tensor_type.shape.dim
            ],
            dtype=np.float32,
        )
        for value in inputs(original)
    }


def inputs(original: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """The inputs that are no weights."""
    weights = {tensor.name for tensor in original.graph.initializer}
    return [value for value in original.graph.input if value.name not in weights]


def feed(name: str, original: onnx.ModelProto) -> dict[str, Array]:
    """Return a model's inputs by name. Raises Unavailable where the data cannot be had."""
    kind = TABLE["models"][name]["feed"]
    if kind == "noise":
        return noise(original)
    modules = (feed_pictures, feed_sounds, feed_rows)
    made = next(getattr(module, kind) for module in modules if hasattr(module, kind))()
    names = [value.name for value in inputs(original)]
    return {k: made[k] for k in names} if isinstance(made, Mapping) else {names[0]: made}


def prediction(name: str, output: Array) -> str:
    """Return "correct", or "no class" where none is known. Raises ValueError for a wrong one."""
    row = TABLE["models"][name]
    for key, says in SAYS.items():
        if key in row:
            found = says(output)
            right = (
                found > row[key] if key == "expect_above" else np.allclose(found, row[key], 0, 0.01)
            )
            if not right:
                raise ValueError(f"says {found}, {key} is {row[key]}")
            return "correct"
    return "no class"


def classes(output: Array) -> list[int]:
    """The argmax along the last axis, flattened."""
    found: list[int] = output.argmax(axis=-1).ravel().tolist()
    return found


def characters(output: Array) -> list[int]:
    """Connectionist temporal classification: repeats are one character, 0 is none."""
    return [k for k, _ in groupby(classes(output)) if k]


def best_score(output: Array) -> list[int]:
    """The row and the anchor of the best class score; rows 0 to 3 are the box."""
    row, anchor = np.unravel_index(output[0, 4:].argmax(), output[0, 4:].shape)
    return [int(row) + 4, int(anchor)]


def share_in_box(output: Array, relevance: Array) -> float:
    """How much of |R| lies in the box of the best class score: rows 0 to 3 are center and size."""
    _, anchor = best_score(output)
    x, y, width, height = output[0, :4, anchor]
    size = np.abs(relevance[0]).sum(axis=0)
    rows = slice(round(y - height / 2), round(y + height / 2))
    columns = slice(round(x - width / 2), round(x + width / 2))
    return float(size[rows, columns].sum() / size.sum())


def cosines(output: Array) -> list[float]:
    """Between each two samples' vectors, the mean over the tokens where there are some."""
    vectors = output.mean(axis=1) if output.ndim == 3 else output
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return [float(unit[a] @ unit[b]) for a, b in combinations(range(len(unit)), 2)]


SAYS: dict[str, Callable[[Array], Any]] = {
    "expect": classes,
    "expect_above": lambda output: float(output.max()),
    "expect_best": best_score,
    "expect_ctc": characters,
    "expect_loudest": lambda output: int(output[0].mean(axis=0).argmax()),
    "expect_cosines": cosines,
}
