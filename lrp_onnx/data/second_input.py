"""An input of the model that stands beside the explained one, in Python or as files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from lrp_onnx.arguments import as_array
from lrp_onnx.data.implied import implied_preprocess
from lrp_onnx.data.inputs import fit_array, is_array_file, load_input
from lrp_onnx.data.preprocess import Preprocess
from lrp_onnx.data.samples import wanted_by
from lrp_onnx.errors import InputError

__all__ = ["read_second_input"]


def read_second_input(
    model: ir.Model, source: object, what: str, preprocess: Preprocess | None = None
) -> dict[str, NDArray[Any]]:
    """Arrays by input name, of every input.

    source: a file or an array, these by input name, or texts `[NAME=]FILE` as the command line has
    them. what: what it is for, in words. Raises InputError where an input is missing or unknown, or
    a file does not fit.
    """
    wanted = {w.name: w for w in wanted_by(model)}
    values = {v.name: v for v in model.graph.inputs}
    feeds = {}
    for name, value in _by_name(source, list(wanted), what).items():
        want = wanted[name]
        if isinstance(value, str | os.PathLike):
            if not os.path.exists(value):
                raise InputError(f"{what}: there is no file '{value}'. Check the path.")
            how = None
            if not is_array_file(value):
                how = preprocess or implied_preprocess(values[name], model.metadata_props)
            feeds[name] = load_input(value, want.shape, want.dtype, how, name=name)
        else:
            array = as_array(value, what)
            feeds[name] = fit_array(array, want.shape, want.dtype, name=name, place=what)
    return feeds


def _by_name(source: object, names: list[str], what: str) -> dict[str, object]:
    listing = ", ".join(map(repr, names))
    if isinstance(source, Mapping):
        by_name = dict(source)
    elif isinstance(source, str | os.PathLike) and Path(source).suffix.lower() == ".npz":
        by_name = dict.fromkeys(names, source)  # one file holds all
    else:
        texts = list(source) if isinstance(source, list | tuple) else [source]
        by_name = dict(_named(text, names) for text in texts)
    if unknown := [name for name in by_name if name not in names]:
        raise InputError(
            f"{what} of {unknown[0]!r}: the model has no such input. It has {listing}."
        )
    if missing := [name for name in names if name not in by_name]:
        raise InputError(
            f"{what}: nothing is given for input {missing[0]!r}. The model has {listing}: give "
            "NAME=FILE for each."
        )
    return by_name


def _named(source: object, names: list[str]) -> tuple[str, object]:
    if isinstance(source, str):
        prefix, equals, value = source.partition("=")
        if equals and prefix in names:
            return prefix, value
    return names[0] if names else "", source
