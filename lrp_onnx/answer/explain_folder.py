"""The command `explain` on many files: each a sample, in batches, with an answer of its own.

A file that cannot be read or explained is left out and named; the others are done. Each answer is
written when it is there; in a folder of answers a second run explains what the first did not.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lrp_onnx.answer.class_names import check_class_names
from lrp_onnx.answer.destination import Format, made_folder
from lrp_onnx.answer.each_output import by_output, output_paths
from lrp_onnx.answer.explain_one import Answer, write_result
from lrp_onnx.answer.explained import explained_rows
from lrp_onnx.answer.folder_index import index_paths, write_index
from lrp_onnx.answer.folder_record import FolderRecord, answers_depend_on
from lrp_onnx.answer.inputs import Inputs, read_inputs
from lrp_onnx.answer.open_model import OpenModel, Request, Warn, open_model
from lrp_onnx.answer.questions import asked_at_once
from lrp_onnx.answer.results import maps_as_arrays
from lrp_onnx.answer.sample_files import SampleFiles
from lrp_onnx.answer.samples import Written, note_on
from lrp_onnx.compiler.stages import Loaded
from lrp_onnx.data.inputs import PreprocessAsked
from lrp_onnx.errors import CheckError, InputError, OutputError
from lrp_onnx.graph.annotations import each_output
from lrp_onnx.graph.arrays import Array
from lrp_onnx.graph.atomic_files import atomic_group
from lrp_onnx.lrp.methods import METHODS
from lrp_onnx.options import CompileOptions
from lrp_onnx.run.explainer import Explainer
from lrp_onnx.run.result import Result
from lrp_onnx.validate.question import Watch

__all__ = ["explain_many"]

MOST_FILES = 16
"""Of so many the prediction is shown."""
Read = Callable[[Path], Inputs]
Places = Mapping[Path, Sequence[Path]]
"""By file its answers, one for each explained output."""
Results = Iterator[tuple[Path, Result, Inputs]]


@dataclass
class _Outcome:
    """What became of the files."""

    written: dict[Path, list[Written]] = field(default_factory=dict)
    failed: dict[Path, str] = field(default_factory=dict)
    """The reason, by file."""
    earlier: int = 0
    """How many were explained by an earlier run."""

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


def explain_many(
    request: Request, options: CompileOptions, loaded: Loaded, sources: SampleFiles, batch: int,
    watch: Watch, warn: Warn,
) -> Answer:  # fmt: skip
    """Explain every file into one of its own.

    The model is compiled and opened once. Raises LrpError as every step on the way does, and
    InputError where no file can be explained.
    """
    files, outcome = sources.files, _Outcome()
    outputs = request.out.of_many(files, sources.folder)
    preprocess = request.load_preprocess()
    original = loaded.model.clone()  # compiling changes what it was loaded as

    def read(file: Path) -> Inputs:
        return read_inputs(original, [sources.named(file)], preprocess, request.reader)

    with asked_at_once(options, loaded):
        first = _first(files, read, outcome)
    model = open_model(request, options, loaded, first, preprocess, warn)
    if model.target is not None or model.other is not None:
        raise InputError(
            f"--target {options.target}: its value is for one file, and a folder is "
            "given, or several files. Name one file."
        )
    paths, place = [output_paths(path, model.outputs) for path in outputs], outputs[0].parent
    places = dict(zip(files, paths, strict=True))
    indexed = request.out.out is not None or sources.folder is not None
    with made_folder(place):
        record = None
        if indexed:
            depends = answers_depend_on(request, options, original)
            record = FolderRecord(place, depends)
        left = _left(model, record, places, outcome)
        watch.begin("explain", len(left))
        try:
            _explain(model, _results(model, left, read, batch, outcome), places, record, outcome,
                     watch)  # fmt: skip
        except KeyboardInterrupt:
            done = _done(outcome, len(files), place, indexed)
            raise OutputError(f"interrupted; {done}.") from None  # with its words it is an answer
        _check_some(files, outcome)
        if indexed:
            _write_index(place, places, outcome, request)
    rows = _shown(model, sources, outcome, place)
    return Answer(rows, place, tuple(outcome.problems()))


def _left(
    model: OpenModel, record: FolderRecord | None, places: Places, outcome: _Outcome
) -> list[Path]:
    """The files that no earlier run has explained; what was said of the others is kept."""
    parts = [] if record is None else _parts(model)
    for file, answers in places.items():
        told = None if record is None else record.told(file, answers, parts)
        if told is not None:
            outcome.written[file] = told
    outcome.earlier = len(outcome.written)
    return [file for file in places if file not in outcome.written and file not in outcome.failed]


def _parts(model: OpenModel) -> list[Explainer]:
    """What explains each output, as `by_output` parts it."""
    parts = []
    for one in each_output(model.explainer.metadata):
        parts.append(copy.copy(model.explainer))
        parts[-1].metadata = one
    return parts


def _explain(
    model: OpenModel, results: Results, places: Places, record: FolderRecord | None,
    outcome: _Outcome, watch: Watch,
) -> None:  # fmt: skip
    """Write each answer when it is there, and note it."""
    for number, (file, result, inputs) in enumerate(results):
        if number == 0:
            for explainer, own in by_output(model.explainer, result):
                check_class_names(explainer.metadata, own.outputs, model.labels)
        with outcome.attempt(file):
            with atomic_group(*places[file]) as temporary:
                told = write_result(model, inputs, result, temporary, thumbnails=record is not None)
            if record is not None:
                record.add(file, told)
            outcome.written[file] = told
        watch.tick()


def _done(outcome: _Outcome, count: int, place: Path, indexed: bool) -> str:
    """What an interrupted run leaves, in words."""
    done = f"{len(outcome.written)} of {count} files are explained, and their answers stay"
    rest = "The same command goes on with the others" if indexed else "Start again for the others"
    return f"{done} in '{place}'. {rest}"


def _write_index(place: Path, places: Places, outcome: _Outcome, request: Request) -> None:
    every = [path for paths in places.values() for path in paths]
    ordered = [file for file in places if file in outcome.written]
    answers = {file: (places[file][0], outcome.written[file]) for file in ordered}
    with atomic_group(*index_paths(place, every)) as temporary:
        write_index(temporary, answers, request.model)


def _first(files: list[Path], read: Read, outcome: _Outcome) -> Inputs:
    """The first file that can be read: the model is compiled for inputs such as this. Raises
    PreprocessAsked where none can since the preprocessing is not known, else InputError.
    """
    asked = []
    for file in files:
        with outcome.attempt(file):
            try:
                return read(file)
            except PreprocessAsked as question:
                asked.append(question)
                raise
    if len(asked) == len(files):
        raise asked[0]
    _check_some(files, outcome)
    raise AssertionError("a folder has files")


def _check_some(files: list[Path], outcome: _Outcome) -> None:
    """Raise InputError where no file could be explained."""
    if outcome.written or not outcome.failed:
        return
    first = outcome.problems()[0]
    if len(files) == 1:
        raise InputError(first)
    raise InputError(f"none of the {len(files)} files can be explained. The first: {first}")


def _results(
    model: OpenModel, files: list[Path], read: Read, batch: int, outcome: _Outcome
) -> Results:
    """File, result and inputs; a file is read when its batch is run. Where a batch cannot be run
    its files are, one by one.
    """
    rest = iter(files)
    waiting: list[tuple[Path, Inputs]] = []

    def readable() -> Iterator[dict[str, Array]]:
        for file in rest:
            with outcome.attempt(file):
                waiting.append((file, read(file)))
                yield waiting[-1][1].feeds

    while True:
        try:
            for result in model.explainer.many(readable(), batch, conditions=model.chosen):
                file, inputs = waiting.pop(0)
                yield file, maps_as_arrays(model.explainer, result), inputs
            return
        except InputError:
            alone, waiting[:] = waiting[:], []
        for file, inputs in alone:
            with outcome.attempt(file):
                yield file, model.run(inputs), inputs


def _shown(
    model: OpenModel, sources: SampleFiles, outcome: _Outcome, place: Path
) -> list[tuple[str, str]]:
    request, explainer, files = model.request, model.explainer, sources.files
    named = [
        (f"{file.name}, {part.about['output']}" if len(parts) > 1 else file.name, sample)
        for file, parts in sorted(outcome.written.items())
        for part in parts
        for sample in part.samples
    ]
    rows = [
        ("model", str(request.model)),
        ("input", f"{len(files)} files" + (f" of {sources.folder}" if sources.folder else "")),
        *explained_rows(model.compiled),
        *((name, sample.title) for name, sample in named[:MOST_FILES]),
    ]
    if len(named) > MOST_FILES:
        rows.append(("", f"and {len(named) - MOST_FILES} more"))
    if note := note_on([sample for _, sample in named]):
        rows.append(("note", note))
    rows += _advice(explainer, request.model)
    if outcome.earlier:
        rows.append(("kept", f"{outcome.earlier} files that an earlier run has explained"))
    if outcome.failed:
        rows.append(("failed", f"{len(outcome.failed)} of {len(files)} files"))
    kinds = 1 if request.out.kind == Format.NPZ else len(model.outputs)
    wrote = f"{kinds * (len(outcome.written) - outcome.earlier)} files into {place}"
    return [*rows, ("ran on", explainer.provider), ("wrote", wrote)]


def _advice(explainer: Explainer, model: Path) -> list[tuple[str, str]]:
    """How to learn whether the steps of a path were enough, which is not computed for a folder."""
    method = METHODS[explainer.metadata["method"]]
    if not method.integrates:
        return []
    steps = explainer.metadata["steps"]
    command = f"lrp-onnx verify {model} INPUT --method {method.name} --steps {steps}"
    return [("note", f"{command} says how far the {steps} steps alone are off")]
