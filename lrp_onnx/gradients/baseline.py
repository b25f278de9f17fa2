"""Where the path of integrated gradients begins: zero, the input's own mean, or what a file holds.

The mean is that of the given input over its positions (height and width, or time), one number a
channel; of token ids, it is the mean of their embeddings.  `zero` is, for token ids, the zero
embedding; given as a file of ids, a baseline is embedded as they are.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from lrp_onnx.data.inputs import fit_array, is_array_file, load_input
from lrp_onnx.data.layout import batched_axes
from lrp_onnx.data.preprocess import Preprocess
from lrp_onnx.data.samples import wanted_by
from lrp_onnx.errors import InputError, TargetError
from lrp_onnx.gradients.leaves import Cut
from lrp_onnx.graph.broadcasting import expand_like
from lrp_onnx.graph.builder import Emit
from lrp_onnx.graph.clone import cone, copied
from lrp_onnx.graph.dtypes import compute_dtype
from lrp_onnx.graph.makers import upstream
from lrp_onnx.graph.ranks import known_rank
from lrp_onnx.graph.shapes import dimensions

__all__ = ["Baseline", "described", "read_baselines", "starting_points"]

ANY = ""
"""The key of a baseline that is for every explained input without one of its own."""


@dataclass(frozen=True)
class Baseline:
    """One baseline: `kind` is zero, mean, or what the array was read from."""

    kind: str
    array: NDArray[Any] | None = None


def read_baselines(
    model: ir.Model, baseline: object, preprocess: Preprocess | None = None
) -> dict[str, Baseline]:
    """Baselines by input name, ANY for all, from what the user gave.

    baseline: None (zero), zero, mean, a file or an array, one of these by input name, or texts
    `[NAME=]zero` as the command line has them.
    Raises InputError where a file does not fit or a name is unknown.
    """
    names = [wanted.name for wanted in wanted_by(model)]
    if baseline is None:
        return {}
    if isinstance(baseline, Mapping):
        pairs = list(baseline.items())
    elif isinstance(baseline, list | tuple):
        pairs = [_named(text, names) for text in baseline]
    else:
        pairs = [(ANY, baseline)]
    baselines: dict[str, Baseline] = {}
    for name, value in pairs:
        if name in baselines:
            raise InputError(f"baseline of {name or 'every input'!r}: given twice. Give one.")
        baselines[name] = _read(model, name, value, preprocess)
    return baselines


def described(baselines: object) -> str:
    """Baselines as read, in words: `zero`, or `image=mean, mask=zero`."""
    assert isinstance(baselines, Mapping)
    return ", ".join(f"{n}={b.kind}" if n else b.kind for n, b in baselines.items()) or "zero"


def _named(text: str, names: Sequence[str]) -> tuple[str, str]:
    prefix, equals, value = text.partition("=")
    return (prefix, value) if equals and prefix in names else (ANY, text)


def _read(model: ir.Model, name: str, value: Any, preprocess: Preprocess | None) -> Baseline:
    if isinstance(value, Baseline):
        return value
    if isinstance(value, str) and value in ("zero", "mean"):
        return Baseline(value)
    wanted = {w.name: w for w in wanted_by(model)}
    if name == ANY and len(wanted) > 1:
        listing = ", ".join(map(repr, wanted))
        raise InputError(
            f"baseline: the model has several inputs, {listing}. Say for which one it "
            "is: NAME=FILE."
        )
    name = name or next(iter(wanted))
    if name not in wanted:
        raise InputError(
            f"baseline of {name!r}: the model has no such input. It has "
            f"{', '.join(map(repr, wanted))}."
        )
    want = wanted[name]
    if isinstance(value, str | os.PathLike):
        how = None if is_array_file(value) else preprocess
        array = load_input(value, want.shape, want.dtype, how, name=name)
        return Baseline(Path(value).name, array)
    array = fit_array(np.asarray(value), want.shape, want.dtype, name=name, place="baseline")
    return Baseline("array", array)


def starting_points(
    emit: Emit,
    graph: ir.Graph,
    inputs: Sequence[ir.Value],
    cut: Cut,
    baselines: object,
) -> dict[ir.Value, ir.Value]:
    """The baseline x₀ of each leaf, in its shape and the dtype its relevance is computed in."""
    assert isinstance(baselines, Mapping)
    _check_names(inputs, baselines)
    common = baselines.get(ANY, Baseline("zero"))
    by_input = {v: baselines.get(str(v.name), common) for v in inputs}
    arrays = {v: _constant(emit, v, b.array) for v, b in by_input.items() if b.array is not None}
    integers = [v for v in arrays if v not in cut.floats]
    nodes = cone(graph, integers, cut.embedded)
    embedded, _ = copied(graph, nodes, {v: arrays[v] for v in integers}, "lrp/baseline")
    points = {}
    for leaf in cut.leaves:
        emit.write_for(leaf, f"baseline/{leaf.name}", "baseline")
        array = arrays.get(leaf, embedded.get(leaf))
        if array is not None:
            points[leaf] = emit.op("Cast", array, to=int(emit.dtype))
        elif by_input.get(leaf, _of_tokens(by_input, leaf)).kind == "mean":
            points[leaf] = _mean(emit, leaf, leaf in cut.embedded)
        else:
            points[leaf] = expand_like(emit, 0.0, leaf)
        emit.shaped(points[leaf], leaf)
    return points


def _of_tokens(by_input: Mapping[ir.Value, Baseline], leaf: ir.Value) -> Baseline:
    """The baseline of the integer inputs that become this tensor."""
    before = set(upstream([leaf])) - {leaf}
    behind = {v for v in by_input if v in before}
    kinds = {by_input[v].kind for v in behind}
    if len(kinds) > 1:
        raise TargetError(
            f"tensor {leaf.name!r} is made of several inputs with different baselines. Give them "
            "the same one."
        )
    return by_input[behind.pop()] if behind else Baseline("zero")


def _check_names(inputs: Sequence[ir.Value], baselines: Mapping[str, Baseline]) -> None:
    explained = [v.name for v in inputs]
    for name in baselines:
        if name not in (ANY, *explained):
            raise TargetError(
                f"baseline of {name!r}: that input is not explained. Explained are "
                f"{', '.join(map(repr, explained))}."
            )


def _constant(emit: Emit, value: ir.Value, array: NDArray[Any]) -> ir.Value:
    """The array in the graph, for every sample."""
    size = None if value.shape is None else value.shape[0]
    if not isinstance(size, int) and len(array) != 1:
        raise InputError(
            f"baseline of {value.name!r}: it holds {len(array)} samples, and the model takes any "
            "number. Give one, which is for all."
        )
    emit.write_for(value, f"baseline/{value.name}", "baseline")
    assert value.dtype is not None
    dtype = value.dtype if value.dtype.is_integer() else compute_dtype(value.dtype)
    constant = emit.constant(array, dtype)
    if isinstance(size, int) and len(array) == size:
        return constant
    out = emit.op("Expand", constant, emit.shape_of(value))
    out.shape, out.dtype = value.shape, dtype
    return out


def _mean(emit: Emit, x: ir.Value, embedded: bool) -> ir.Value:
    """x's mean over its positions, one number a sample and channel, in x's shape."""
    axes = _positions(x, embedded)
    if not axes:
        raise TargetError(
            f"baseline mean: {x.name!r} of shape {x.shape} has no axis over which a mean could be "
            "taken. Choose zero or a file."
        )
    return expand_like(emit, emit.op("ReduceMean", x, emit.ints(*axes), keepdims=1), x)


def _positions(x: ir.Value, embedded: bool) -> list[int]:
    rank = known_rank(x)
    if embedded and rank > 2:
        return list(range(1, rank - 1))
    if rank > 4:
        return list(range(2, rank))
    assert x.shape is not None
    letters = batched_axes(dimensions(x.shape))
    return [k for k, letter in enumerate(letters) if letter in "HWF"]
