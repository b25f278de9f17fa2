"""The command `explain`: files in, a compiled model run on them, a picture, page or arrays out."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from rich.text import Text

from lrp_onnx.answer.destination import check_writable, made_folder
from lrp_onnx.answer.each_output import by_output, output_paths
from lrp_onnx.answer.explained import explained_entries, explained_rows
from lrp_onnx.answer.fit import bad_fits
from lrp_onnx.answer.inputs import Inputs, read_inputs
from lrp_onnx.answer.open_model import OpenModel, Request, Warn, open_model
from lrp_onnx.answer.output_files import noun_of, thumbnail, write
from lrp_onnx.answer.questions import asked_at_once
from lrp_onnx.answer.results import (
    check_finite,
    class_by_class,
    class_count,
    sum_of_steps,
    top_channels,
)
from lrp_onnx.answer.samples import Written, note_on, samples_of
from lrp_onnx.compiler.stages import Loaded
from lrp_onnx.graph.annotations import COMPLETENESS
from lrp_onnx.graph.arrays import Array, cosines
from lrp_onnx.graph.atomic_files import atomic_group
from lrp_onnx.lrp.methods import METHODS
from lrp_onnx.options import CompileOptions
from lrp_onnx.run.explainer import Explainer
from lrp_onnx.run.other_digits import sensitivity
from lrp_onnx.run.result import Result
from lrp_onnx.run.similarity import similarity
from lrp_onnx.validate.verdict import unsteady_map

__all__ = ["Answer", "about_result", "explain_one", "write_result"]

MOST_SAMPLES = 16
LONGEST = 10.0
"""Seconds of a run beyond which none is added."""


@dataclass(frozen=True)
class Answer:
    """What `explain` did."""

    rows: list[tuple[str, str]]
    """What to show: names and values."""
    place: Path
    """The first file that was written, or the folder of many."""
    failed: tuple[str, ...] = ()
    """A line for each file that could not be explained."""
    words: tuple[Text, ...] = ()
    """Of a text in the colors of their relevance."""


def explain_one(request: Request, options: CompileOptions, loaded: Loaded, warn: Warn) -> Answer:
    """Explain the inputs of one run. Raises LrpError as every step on the way does."""
    preprocess = request.load_preprocess()
    with asked_at_once(options, loaded):
        inputs = read_inputs(loaded.model, request.inputs, preprocess, request.reader)
    out = request.out.of_one(inputs.place)
    for notice in inputs.notices:
        warn(notice)
    check_writable(out, request.model, *inputs.files.values(), made=request.out.is_folder)
    model = open_model(request, options, loaded, inputs, preprocess, warn, True)
    with made_folder(out.parent) if request.out.is_folder else nullcontext():
        if model.other is not None:
            return _explain_similarity(model, inputs, model.other, out)
        return _explained(model, inputs, out, warn)


def _explained(model: OpenModel, inputs: Inputs, out: Path, warn: Warn) -> Answer:
    began = time.monotonic()
    result = model.run(inputs)
    took = time.monotonic() - began
    for explainer, own in by_output(model.explainer, result):
        for text in bad_fits(explainer.metadata, own, inputs):
            warn(text)
    paths = output_paths(out, model.outputs)
    if len(paths) == 1:
        written = write_result(model, inputs, result, paths)
    else:
        with atomic_group(*paths) as temporary:
            written = write_result(model, inputs, result, temporary)
    rounding = _rounding(model, inputs, took, warn)
    rows = [*_shown(model, written, paths), ("rounding", rounding)]
    more, words = _words(inputs, result, model.request.picture.limits)
    return Answer([*rows, *more], paths[0], (), words)


def _words(
    inputs: Inputs, result: Result, limit: float | None
) -> tuple[list[tuple[str, str]], tuple[Text, ...]]:
    """Of a text the words with the most relevance, and all in colors."""
    from lrp_onnx.visual.words import colored_words, largest_words

    rows, lines = [], []
    for name, text in inputs.texts.items():
        if name in result.relevance and len(result.relevance[name]) == 1:
            words, (sums,) = [word.text for word in text.words], text.sums(result.relevance[name])
            aside = text.aside(result.relevance[name])
            told = f"{largest_words(words, sums)}{f'; {aside}' * bool(aside)}"
            rows.append(("words", told))
            apart = [word.is_apart for word in text.words]
            lines.append(colored_words(words, apart, sums, limit))
    return rows, tuple(lines)


def _rounding(model: OpenModel, inputs: Inputs, took: float, warn: Warn) -> str:
    """How far roundings decide the relevance, where that is soon told; a warning where they do.

    took: seconds of one run.
    """
    if took > LONGEST:
        return f"not looked at, since a run takes {took:.0f} s (lrp-onnx verify does)"
    explainer = model.explainer
    feeds = explainer.feeds(inputs.feeds, model.target, model.chosen)
    sensitive = sensitivity(model.compiled.graph, explainer.run, feeds)
    warn(unsteady_map(sensitive, explainer.metadata["method"]) or None)
    return str(sensitive)


def _explain_similarity(model: OpenModel, inputs: Inputs, other: Inputs, out: Path) -> Answer:
    """Explain the cosine of two embeddings on both sides, in a file each."""
    first, second = similarity(model.explainer, inputs.feeds, other.feeds, model.chosen)
    paths = output_paths(out, ["first", "second"], always=True)
    sides = ((inputs, other, first, second), (other, inputs, second, first))
    rows: list[tuple[str, str]] = []
    with atomic_group(*paths) as temporary:
        for path, (own, with_, result, of_other) in zip(temporary, sides, strict=True):
            name = model.explainer.metadata["output"]
            cosine = cosines(result.outputs[name], of_other.outputs[name])
            told = ", ".join(f"{value:.4g}" for value in cosine)
            side = copy.copy(model.explainer)
            files = ", ".join(with_.files.values())
            side.metadata = {**side.metadata, "cosine": f"cosine {told} with {files}"}
            written = write_result(replace(model, explainer=side), own, result, [path])
            rows += _shown(replace(model, explainer=side), written, [])
    wrote = [("wrote", str(path)) for path in paths]
    return Answer([*dict.fromkeys(rows), *wrote], paths[0])


def write_result(
    model: OpenModel,
    inputs: Inputs,
    result: Result,
    paths: Sequence[Path],
    thumbnails: bool = False,
) -> list[Written]:
    """Write one result: a picture or page for each explained output, or one file of arrays.

    paths: as `output_paths` has them. thumbnails: whether a small picture of each is kept.
    """
    arrays, written = paths[0].suffix.lower() == ".npz", []
    for number, (explainer, own) in enumerate(by_output(model.explainer, result)):
        steps = sum_of_steps(explainer, own)
        check_finite(explainer, own, inputs, model.request.model)
        by_class, repeated = class_by_class(explainer, own, inputs)
        samples = samples_of(explainer, by_class, model.labels, model.conserving, model.through)
        about = about_result(model, explainer, inputs, by_class, steps)
        drawn, options = "", model.request.picture
        shown = Result(by_class.outputs, _visible(model, by_class.relevance))
        small = thumbnail(explainer, shown, repeated, samples, options) if thumbnails else b""
        if not arrays:  # a picture for each class
            drawn = write(paths[number], explainer, shown, repeated, samples, about, options)
        rows = () if inputs.table is None else inputs.table.rows
        written.append(Written(explainer, about, samples, drawn, small, rows))
    if arrays:
        _write_arrays(model, inputs, result, paths[0], written)
    return written


def _write_arrays(
    model: OpenModel, inputs: Inputs, result: Result, path: Path, written: Sequence[Written]
) -> None:
    """All outputs in one file, under the names that the compiled model has."""
    outputs = {n: y for n, y in result.outputs.items() if not n.startswith(COMPLETENESS)}
    relevance = {}
    for explainer, own in by_output(model.explainer, result):
        prefix = explainer.metadata.get("prefix", "")
        relevance.update({f"{prefix}{n}": r for n, r in _visible(model, own.relevance).items()})
    first, *others = (part.about for part in written)
    about = {k: "; ".join(dict.fromkeys([v, *(o[k] for o in others if k in o)]))
             for k, v in first.items()}  # fmt: skip
    shown, options = Result(outputs, relevance), model.request.picture
    write(path, model.explainer, shown, inputs, written[0].samples, about, options)


def _visible(model: OpenModel, relevance: Mapping[str, Array]) -> dict[str, Array]:
    """What was asked for."""
    return {name: r for name, r in relevance.items() if name not in model.hidden}


def about_result(
    model: OpenModel, explainer: Explainer, inputs: Inputs, result: Result, steps: str | None
) -> dict[str, str]:
    """What is kept beside every result."""
    metadata = explainer.metadata
    settings = METHODS[metadata["method"]].settings
    listed = {n: result.relevance[n] for n in model.listed if n in result.relevance}
    about = {
        "model": str(model.request.model),
        "input": inputs.by_name,
        **{key: metadata[key] for key in ("method", *settings, "target", "output", "version")},
        "provider": explainer.provider,
    }
    for preprocess in inputs.preprocess.values():
        about["preprocess"] = str(preprocess)
    facts = {
        "condition": model.through,
        "completeness": steps,
        **{f"channels of {name}": top_channels(r) for name, r in listed.items()},
        "entries": explained_entries(model.compiled, metadata),
        "parameters": model.parameters,
    }
    return about | {name: fact for name, fact in facts.items() if fact}


def _shown(
    model: OpenModel, written: Sequence[Written], paths: Sequence[Path]
) -> list[tuple[str, str]]:
    about = written[0].about
    keys = ("model", "input", "preprocess", "parameters")
    rows: list[tuple[str, str]] = [(k, about[k]) for k in keys if k in about]
    rows += explained_rows(model.compiled)
    rows += [("condition", about["condition"])] if "condition" in about else []
    for part in written:
        rows += [("output", part.about["output"])] if len(written) > 1 else []
        rows += _shown_samples(part)
    rows.append(("ran on", about["provider"]))
    return [*rows, *(("wrote", str(path)) for path in paths)]


def _shown_samples(part: Written) -> list[tuple[str, str]]:
    """What is said of the samples of one output."""
    rows = [row for row in part.about.items() if row[0].startswith("channels of")]
    rows += [(k, part.about[k]) for k in ("completeness",) if k in part.about]
    names = _names(len(part.samples), class_count(part.explainer), part.rows)
    for name, sample in list(zip(names, part.samples, strict=True))[:MOST_SAMPLES]:
        rows.append((name, sample.title))
        rows.append((noun_of(part.explainer), f"sum {sample.conservation}"))
    if len(part.samples) > MOST_SAMPLES:
        rows.append(("", f"and {len(part.samples) - MOST_SAMPLES} samples more"))
    rows += [("drawn", part.drawn)] if part.drawn else []
    return [*rows, *([("note", note)] if (note := note_on(part.samples)) else [])]


def _names(count: int, classes: int | None, rows: Sequence[int]) -> list[str]:
    """What each entry is called: a sample or the row of a table, and for `top-K` the rank of the
    class, from 1.
    """
    each = classes or 1
    alone = count == each and not rows
    of_table = [f"row {row}" for row in rows]
    numbers = of_table if len(rows) * each == count else [f"sample {k}" for k in range(count)]
    samples = ["sample" if alone else numbers[k // each] for k in range(count)]
    if classes is None:
        return samples
    ranks = [f"rank {k % each + 1}" for k in range(count)]
    return ranks if alone else [f"{s}, {r}" for s, r in zip(samples, ranks, strict=True)]
