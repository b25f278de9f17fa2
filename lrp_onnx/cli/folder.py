"""The command `explain` on a folder: every picture and array in it, in batches, one file each.

A file that cannot be read or explained is left out and named; the others are done.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from lrp_onnx.cli.explain import (
    Given,
    Notice,
    Ready,
    make_ready,
    preprocess_of,
    write_result,
)
from lrp_onnx.cli.inspection import explained_rows
from lrp_onnx.cli.maps import without_maps
from lrp_onnx.cli.material import Material, read_material
from lrp_onnx.cli.options import Options
from lrp_onnx.cli.sample import Sample, note_on
from lrp_onnx.cli.steps import advice
from lrp_onnx.cli.story import FORMATS, check_format, missing_labels
from lrp_onnx.cli.watch import Watch
from lrp_onnx.compiler.stages import load_original
from lrp_onnx.data.inputs import is_array_file
from lrp_onnx.errors import CheckError, InputError, OutputError
from lrp_onnx.graph.atomic_files import atomic_group
from lrp_onnx.graph.session import Array
from lrp_onnx.run.explainer import Result

__all__ = ["explain_folder", "is_folder"]

MOST_FILES = 16
"""Of so many the prediction is shown."""
Reading = Callable[[Path], Material]


@dataclass
class _Done:
    """What became of the files of a folder."""

    told: dict[Path, list[Sample]] = field(default_factory=dict)
    failed: dict[Path, str] = field(default_factory=dict)
    """The reason, by file."""

    @contextlib.contextmanager
    def attempt(self, file: Path) -> Iterator[None]:
        """A block that may fail for this file alone."""
        try:
            yield
        except (InputError, CheckError) as error:
            self.failed[file] = str(error)

    def problems(self) -> list[str]:
        """A line for every file that failed, naming it."""
        return [
            reason if str(file) in reason else f"'{file}': {reason}"
            for file, reason in self.failed.items()
        ]


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
    notice: Notice,
    progress: Callable[[int], Callable[[], None]],
) -> tuple[list[tuple[str, str]], list[str]]:
    """Explain every file of the folder into one of that kind in the folder `out`; returns what to
    show, and a line for each file that could not be explained.

    The model is compiled and opened once. progress: given how many files there are, returns what is
    called after each. Raises LrpError as every step on the way does, and InputError where no file
    can be explained.
    """
    prefix, _, folder = given.inputs[0].rpartition("=")
    files = _files(Path(folder), notice)
    outputs = _outputs(files, given.out, kind)
    preprocess = preprocess_of(given)
    done = _Done()
    with Watch(options) as watch:
        loaded = load_original(given.model, watch)
        inputs = loaded.model.clone()  # compiling changes what it was loaded as

        def read(file: Path) -> Material:
            return read_material(inputs, [f"{prefix}={file}" if prefix else str(file)], preprocess)

        first = _first(files, read, done)
        ready = make_ready(given, options.compile, loaded, first, preprocess, notice)
    tick = progress(len(files))
    with _folder(given.out), atomic_group(*outputs) as temporary:
        places = dict(zip(files, temporary, strict=True))
        found = _results(ready, files, read, batch, done)
        for k, (file, result, material) in enumerate(found):
            if k == 0:
                notice(missing_labels(ready.explainer, result, ready.labels))
            with done.attempt(file):
                done.told[file] = write_result(ready, material, result, places[file])[1]
            tick()
        _check_some(files, done)
    return _shown(given, ready, files, done), done.problems()


def _first(files: list[Path], read: Reading, done: _Done) -> Material:
    """The first file that can be read: the model is compiled for inputs such as this."""
    for file in files:
        with done.attempt(file):
            return read(file)
    _check_some(files, done)
    raise AssertionError("a folder has files")


def _check_some(files: list[Path], done: _Done) -> None:
    """Raise InputError where no file could be explained."""
    if done.told or not done.failed:
        return
    first = done.problems()[0]
    if len(files) == 1:
        raise InputError(first)
    raise InputError(f"none of the {len(files)} files can be explained. The first: {first}")


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
    if folder.suffix.lower() in FORMATS and not folder.exists():
        raise OutputError(
            f"output '{folder}': a folder of inputs becomes a folder of results, and that is named "
            f"like a file. Name a folder, such as {folder.stem}, and the format by --format."
        )
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


def _results(
    ready: Ready, files: list[Path], read: Reading, batch: int, done: _Done
) -> Iterator[tuple[Path, Result, Material]]:
    """File, result and material; a file is read when its batch is run. Where a batch cannot be run
    its files are, one by one.
    """
    rest = iter(files)
    waiting: list[tuple[Path, Material]] = []

    def readable() -> Iterator[dict[str, Array]]:
        for file in rest:
            with done.attempt(file):
                waiting.append((file, read(file)))
            if file not in done.failed:
                yield waiting[-1][1].feeds

    while True:
        try:
            for result in ready.explainer.many(readable(), batch, conditions=ready.chosen):
                file, material = waiting.pop(0)
                yield file, without_maps(ready.explainer, result), material
            return
        except InputError:
            alone, waiting[:] = waiting[:], []
        for file, material in alone:
            with done.attempt(file):
                result = ready.explainer(material.feeds, conditions=ready.chosen)
            if file not in done.failed:
                yield file, without_maps(ready.explainer, result), material


def _shown(given: Given, ready: Ready, files: list[Path], done: _Done) -> list[tuple[str, str]]:
    said = [(file.name, sample.title) for file, told in done.told.items() for sample in told]
    rows = [
        ("model", str(given.model)),
        ("input", f"{len(files)} files of {given.inputs[0]}"),
        *explained_rows(ready.compiled),
        *said[:MOST_FILES],
    ]
    if len(said) > MOST_FILES:
        rows.append(("", f"and {len(said) - MOST_FILES} more"))
    if note := note_on([sample for told in done.told.values() for sample in told]):
        rows.append(("note", note))
    rows += advice(ready.explainer, str(given.model))
    if done.failed:
        rows.append(("failed", f"{len(done.failed)} of {len(files)} files"))
    provider = ready.explainer.provider
    return [*rows, ("ran on", provider), ("wrote", f"{len(done.told)} files into {given.out}")]
