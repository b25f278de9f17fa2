"""The command `explain` on a folder: every picture and array in it, in batches, one file each."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import onnx_ir as ir
from PIL import Image

from lrp_onnx.commands.explain import (
    Compile,
    Given,
    Notice,
    Prepared,
    prepare,
    preprocess_of,
    write_result,
)
from lrp_onnx.commands.inspection import explained_rows
from lrp_onnx.commands.material import Material, read_material
from lrp_onnx.commands.options import Options
from lrp_onnx.commands.story import check_format, missing_labels
from lrp_onnx.data.inputs import is_array_file
from lrp_onnx.data.preprocess import Preprocess
from lrp_onnx.errors import InputError, OutputError
from lrp_onnx.explainer import Result
from lrp_onnx.files import atomic_group
from lrp_onnx.model import load
from lrp_onnx.runtime import Array

__all__ = ["explain_folder", "is_folder"]

MOST_FILES = 16
"""Of so many the prediction is shown."""


def is_folder(inputs: tuple[str, ...]) -> bool:
    """Whether the input is one folder. Raises InputError for a folder beside other inputs."""
    folders = [text for text in inputs if Path(text.rpartition("=")[2]).is_dir()]
    if folders and len(inputs) > 1:
        raise InputError(
            f"'{folders[0]}' is a folder: it is for models of one input, and given alone. Give "
            "files instead."
        )
    return bool(folders)


def explain_folder(
    given: Given,
    options: Options,
    batch: int,
    kind: str,
    compile_model: Compile,
    notice: Notice,
    progress: Callable[[int], Callable[[], None]],
) -> list[tuple[str, str]]:
    """Explain every file of the folder into one of that kind in the folder `out`; returns what to
    show.

    The model is compiled and opened once. progress: given how many files there are, returns what is
    called after each. Raises LrpError as every step on the way does.
    """
    prefix, _, folder = given.inputs[0].rpartition("=")
    files = _files(Path(folder), notice)
    outputs = _outputs(files, given.out, kind)
    model, preprocess = load(given.model), preprocess_of(given)
    first = _material(model, files[0], prefix, preprocess)
    ready = prepare(given, options, model, first, preprocess, compile_model, notice)
    tick, said = progress(len(files)), list[tuple[str, str]]()
    found = _results(ready, model, files, prefix, preprocess, batch)
    with _folder(given.out), atomic_group(*outputs) as temporary:
        for (file, result, material), out in zip(found, temporary, strict=True):
            if not said:
                notice(missing_labels(ready.explainer, result, ready.labels))
            _, told = write_result(ready, material, result, out)
            said += [(file.name, sample.title) for sample in told]
            tick()
    return _shown(given, ready, files, said)


def _files(folder: Path, notice: Notice) -> list[Path]:
    """The pictures and arrays of a folder, by name; says how many other files there are."""
    every = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    pictures = Image.registered_extensions()
    files = [p for p in every if is_array_file(p) or p.suffix.lower() in pictures]
    if not files:
        raise InputError(f"folder '{folder}': no picture and no .npy or .npz in it. Name another.")
    if others := len(every) - len(files):
        notice(f"folder '{folder}': {others} other file{'s' * (others > 1)} left out")
    return files


def _outputs(files: list[Path], folder: Path, kind: str) -> list[Path]:
    """What each file becomes: of its name, with its ending kept where names would meet."""
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"output '{folder}': that is a file. For a folder of inputs name one.")
    meeting = Counter(file.stem for file in files)
    names = [file.name if meeting[file.stem] > 1 else file.stem for file in files]
    made = [folder / f"{name}.{kind}" for name in names]
    check_format(made[0])
    for path in made:
        if any(path.exists() and path.samefile(file) for file in files):
            raise OutputError(f"output '{path}': that is an input. Name another folder.")
    return made


@contextlib.contextmanager
def _folder(folder: Path) -> Iterator[None]:
    """The folder is there; one that was made for a failed run goes again."""
    known = folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"output '{folder}': {error.strerror}. Name another folder.") from error
    try:
        yield
    finally:
        if not known and not any(folder.iterdir()):
            folder.rmdir()


def _material(model: ir.Model, file: Path, prefix: str, preprocess: Preprocess | None) -> Material:
    return read_material(model, [f"{prefix}={file}" if prefix else str(file)], preprocess)


def _results(
    ready: Prepared,
    model: ir.Model,
    files: list[Path],
    prefix: str,
    preprocess: Preprocess | None,
    batch: int,
) -> Iterator[tuple[Path, Result, Material]]:
    """File, result and material; a file is read when its batch is run."""
    waiting: list[Material] = []

    def read() -> Iterator[dict[str, Array]]:
        for file in files:
            waiting.append(_material(model, file, prefix, preprocess))
            yield waiting[-1].feeds

    results = ready.explainer.many(read(), batch, conditions=ready.chosen)
    for file, result in zip(files, results, strict=True):
        yield file, result, waiting.pop(0)


def _shown(
    given: Given, ready: Prepared, files: list[Path], said: list[tuple[str, str]]
) -> list[tuple[str, str]]:
    rows = [
        ("model", str(given.model)),
        ("input", f"{len(files)} files of {given.inputs[0]}"),
        *explained_rows(ready.compiled),
        *said[:MOST_FILES],
    ]
    if len(said) > MOST_FILES:
        rows.append(("", f"and {len(said) - MOST_FILES} more"))
    provider = ready.explainer.provider
    return [*rows, ("ran on", provider), ("wrote", f"{len(files)} files into {given.out}")]
