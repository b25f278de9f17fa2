"""What explain, verify and bench are given: files for the inputs, and what they imply."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import onnx_ir as ir

from lrp_onnx.compiler.input_range import Ranges
from lrp_onnx.data.implied import implied_preprocess
from lrp_onnx.data.inputs import is_array_file, load_input
from lrp_onnx.data.preprocess import Preprocess, bounds, load_preprocess
from lrp_onnx.data.samples import wanted_by
from lrp_onnx.errors import InputError
from lrp_onnx.gradients.baseline import read_baselines
from lrp_onnx.graph.session import Array
from lrp_onnx.lrp.methods import method_of
from lrp_onnx.options import CompileOptions

__all__ = ["Material", "read_given", "read_material", "with_baselines"]


@dataclass(frozen=True)
class Material:
    """What the files given hold, and how pictures among them were prepared."""

    feeds: dict[str, Array]
    preprocess: dict[str, Preprocess] = field(default_factory=dict)
    """By input, for those given as pictures."""
    files: dict[str, str] = field(default_factory=dict)

    @property
    def ranges(self) -> Ranges:
        """Between what the values of each picture lie, as its preparation implies."""
        return {name: bounds(how) for name, how in self.preprocess.items()}


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


def read_given(
    model: ir.Model, files: Sequence[str] | None, preprocess: str | None, options: CompileOptions
) -> tuple[Material, CompileOptions]:
    """What the files hold, and the options with the baselines read.

    Raises InputError as `read_material` does, and for a preprocess with nothing to prepare.
    """
    how = None if preprocess is None else load_preprocess(preprocess)
    if how is not None and not files and not options.baseline:
        raise InputError(
            f"--preprocess {preprocess}: it says how a picture becomes the input, and no picture "
            "is given. Name one behind the model."
        )
    material = read_material(model, files, how) if files else Material({})
    return material, with_baselines(options, model, how)


def with_baselines(
    options: CompileOptions, model: ir.Model, preprocess: Preprocess | None
) -> CompileOptions:
    """The options with the baselines read, prepared as the inputs are if they are pictures."""
    if options.baseline is None or not method_of(options).path:
        return options
    return replace(options, baseline=read_baselines(model, options.baseline, preprocess))
