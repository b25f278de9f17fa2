"""The input files of explain, verify and bench: what they hold, and how pictures are prepared."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir

from lrp_onnx.compiler.input_range import Ranges
from lrp_onnx.compiler.reference import read_reference
from lrp_onnx.data.features import find_features, read_features
from lrp_onnx.data.implied import implied_preprocess
from lrp_onnx.data.inputs import array_names, is_array_file, load_input
from lrp_onnx.data.layout import describe_shape
from lrp_onnx.data.preprocess import Preprocess, bounds, load_preprocess
from lrp_onnx.data.samples import wanted_by
from lrp_onnx.data.sound import Sound, is_rate, is_sound, rate_of, read_sound, unknown_rate
from lrp_onnx.data.table import Table, is_table, read_table
from lrp_onnx.data.text import Text, Tokenizer, find_tokenizer, no_tokenizer, text_inputs
from lrp_onnx.errors import InputError
from lrp_onnx.gradients.baseline import read_baselines
from lrp_onnx.graph.arrays import Array, Wanted
from lrp_onnx.graph.dtypes import OF_TEXTS
from lrp_onnx.graph.source_file import text_of
from lrp_onnx.lrp.methods import method_of
from lrp_onnx.options import CompileOptions

__all__ = [
    "Inputs",
    "Reader",
    "inputs_of",
    "ranges_of",
    "read_inputs",
    "read_inputs_if_any",
    "with_baselines",
]


MOST_LETTERS = 40
"""Of a sentence in the name of its answer."""


@dataclass(frozen=True)
class Inputs:
    """What the files hold, and how pictures among them were prepared."""

    feeds: dict[str, Array] = field(default_factory=dict)
    preprocess: dict[str, Preprocess] = field(default_factory=dict)
    """By input, for those that are pictures."""
    files: dict[str, str] = field(default_factory=dict)
    texts: dict[str, Text] = field(default_factory=dict)
    """By input of token ids."""
    sounds: dict[str, Sound] = field(default_factory=dict)
    """By input."""
    tables: list[Table] = field(default_factory=list)
    """The one whose rows are the samples, if there is one."""
    place: Path = Path()
    """Beside what answers may lie."""

    @property
    def table(self) -> Table | None:
        """The table whose rows are the samples."""
        return self.tables[0] if self.tables else None

    @property
    def named(self) -> str:
        """The files in words."""
        return ", ".join(f"'{file}'" for file in dict.fromkeys(self.files.values()))

    @property
    def by_name(self) -> str:
        """The file of each input, in words; one that fills several stands once."""
        by_file: dict[str, list[str]] = {}
        for name, file in self.files.items():
            by_file.setdefault(file, []).append(name)
        return ", ".join(f"{', '.join(names)}={file}" for file, names in by_file.items())

    @property
    def notices(self) -> list[str]:
        """What was left out or cut off, in words."""
        of_texts = [text.notice for text in self.texts.values()]
        of_sounds = [sound.notice for sound in self.sounds.values()]
        notices = [*of_texts, *(table.notice for table in self.tables), *of_sounds]
        return [notice for notice in notices if notice]

    @property
    def ranges(self) -> Ranges:
        """Between what the values of each picture lie, as its preparation implies."""
        return {name: bounds(preprocess) for name, preprocess in self.preprocess.items()}


def inputs_of(model: ir.Model) -> tuple[Wanted, ...]:
    """What the model must be given. Raises InputError for what no file can hold."""
    return wanted_by(model)


@dataclass(frozen=True)
class Reader:
    """What only some kinds of input need: the tokenizer that is named, or lies beside the model,
    which row of a table is meant, and the rate of a sound.
    """

    model: Path
    tokenizer: str | None = None
    row: int | None = None
    rate: int | None = None

    def rate_of(self, model: ir.Model) -> int | None:
        """Samples a second of a sound: as told, else as the model's metadata have it."""
        return self.rate or rate_of(model.metadata_props)

    def sound(self, file: str, want: Wanted, model: ir.Model) -> Sound:
        """A sound as samples, or as the features that a configuration beside the model names."""
        config = find_features(self.model)
        if config is not None:
            return read_features(file, want, config)
        return read_sound(file, want, self.rate_of(model))

    def text(self, text: str, inputs: Sequence[Wanted]) -> Text:
        """A sentence, or the text of a .txt file, in tokens."""
        place = self.tokenizer or find_tokenizer(self.model)
        if place is None:
            raise InputError(no_tokenizer(self.model))
        if os.path.isfile(text):
            try:
                text = text_of(text).strip()
            except OSError as error:
                raise InputError(f"'{text}': {error.strerror}. Give a text file.") from error
        return Tokenizer(place)(text, inputs)


def is_text(text: str, names: Collection[str] = ()) -> bool:
    """Whether it is a .txt file, or no file's name: a sentence."""
    name, equals, _ = text.partition("=")
    if equals and name in names:
        return False
    ending = Path(text).suffix.lower()
    return ending == ".txt" or not (os.path.exists(text) or (ending and " " not in text))


def _place_of(text: str) -> Path:
    """The file itself; of a sentence one in this folder that is named for its first words."""
    if os.path.exists(text):
        return Path(text)
    words = re.sub(r"[^\w]+", "-", text.casefold()).strip("-")
    return Path(f"{words[:MOST_LETTERS].strip('-') or 'text'}.txt")


def read_inputs(
    model: ir.Model,
    files: Sequence[str],
    preprocess: Preprocess | None,
    reader: Reader | None = None,
) -> Inputs:
    """Read each `FILE` or `NAME=FILE` for an input of the model; with a reader also a sentence or
    text file for all inputs of tokens, or a table for all that are left.

    Raises InputError where an input is missing, unknown or given twice, or a file does not fit.
    """
    wanted = {w.name: w for w in inputs_of(model)}
    inputs = Inputs(place=_place_of(next(iter(files))) if len(files) else Path())
    named: dict[str, str] = {}
    if reader is not None:
        files, named = _read_whole(model, wanted, files, reader, inputs)
    others = [name for name in wanted if name not in inputs.feeds]
    inputs.files.update(_files_by_input(others, files))
    values = {value.name: value for value in model.graph.inputs}
    for name, file in inputs.files.items():
        if not os.path.exists(file):
            raise InputError(_no_file(wanted[name], file))
        want, prepared = wanted[name], preprocess
        if is_sound(file) and reader is not None:
            inputs.sounds[name] = reader.sound(file, want, model)
            inputs.feeds[name] = inputs.sounds[name].samples
            continue
        if not is_array_file(file):
            prepared = preprocess or implied_preprocess(values[name], model.metadata_props)
            if prepared is not None:
                inputs.preprocess[name] = prepared
        inputs.feeds[name] = load_input(file, want.shape, want.dtype, prepared, name=name)
    _check_used(inputs, preprocess, reader)
    inputs.files.update(named)
    return inputs


def _check_used(inputs: Inputs, preprocess: Preprocess | None, reader: Reader | None) -> None:
    """Raise InputError for what is told about a kind of input that is not there."""
    prepared = any(not is_sound(file) for file in inputs.files.values())
    options = [
        (f"--preprocess {preprocess and preprocess.name}: it prepares pictures",
         preprocess is not None and not prepared),
        (f"--tokenizer {reader and reader.tokenizer}: it reads texts",
         reader is not None and reader.tokenizer is not None and not inputs.texts),
        (f"--row {reader and reader.row}: it chooses a row of a table",
         reader is not None and reader.row is not None and not inputs.tables),
    ]  # fmt: skip
    for option, unused in options:
        if unused:
            raise InputError(f"{option}, and none is given. Leave it out.")


def _no_file(want: Wanted, file: str) -> str:
    """What is said where a file is not there, which may be meant as a text."""
    text = f"input {want.name!r}: there is no file '{file}'"
    if " " not in file or Path(file).suffix:
        return f"{text}. Check the path."
    if want.dtype.kind == "O":
        return f"input {want.name!r}: {OF_TEXTS}"
    shape = describe_shape(want.shape)
    return f"{text}, and the model takes no text: it wants {want.dtype} {shape}. Give a file."


def _read_whole(
    model: ir.Model,
    wanted: Mapping[str, Wanted],
    files: Sequence[str],
    reader: Reader,
    inputs: Inputs,
) -> tuple[list[str], dict[str, str]]:
    """Fill what one file fills in several inputs: a text, a table, the rate of a sound. Returns the
    files that are left, and by input those that were read.
    """
    rest, named = [*files], dict[str, str]()
    roles = text_inputs(list(wanted.values()))
    sentence = next((t for t in rest if is_text(t, wanted)), None) if roles else None
    if sentence is not None:
        ids = next(name for name, role in roles.items() if role == "ids")
        inputs.texts[ids] = reader.text(sentence, list(wanted.values()))
        inputs.feeds.update(inputs.texts[ids].feeds)
        rest.remove(sentence)
        named[ids] = sentence
    tables = [text for text in rest if is_table(text)]
    if len(tables) == 1:
        free = [w for name, w in wanted.items() if not any(f.startswith(f"{name}=") for f in files)]
        table = read_table(tables[0], free, reader.row)
        inputs.tables.append(table)
        inputs.feeds.update(table.feeds)
        rest.remove(tables[0])
        named.update(dict.fromkeys(table.feeds, tables[0]))
    sounds, rate = [text for text in rest if is_sound(text)], reader.rate_of(model)
    for name, want in wanted.items():
        if sounds and is_rate(want) and not any(f.startswith(f"{name}=") for f in files):
            if rate is None:
                raise unknown_rate(sounds[0], "the model")
            shape = [size if isinstance(size, int) else 1 for size in want.shape]
            inputs.feeds[name] = np.full(shape, rate, want.dtype)
    return rest, named


def _files_by_input(names: Sequence[str], files: Sequence[str]) -> dict[str, str]:
    """A file without a name is for the first input that has none yet; an .npz file for each whose
    name it holds.
    """
    by_input: dict[str, str] = {}
    for text in files:
        name, equals, file = text.partition("=")
        if not equals or (name not in names and Path(text).exists()):
            if held := [n for n in array_names(text) if n in names and n not in by_input]:
                by_input.update(dict.fromkeys(held, text))
                continue
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
        raise InputError(
            f"no file is given for input {_quoted(missing)}. Give {example!r}, or all inputs by "
            "name in one .npz file."
        )
    return by_input


def _first_without(by_input: Collection[str], names: Sequence[str], file: str) -> str:
    for name in names:
        if name not in by_input:
            return name
    fact = f"the model has {len(names)} input{'s' * (len(names) > 1)}: {_quoted(names)}"
    raise InputError(f"{file!r} is one file too many: {fact}. Leave it out.")


def ranges_of(model: ir.Model, preprocess: Preprocess | None) -> Ranges:
    """Between what the values of pictures would lie, by input, without one: as they are told to be
    prepared, or as the model shows. Raises InputError where it takes no picture that is told of.
    """
    pictures = [w.name for w in inputs_of(model) if len(w.shape) == 4]
    if preprocess is not None and not pictures:
        raise InputError(
            f"--preprocess {preprocess.name}: it prepares pictures, and the model takes none. "
            "Leave it out."
        )
    values = {value.name: value for value in model.graph.inputs}
    prepared = {n: preprocess or implied_preprocess(values[n], model.metadata_props)
                for n in pictures}  # fmt: skip
    return {name: bounds(own) for name, own in prepared.items() if own is not None}


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names)


def read_inputs_if_any(
    model: ir.Model,
    files: Sequence[str] | None,
    preprocess: str | None,
    options: CompileOptions,
    reader: Reader,
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
    inputs = read_inputs(model, files, prepared, reader) if files else Inputs()
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
    if options.baseline is None or not method_of(options).integrates:
        return options
    return replace(options, baseline=read_baselines(model, options.baseline, preprocess))
