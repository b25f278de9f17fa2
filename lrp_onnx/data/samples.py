"""Random input for a model: sizes it leaves open are guessed, several times over.

A batch is 2 where the model leaves it open.  Heights and widths and lengths are tried in turn,
since a network with five pooling layers refuses a small picture and one for short signals a large
one.  Channels are read off the layer that the input goes into, where there is one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import onnx_ir as ir

from lrp_onnx.errors import InputError
from lrp_onnx.graph.annotations import CONDITION, OTHER, PREFIX, each_output, stamp_of
from lrp_onnx.graph.arrays import Array, Dimension, Wanted
from lrp_onnx.graph.shapes import dimensions
from lrp_onnx.graph.stamp_claims import check_stamp

__all__ = ["added_inputs", "is_added", "random_feeds", "wanted_by"]


@dataclass(frozen=True)
class Guess:
    """Sizes for the axes a model leaves open, and the largest integer to feed."""

    batch: int
    spatial: int
    length: int
    largest: int


GUESSES = (
    Guess(2, 64, 8, 9),
    Guess(2, 224, 16, 9),
    Guess(2, 32, 1, 1),
    Guess(1, 64, 8, 1),
    Guess(1, 256, 32, 9),
    Guess(1, 224, 128, 1),
    Guess(1, 512, 512, 9),
    Guess(1, 16, 1, 0),
    Guess(1, 640, 1024, 1),
    Guess(64, 64, 64, 9),  # the first axis is no batch: a spectrogram, a table of edges
    Guess(256, 256, 256, 1),
)

MOST_GUESSED = 1 << 26
"""Elements of an input whose size is a guess: six open axes would be all memory."""
MOVES = ("Gather", "ArrayFeatureExtractor", "Concat", "Identity", "Reshape", "Flatten")
CODES = ("values_int64s", "values_floats")
"""What a LabelEncoder makes of its categories."""


def wanted_by(model: ir.Model) -> tuple[Wanted, ...]:
    """Name, dtype and shape of each input the model must be given; channels as the first layer has
    them, and the categories of an encoder.

    Raises TypeError for an input that is no tensor or has no known rank.
    """
    initialized = model.graph.initializers
    required = [
        v for v in model.graph.inputs if v.name not in initialized and not is_added(model, v)
    ]
    return tuple(
        Wanted(v.name or "", _dtype(v), _shape(v), _categories(v), _counted_as_zero(v))
        for v in required
    )


def _readers(value: ir.Value) -> Iterator[ir.Node]:
    """The nodes that read an input; of one column also those that read it as a part of the graph
    only moves it, such as the Gather that skl2onnx puts in front of an encoder.
    """
    one = value.shape is not None and (len(value.shape) < 2 or value.shape[-1] == 1)
    for node, position in value.uses():
        yield node
        alone = len(node.inputs) == 1 or node.op_type != "Concat"
        if one and position == 0 and alone and node.op_type in MOVES:
            moved = node.outputs[0]
            yield from (behind for behind, _ in moved.uses())


def _categories(value: ir.Value) -> tuple[Any, ...]:
    """Those that the encoder behind an input takes."""
    for node in _readers(value):
        for key in ("cats_strings", "keys_strings", "cats_int64s", "keys_int64s"):
            if key in node.attributes:
                held = node.attributes[key].value
                return tuple(k.decode() if isinstance(k, bytes) else k for k in held)
    return ()


def _counted_as_zero(value: ir.Value) -> Any:
    """The category whose number is 0 where an encoder makes numbers of categories, else None."""
    for node in _readers(value):
        values = next((a for n, a in node.attributes.items() if n in CODES), None)
        if node.op_type == "LabelEncoder" and values is not None:
            return dict(zip(values.value, _categories(value), strict=False)).get(0)
    return None


def is_added(model: ir.Model, value: ir.Value) -> bool:
    """Whether an input of a compiled model is not the original's: the compiler added it."""
    return value.name in added_inputs(model.metadata_props, PREFIX)


def added_inputs(metadata: Mapping[str, str], prefix: str = "") -> list[str]:
    """The inputs that the compiler adds: the target's, then one for each condition."""
    kind, stamp = metadata.get(f"{prefix}target", ""), stamp_of(metadata, prefix)
    check_stamp(stamp)
    seeds = [f"{one.get('output', '')}_seed" for one in each_output(stamp)]
    others = [f"{one.get('output', '')}{OTHER}" for one in each_output(stamp)]
    chosen = {"input": ["target"], "seed": seeds, "similarity": others}.get(kind, [])
    conditions = json.loads(stamp.get("conditions", "[]"))
    return [*chosen, *(f"{name}{CONDITION}" for name in conditions)]


def random_feeds(
    inputs: Sequence[Wanted], seed: int = 0, batch: int | None = None
) -> Iterator[dict[str, Array]]:
    """Feeds to try one after the other, with that batch if given; the same for the same seed."""
    is_open = not all(isinstance(size, int) for wanted in inputs for size in wanted.shape)
    for guess in GUESSES:
        guess = guess if batch is None else replace(guess, batch=batch)
        rng = np.random.default_rng(seed)
        named: dict[str, int] = {}
        shapes = [_sizes(w.shape, guess, named) for w in inputs]
        if is_open and max(map(prod, shapes), default=0) > MOST_GUESSED:
            continue
        yield {w.name: _draw(rng, w, s, guess) for w, s in zip(inputs, shapes, strict=True)}
        if not any(_is_guessed(wanted) for wanted in inputs):
            return  # the next one would be the same


def _is_guessed(wanted: Wanted) -> bool:
    """Whether a guess decides its size or its values."""
    integers = wanted.dtype.kind in "iu" and wanted.dtype != np.uint8
    return integers or not all(isinstance(size, int) for size in wanted.shape)


def _sizes(shape: Sequence[Dimension], guess: Guess, named: dict[str, int]) -> tuple[int, ...]:
    """A size for every axis; an axis of the same name gets the same."""
    sizes = []
    for axis, size in enumerate(shape):
        if not isinstance(size, int):
            default = guess.batch if axis == 0 else _open_axis(axis, len(shape), guess)
            size = default if size is None else named.setdefault(size, default)
        sizes.append(size)
    return tuple(sizes)


def _open_axis(axis: int, rank: int, guess: Guess) -> int:
    if rank < 4:
        return guess.length
    return 3 if axis == 1 else guess.spatial


def _draw(rng: np.random.Generator, wanted: Wanted, shape: tuple[int, ...], guess: Guess) -> Array:
    if wanted.known:
        return rng.choice(np.array(wanted.known, wanted.dtype), shape)
    if wanted.dtype == np.uint8:
        return rng.integers(0, 256, shape, np.uint8)
    if wanted.dtype.kind in "iu":
        return rng.integers(0, guess.largest + 1, shape).astype(wanted.dtype)
    if wanted.dtype.kind == "b":
        return np.ones(shape, bool)
    if wanted.dtype.kind == "O":
        return np.full(shape, "text", object)
    return rng.standard_normal(shape).astype(wanted.dtype)


def _dtype(value: ir.Value) -> np.dtype[Any]:
    if not isinstance(value.type, ir.TensorType) or value.dtype is None:
        raise InputError(
            f"input {value.name!r} is no tensor: no file and no array can fill it. Export the "
            "model with tensors as inputs."
        )
    if value.dtype == ir.DataType.UNDEFINED:
        raise InputError(
            f"input {value.name!r} does not say what type its elements have. Export the model with "
            "one, such as float32."
        )
    if value.dtype == ir.DataType.STRING:
        return np.dtype(object)
    return np.dtype(value.dtype.numpy())


def _shape(value: ir.Value) -> tuple[Dimension, ...]:
    if value.shape is None:
        raise TypeError(f"the rank of input {value.name!r} is unknown")
    shape = dimensions(value.shape)
    for axis, size in _channels(value):
        if -len(shape) <= axis < len(shape) and not isinstance(shape[axis], int):
            shape[axis] = size
    return tuple(shape)


def _channels(value: ir.Value) -> Iterator[tuple[int, int]]:
    """Axes of a tensor whose size the weight of a layer behind it fixes."""
    for node, position in value.uses():
        weight = node.inputs[1] if position == 0 and len(node.inputs) > 1 else None
        sizes = [] if weight is None or weight.shape is None else list(weight.shape)
        if not sizes or not all(isinstance(s, int) for s in sizes):
            continue
        if node.op_type == "Conv":
            group = node.attributes["group"].as_int() if "group" in node.attributes else 1
            yield 1, int(sizes[1]) * group  # type: ignore[arg-type]
        elif node.op_type == "MatMul":
            yield -1, int(sizes[0])  # type: ignore[arg-type]
        elif node.op_type == "Gemm" and not node.attributes.get_int("transA", 0):
            transposed = "transB" in node.attributes and node.attributes["transB"].as_int()
            yield -1, int(sizes[1 if transposed else 0])  # type: ignore[arg-type]
