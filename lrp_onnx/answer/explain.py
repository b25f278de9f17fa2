"""`lrp_onnx.explain`: a model and an input, a picture or a sentence or arrays, become an answer."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from lrp_onnx.answer.destination import Destination
from lrp_onnx.answer.each_output import by_output
from lrp_onnx.answer.explanation import Explanation
from lrp_onnx.answer.fit import bad_fits
from lrp_onnx.answer.inputs import Inputs, read_inputs
from lrp_onnx.answer.open_model import Request, open_model
from lrp_onnx.answer.questions import asked_at_once
from lrp_onnx.answer.results import check_finite
from lrp_onnx.arguments import as_array, checked
from lrp_onnx.compiler.stages import load_any
from lrp_onnx.data.inputs import fit_array
from lrp_onnx.data.preprocess import Preprocess, load_preprocess
from lrp_onnx.data.samples import wanted_by
from lrp_onnx.errors import InputError
from lrp_onnx.options import CompileOptions

__all__ = ["explain"]


@checked
def explain(
    model: str | os.PathLike[str] | bytes | onnx.ModelProto | ir.Model,
    input: Any,
    *,
    preprocess: str | os.PathLike[str] | Preprocess | None = None,
    tokenizer: str | os.PathLike[str] | None = None,
    **options: Any,
) -> Explanation:
    """Explain one input, or a batch, in one call.

    model: a path, bytes, an onnx.ModelProto or an onnx_ir.Model, compiled already or not.
    input: a picture, .npy, .npz or text file; a sentence; an array or a row of numbers, with or
        without its batch axis; arrays by name; or a list of files, one for each input of the model.
    preprocess: what the model was trained with: imagenet, inception, unit, byte or a .toml file.
    tokenizer: of a model of sentences [the one beside it].
    options: those of `lrp_onnx.compile`, such as composite, target and labels.
    Returns an answer with `relevance`, `outputs` and `predictions` that saves itself as a picture,
    page or arrays and shows itself in a notebook. Raises LrpError as every step on the way does.
    """
    path = Path(model) if isinstance(model, str | os.PathLike) else Path("model.onnx")
    request = Request(path, (), Destination(None, None), None, _text(tokenizer))
    prepared = _preprocess(preprocess)
    loaded = load_any(path if isinstance(model, str | os.PathLike) else model)
    compiling = CompileOptions(**options)
    with asked_at_once(compiling, loaded):
        inputs = _inputs(loaded.model, input, prepared, request)
    warnings: list[str] = [*inputs.notices]

    def warn(text: str | None) -> None:
        warnings.extend([text] if text else [])

    opened = open_model(request, compiling, loaded, inputs, prepared, warn)
    result = opened.run(inputs)
    for explainer, own in by_output(opened.explainer, result):
        check_finite(explainer, own, inputs, path)
        warnings += bad_fits(explainer.metadata, own, inputs)
    return Explanation(opened, inputs, result, tuple(warnings))


def _text(path: str | os.PathLike[str] | None) -> str | None:
    return None if path is None else str(path)


def _preprocess(preprocess: str | os.PathLike[str] | Preprocess | None) -> Preprocess | None:
    if preprocess is None or isinstance(preprocess, Preprocess):
        return preprocess
    return load_preprocess(preprocess)


def _inputs(
    model: ir.Model, given_input: Any, preprocess: Preprocess | None, request: Request
) -> Inputs:
    """Files and sentences as the command reads them; arrays as the model takes them."""
    if isinstance(given_input, str | os.PathLike):
        return read_inputs(model, [str(given_input)], preprocess, request.reader)
    files = isinstance(given_input, Sequence) and all(
        isinstance(part, str | os.PathLike) for part in given_input
    )
    if files and given_input:
        return read_inputs(model, list(map(str, given_input)), preprocess, request.reader)
    wanted = {want.name: want for want in wanted_by(model)}
    if not isinstance(given_input, Mapping):
        if len(wanted) > 1:
            names = ", ".join(map(repr, wanted))
            raise InputError(f"the model has {len(wanted)} inputs. Give a dict of arrays: {names}.")
        given_input = {next(iter(wanted)): given_input}
    inputs = Inputs(files=dict.fromkeys(given_input, "array"))
    for name, value in given_input.items():
        if name not in wanted:
            names = ", ".join(map(repr, wanted))
            raise InputError(f"input {name!r}: the model has none. Its inputs: {names}.")
        want, array = wanted[name], as_array(value, f"input {name!r}")
        if not isinstance(value, np.ndarray) and array.dtype.kind in "iuf":
            array = array.astype(want.dtype)  # numbers in a list have no width of their own
        inputs.feeds[name] = fit_array(array, want.shape, want.dtype, name=name)
        if preprocess is not None and len(want.shape) == 4:
            inputs.preprocess[name] = preprocess
    return inputs
