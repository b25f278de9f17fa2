"""The input files of explain, verify and bench: what they hold, and how pictures are prepared."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import onnx_ir as ir
from PIL import Image

from lrp_onnx.cli.destination import is_answer
from lrp_onnx.compiler.input_range import Ranges
from lrp_onnx.compiler.reference import read_reference
from lrp_onnx.data.implied import implied_preprocess
from lrp_onnx.data.inputs import array_names, is_array_file, load_input
from lrp_onnx.data.layout import describe_shape
from lrp_onnx.data.preprocess import Preprocess, bounds, load_preprocess
from lrp_onnx.data.samples import wanted_by
from lrp_onnx.data.table import Table, categories_of, is_table, read_table
from lrp_onnx.data.text import Text, Tokenizer, find_tokenizer, text_inputs
from lrp_onnx.errors import InputError
from lrp_onnx.gradients.baseline import read_baselines
from lrp_onnx.graph.session import Array, Wanted
from lrp_onnx.lrp.methods import method_of
from lrp_onnx.options import CompileOptions

__all__ = [
    "Inputs",
    "Reader",
    "SampleFiles",
    "check_given",
    "read_inputs",
    "read_inputs_if_any",
    "read_samples",
    "sample_files",
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
    table: Table | None = None
    """Whose rows are the samples."""
    place: Path = Path()
    """Beside what answers may lie."""

    @property
    def ranges(self) -> Ranges:
        """Between what the values of each picture lie, as its preparation implies."""
        return {name: bounds(preprocess) for name, preprocess in self.preprocess.items()}


@dataclass(frozen=True)
class SampleFiles:
    """Files that are a sample each."""

    files: list[Path]
    folder: Path | None = None
    """That they are all the files of."""
    prefix: str = ""
    """`NAME=`, where the input was named."""

    def named(self, file: Path) -> str:
        """One of the files as the command line has it."""
        return f"{self.prefix}{file}"


def check_given(model: ir.Model, texts: Sequence[str], path: Path) -> None:
    """Raise InputError, with what the model wants, where nothing is given."""
    if texts:
        return
    wanted = _wanted(model)
    listing = ", ".join(f"{w.name!r} {w.dtype} {describe_shape(w.shape)}" for w in wanted)
    files = " ".join(f"{w.name}=FILE" for w in wanted) if len(wanted) > 1 else "FILE"
    raise InputError(
        f"'{path}': no input is given, and the model wants {listing}. Give it: lrp-onnx explain "
        f"{path} {files}."
    )


def sample_files(
    model: ir.Model, texts: Sequence[str], warn: Callable[[str | None], None]
) -> SampleFiles | None:
    """The files that are a sample each: those of a folder, or several for a model of one input.
    None where they are the inputs of one sample. Raises InputError for a folder beside other
    inputs.
    """
    split = [text.rpartition("=") for text in texts]
    folders = [place for _, _, place in split if os.path.isdir(place)]
    wanted = _wanted(model)
    roles = text_inputs(wanted)
    several = len(texts) > 1 and len(wanted) - max(0, len(roles) - 1) == 1
    if several and roles and not all(os.path.isfile(text) for text in texts):
        raise InputError(
            f"{len(texts)} texts are given, and not all are files. Put a sentence in quotes, or "
            "each of several into a .txt file."
        )
    if not folders:
        prefixes = {f"{prefix}{equals}" for prefix, equals, _ in split}
        if not several or prefixes != {""}:
            return None
        files = [Path(text) for text in texts if not is_answer(Path(text))]
        if left := len(texts) - len(files):
            warn(f"{left} earlier answer{'s' * (left > 1)} left out")
        return SampleFiles(files or [Path(text) for text in texts])
    if len(texts) > 1:
        raise InputError(
            f"'{folders[0]}' is a folder, and other inputs are given. Give a folder alone, for a "
            "model of one input, or a file for each input."
        )
    ((prefix, equals, place),) = split
    folder = Path(place)
    more = (".txt",) if roles else (".csv", ".tsv", ".parquet")
    return SampleFiles(files_of_folder(folder, warn, more), folder, f"{prefix}{equals}")


def _wanted(model: ir.Model) -> tuple[Wanted, ...]:
    try:
        return wanted_by(model)
    except TypeError as e:
        raise InputError(f"{e}. lrp-onnx cannot fill it from a file.") from e


@dataclass(frozen=True)
class Reader:
    """What only some kinds of input need: the tokenizer that is named, or lies beside the model,
    and which row of a table is meant.
    """

    model: Path
    tokenizer: str | None = None
    row: int | None = None

    def text(self, text: str, inputs: Sequence[Wanted]) -> Text:
        """A sentence, or the text of a .txt file, in tokens."""
        place = self.tokenizer or find_tokenizer(self.model)
        if place is None:
            raise InputError(
                f"a text is given, and beside '{self.model}' there is no tokenizer.json or "
                "vocab.txt. Give the one that the model was trained with: --tokenizer FILE."
            )
        if os.path.isfile(text):
            try:
                text = Path(text).read_text(encoding="utf-8-sig").strip()
            except (OSError, UnicodeDecodeError) as error:
                fact = getattr(error, "strerror", None) or "not UTF-8 text"
                raise InputError(f"'{text}': {fact}. Give a text file.") from error
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
    wanted = {w.name: w for w in _wanted(model)}
    roles = {} if reader is None else text_inputs(list(wanted.values()))
    sentence = next((t for t in files if is_text(t, wanted)), None) if roles else None
    inputs = Inputs(place=_place_of(next(iter(files))) if len(files) else Path())
    if sentence is not None and reader is not None:
        ids = next(name for name, role in roles.items() if role == "ids")
        inputs.texts[ids] = reader.text(sentence, list(wanted.values()))
        inputs.feeds.update(inputs.texts[ids].feeds)
        files = [text for text in files if text is not sentence]
    tables = [text for text in files if is_table(text)] if reader is not None else []
    if len(tables) == 1 and reader is not None:
        rest = [w for name, w in wanted.items() if not any(f.startswith(f"{name}=") for f in files)]
        table = read_table(tables[0], rest, categories_of(model), reader.row)
        inputs = replace(inputs, table=table)
        inputs.feeds.update(table.feeds)
        files = [text for text in files if text is not tables[0]]
    others = [name for name in wanted if name not in inputs.feeds]
    inputs.files.update(_files_by_input(others, files))
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
    if sentence is not None:
        inputs.files[ids] = sentence
    if inputs.table is not None:
        inputs.files.update(dict.fromkeys(inputs.table.feeds, tables[0]))
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


def files_of_folder(
    folder: Path, warn: Callable[[str | None], None], more: Sequence[str] = ()
) -> list[Path]:
    """The pictures, arrays and files of more endings in a folder, by name; says how many other
    files there are.
    """
    shown = (p for p in folder.iterdir() if not p.name.startswith(".") and not is_answer(p))
    every = sorted(p for p in shown if p.is_file())
    pictures = Image.registered_extensions()
    files = [p for p in every if is_array_file(p) or p.suffix.lower() in {*pictures, *more}]
    if not files:
        raise InputError(f"folder '{folder}' holds no picture, .npy or .npz. Name another.")
    if others := len(every) - len(files):
        warn(f"folder '{folder}': {others} other file{'s' * (others > 1)} left out")
    return files


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
