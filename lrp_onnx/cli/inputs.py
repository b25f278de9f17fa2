"""The input files of explain, verify and bench: what they hold, and how pictures are prepared."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import onnx_ir as ir
from PIL import Image

from lrp_onnx.compiler.input_range import Ranges
from lrp_onnx.compiler.reference import read_reference
from lrp_onnx.data.implied import implied_preprocess
from lrp_onnx.data.inputs import is_array_file, load_input
from lrp_onnx.data.preprocess import Preprocess, bounds, load_preprocess
from lrp_onnx.data.samples import wanted_by
from lrp_onnx.errors import InputError
from lrp_onnx.gradients.baseline import read_baselines
from lrp_onnx.graph.session import Array
from lrp_onnx.lrp.methods import method_of
from lrp_onnx.options import CompileOptions

__all__ = [
    "Inputs",
    "files_of_folder",
    "read_inputs",
    "read_inputs_if_any",
    "read_samples",
    "with_baselines",
]


@dataclass(frozen=True)
class Inputs:
    """What the files hold, and how pictures among them were prepared."""

    feeds: dict[str, Array] = field(default_factory=dict)
    preprocess: dict[str, Preprocess] = field(default_factory=dict)
    """By input, for those that are pictures."""
    files: dict[str, str] = field(default_factory=dict)

    @property
    def ranges(self) -> Ranges:
        """Between what the values of each picture lie, as its preparation implies."""
        return {name: bounds(preprocess) for name, preprocess in self.preprocess.items()}


def read_inputs(model: ir.Model, files: Sequence[str], preprocess: Preprocess | None) -> Inputs:
    """Read each `FILE` or `NAME=FILE` for an input of the model.

    Raises InputError where an input is missing, unknown or given twice, or a file does not fit.
    """
    try:
        wanted = {w.name: w for w in wanted_by(model)}
    except TypeError as e:
        raise InputError(f"{e}. lrp-onnx cannot fill it from a file.") from e
    inputs = Inputs(files=_files_by_input(list(wanted), files))
    values = {value.name: value for value in model.graph.inputs}
    for name, file in inputs.files.items():
        if not Path(file).exists():
            raise InputError(f"input {name!r}: there is no file '{file}'. Check the path.")
        prepared = preprocess
        if not is_array_file(file):
            prepared = preprocess or implied_preprocess(values[name])
            if prepared is not None:
                inputs.preprocess[name] = prepared
        want = wanted[name]
        inputs.feeds[name] = load_input(file, want.shape, want.dtype, prepared, name=name)
    return inputs


def read_samples(
    model: ir.Model,
    files: Sequence[str],
    preprocess: Preprocess | None,
    warn: Callable[[str | None], None],
) -> list[Inputs]:
    """Samples to compare explanations on: where the model has one input each file is one, or holds
    several, and a folder stands for its files; else a file for each input, with several samples.
    """
    expanded = [own for text in files for own in _files_of(text, warn)]
    inputs = wanted_by(model)
    if len(inputs) != 1:
        return [read_inputs(model, expanded, preprocess)]
    return [read_inputs(model, [text], preprocess) for text in expanded]


def _files_of(text: str, warn: Callable[[str | None], None]) -> list[str]:
    """The pictures and arrays of a folder; a file itself."""
    prefix, equals, place = text.rpartition("=")
    if not Path(place).is_dir():
        return [text]
    return [f"{prefix}{equals}{file}" for file in files_of_folder(Path(place), warn)]


def files_of_folder(folder: Path, warn: Callable[[str | None], None]) -> list[Path]:
    """The pictures and arrays of a folder, by name; says how many other files there are."""
    every = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    pictures = Image.registered_extensions()
    files = [p for p in every if is_array_file(p) or p.suffix.lower() in pictures]
    if not files:
        raise InputError(f"folder '{folder}' holds no picture, .npy or .npz. Name another.")
    if others := len(every) - len(files):
        warn(f"folder '{folder}': {others} other file{'s' * (others > 1)} left out")
    return files


def _files_by_input(names: Sequence[str], files: Sequence[str]) -> dict[str, str]:
    """A file without a name is for the first input that has none yet."""
    by_input: dict[str, str] = {}
    for text in files:
        name, equals, file = text.partition("=")
        if not equals or (name not in names and Path(text).exists()):
            name, file = _first_without(by_input, names, text), text
        if name not in names:
            raise InputError(f"input {name!r}: the model has none. Its inputs: {_quoted(names)}.")
        if name in by_input:
            both = f"{by_input[name]!r} and {file!r}"
            raise InputError(f"input {name!r} is given twice: {both}. Leave one out.")
        by_input[name] = file
    missing = [name for name in names if name not in by_input]
    if missing:
        example = f"{missing[0]}=FILE"
        raise InputError(f"no file is given for input {_quoted(missing)}. Give {example!r}.")
    return by_input


def _first_without(by_input: Collection[str], names: Sequence[str], file: str) -> str:
    for name in names:
        if name not in by_input:
            return name
    fact = f"the model has {len(names)} input{'s' * (len(names) > 1)}: {_quoted(names)}"
    raise InputError(f"{file!r} is one file too many: {fact}. Leave it out.")


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names)


def read_inputs_if_any(
    model: ir.Model, files: Sequence[str] | None, preprocess: str | None, options: CompileOptions
) -> tuple[Inputs, CompileOptions]:
    """What the files hold, nothing where there are none, and the options with the baselines read.

    Raises InputError as `read_inputs` does, and for a preprocess with nothing to prepare.
    """
    prepared = None if preprocess is None else load_preprocess(preprocess)
    if prepared is not None and not files and not options.baseline:
        raise InputError(
            f"--preprocess {preprocess}: it prepares pictures, and no picture is given. Give one "
            "after the model, or leave --preprocess out."
        )
    inputs = read_inputs(model, files, prepared) if files else Inputs()
    return inputs, with_baselines(options, model, prepared)


def with_baselines(
    options: CompileOptions, model: ir.Model, preprocess: Preprocess | None
) -> CompileOptions:
    """The options with baselines and reference read, prepared as the inputs are if they are
    pictures.
    """
    if options.reference is not None:
        reference = read_reference(model, options.reference, preprocess)
        options = replace(options, reference=reference)
    if options.baseline is None or not method_of(options).path:
        return options
    return replace(options, baseline=read_baselines(model, options.baseline, preprocess))
