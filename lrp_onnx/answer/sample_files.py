"""Which files are a sample each: those of a folder, or several for a model of one input."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir
from PIL import Image

from lrp_onnx.answer.destination import is_answer
from lrp_onnx.answer.inputs import Inputs, Reader, inputs_of, read_inputs
from lrp_onnx.data.inputs import is_array_file
from lrp_onnx.data.layout import describe_shape
from lrp_onnx.data.preprocess import Preprocess
from lrp_onnx.data.samples import wanted_by
from lrp_onnx.data.sound import SUFFIXES as SOUNDS
from lrp_onnx.data.table import SUFFIXES as TABLES
from lrp_onnx.data.text import text_inputs
from lrp_onnx.errors import InputError
from lrp_onnx.graph.arrays import Dimension, Wanted

__all__ = ["SampleFiles", "check_given", "files_of_folder", "read_samples", "sample_files"]


MOST_COLUMNS = 1000
"""Of a table: what is wider is a sound."""
ARRAY = "x.npy"


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
    wanted = inputs_of(model)
    listing = ", ".join(f"{w.name!r} {_kind(w)} {describe_shape(w.shape)}" for w in wanted)
    raise InputError(
        f"'{path}': no input is given, and the model wants {listing}. Give it: lrp-onnx explain "
        f"{path} {_example(wanted)}."
    )


def _kind(want: Wanted) -> str:
    return "texts" if want.dtype.kind == "O" else str(want.dtype)


def _example(wanted: Sequence[Wanted]) -> str:
    """Files such as a user has, for these inputs."""
    roles = text_inputs(wanted)
    if len(roles) == len(wanted):
        return '"A sentence in quotes"'
    widths = [w.shape[1] if len(w.shape) == 2 else 0 for w in wanted]
    if all(width == 1 for width in widths) or (len(wanted) == 1 and widths != [0]):
        wide = any(isinstance(width, int) and width > MOST_COLUMNS for width in widths)
        return f"{'sound.wav' if wide else 'rows.csv'}, or an array: {ARRAY}"
    if len(wanted) > 1:
        return " ".join(f"{w.name}=FILE" for w in wanted)
    sizes = wanted[0].shape
    return f"photo.jpg, or an array: {ARRAY}" if _is_picture(sizes) else ARRAY


def _is_picture(sizes: Sequence[Dimension]) -> bool:
    return len(sizes) == 4 and bool({1, 3} & {sizes[1], sizes[3]})


def sample_files(
    model: ir.Model, texts: Sequence[str], warn: Callable[[str | None], None]
) -> SampleFiles | None:
    """The files that are a sample each: those of a folder, or several for a model of one input.
    None where they are the inputs of one sample. Raises InputError for a folder beside other
    inputs.
    """
    split = [text.rpartition("=") for text in texts]
    folders = [place for _, _, place in split if os.path.isdir(place)]
    wanted = inputs_of(model)
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
    more = (".txt",) if roles else _endings(wanted)
    return SampleFiles(files_of_folder(folder, warn, more), folder, f"{prefix}{equals}")


def _endings(wanted: Sequence[Wanted]) -> tuple[str, ...]:
    """Those of tables and sounds, where an input may take them: the answers of a table beside
    pictures are no inputs.
    """
    ranks = {len(w.shape) for w in wanted if w.dtype.kind == "f"}
    return (*(TABLES if ranks & {1, 2} else ()), *(SOUNDS if ranks & {1, 2, 3} else ()))


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


def read_samples(
    model: ir.Model,
    files: Sequence[str],
    preprocess: Preprocess | None,
    warn: Callable[[str | None], None],
    reader: Reader | None = None,
) -> list[Inputs]:
    """Samples to compare explanations on: where the model has one input each file is one, or holds
    several, and a folder stands for its files; else a file for each input, with several samples.
    Of a model of texts each sentence or .txt file is a sample.  What cannot be read is left out and
    told; InputError where nothing is left.
    """
    inputs = wanted_by(model)
    roles = text_inputs(inputs)
    more = (".txt",) if roles else _endings(inputs)
    expanded = [own for text in files for own in _files_of(text, warn, more)]
    if len(inputs) - max(0, len(roles) - 1) != 1:
        return [read_inputs(model, expanded, preprocess, reader)]
    samples, bad = list[Inputs](), list[InputError]()
    for text in expanded:
        try:
            samples.append(read_inputs(model, [text], preprocess, reader))
        except InputError as error:
            bad.append(error)
    if not samples:
        raise bad[0]
    for fact in bad:
        warn(f"left out: {fact}")
    for notice in dict.fromkeys(notice for sample in samples for notice in sample.notices):
        warn(notice)
    return samples


def _files_of(text: str, warn: Callable[[str | None], None], more: Sequence[str]) -> list[str]:
    """The pictures, arrays and files of more endings in a folder; a file itself."""
    prefix, equals, place = text.rpartition("=")
    if not Path(place).is_dir():
        return [text]
    return [f"{prefix}{equals}{file}" for file in files_of_folder(Path(place), warn, more)]
