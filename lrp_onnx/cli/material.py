"""What explain, verify and bench are given: files for the inputs, and what they imply."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir

from lrp_onnx.data.implied import affine_behind, implied_preprocess
from lrp_onnx.data.inputs import is_array_file, load_input
from lrp_onnx.data.preprocess import Preprocess, bounds, load_preprocess
from lrp_onnx.data.samples import wanted_by
from lrp_onnx.errors import CompositeError, InputError
from lrp_onnx.frontend.canonize import canonize
from lrp_onnx.frontend.normalize import normalize
from lrp_onnx.gradients.baseline import read_baselines
from lrp_onnx.graph.model_file import check_original, load
from lrp_onnx.graph.session import Array
from lrp_onnx.lrp.assignment import Request, assign
from lrp_onnx.lrp.composite import Override, load_composite
from lrp_onnx.lrp.methods import PATH

__all__ = ["Material", "asked_of", "open_model", "read_given", "read_material"]


@dataclass(frozen=True)
class Material:
    """What the files given hold, and how pictures among them were prepared."""

    feeds: dict[str, Array]
    preprocess: dict[str, Preprocess] = field(default_factory=dict)
    """By input, for those given as pictures."""
    files: dict[str, str] = field(default_factory=dict)


def read_material(model: ir.Model, files: Sequence[str], preprocess: Preprocess | None) -> Material:
    """Read each `FILE` or `NAME=FILE` for an input of the model.

    Raises InputError where an input is missing, unknown or given twice, or a file does not fit.
    """
    try:
        wanted = {w.name: w for w in wanted_by(model)}
    except TypeError as e:
        raise InputError(f"{e}. lrp-onnx cannot fill it from a file.") from e
    named = _by_name(list(wanted), files)
    values = {value.name: value for value in model.graph.inputs}
    feeds, used = {}, {}
    for name, file in named.items():
        want, how = wanted[name], preprocess
        if not is_array_file(file):
            how = preprocess or implied_preprocess(values[name])
            if how is not None:
                used[name] = how
        feeds[name] = load_input(file, want.shape, want.dtype, how, name=name)
    return Material(feeds, used, named)


def _by_name(names: Sequence[str], files: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in files:
        prefix, equals, file = text.partition("=")
        if equals and prefix in names:
            name = prefix
        elif equals and not Path(text).exists():
            raise InputError(f"input {prefix!r}: the model has none. Its inputs: {_quoted(names)}.")
        else:
            name, file = _next(names, found, text), text
        if name in found:
            raise InputError(f"input {name!r} is given twice: {found[name]!r} and {file!r}.")
        found[name] = file
    missing = [name for name in names if name not in found]
    if missing:
        example = f"{missing[0]}=FILE"
        raise InputError(f"input {_quoted(missing)} is missing. Give it as {example!r}.")
    return found


def _next(names: Sequence[str], found: Mapping[str, str], file: str) -> str:
    """The input a file without a name is for: the first that has none yet."""
    for name in names:
        if name not in found:
            return name
    fact = f"the model has {len(names)} input{'s' * (len(names) > 1)}: {_quoted(names)}"
    raise InputError(f"{file!r} is one file too many: {fact}. Leave it out.")


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names)


def open_model(path: Path) -> ir.Model:
    """The model to explain. Raises ModelError for one that is compiled already."""
    model = load(path)
    check_original(model)
    return model


def read_given(
    path: Path, files: Sequence[str] | None, preprocess: str | None, request: Request
) -> tuple[dict[str, Array] | None, Request]:
    """What the files hold, None where there are none, and the request as `asked_of` has it.

    Raises InputError as `read_material` does, and for a preprocess with nothing to prepare.
    """
    how = None if preprocess is None else load_preprocess(preprocess)
    if preprocess is not None and not files and not request.baseline:
        raise InputError(
            f"--preprocess {preprocess}: it says how a picture becomes the input, and none is "
            "given. Name one behind the model."
        )
    if not files and how is None:
        return None, request
    model = open_model(path)
    material = read_material(model, files, how) if files else Material({})
    return material.feeds or None, asked_of(request, model, material, how)


def asked_of(
    request: Request, model: ir.Model, material: Material, preprocess: Preprocess | None
) -> Request:
    """The request with what pictures and their preprocessing imply: baselines that are pictures,
    zbox's low and high.
    """
    if request.method == PATH:
        request = replace(request, baseline=read_baselines(model, request.baseline, preprocess))
    return _with_bounds(request, model, material)


def _with_bounds(request: Request, model: ir.Model, material: Material) -> Request:
    """The request with zbox's low and high as the pictures' preprocessing implies them.

    Only where the composite needs them and the user gave neither.  What stands between the input
    and the first layer, such as a model's own normalization, is applied to the range.
    """
    given = {key.rpartition(".")[2] for key in request.parameters}
    if not material.preprocess or given & {"low", "high"} or not _needs_bounds(request):
        return request
    name, how = next(iter(material.preprocess.items()))
    canonical = normalize(model.clone())
    canonize(canonical)
    low, high = _at_first_layer(canonical, name, how)
    implied = {**request.parameters, "zbox.low": low, "zbox.high": high}
    bounded = replace(request, parameters=implied)
    try:
        assign(canonical, bounded)
    except CompositeError:  # this model has no node that gets zbox, or the error comes again
        return request
    return bounded


def _needs_bounds(request: Request) -> bool:
    composite = load_composite(request.composite).with_rules(request.rules)
    return any(
        layer.rule.name == "zbox" and not {"low", "high"} & set(layer.given)
        for layer in composite.layers
    )


def _at_first_layer(canonical: ir.Model, name: str, how: Preprocess) -> tuple[Override, Override]:
    """The smallest and largest value that a pixel can have behind affine nodes, per channel."""
    value = next(v for v in canonical.graph.inputs if v.name == name)
    (factor, shift), _ = affine_behind(value)
    low, high = (np.asarray(ends) * factor + shift for ends in bounds(how))
    return _setting(np.minimum(low, high)), _setting(np.maximum(low, high))


def _setting(ends: Array) -> Override:
    values: list[float] = ends.tolist()
    return values if len(values) > 1 else values[0]
