"""The command `explain`: files in, a compiled model run on them, a picture, page or arrays out."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lrp_onnx.cli.each_output import by_output, output_paths
from lrp_onnx.cli.explained import explained_entries, explained_rows
from lrp_onnx.cli.given_target import read_target, target_and_value
from lrp_onnx.cli.inputs import Inputs, read_inputs, with_baselines
from lrp_onnx.cli.options import Options, read_conditions
from lrp_onnx.cli.output_files import check_format, noun_of, write
from lrp_onnx.cli.progress import StageProgress
from lrp_onnx.cli.results import (
    check_finite,
    class_by_class,
    class_count,
    maps_as_arrays,
    sum_of_steps,
    top_channels,
)
from lrp_onnx.cli.samples import Labels, Sample, missing_labels, note_on, samples_of
from lrp_onnx.compiler.compiled import Compiled
from lrp_onnx.compiler.stages import Loaded, compile_prepared, load_original, prepare
from lrp_onnx.data.labels import labels_of
from lrp_onnx.data.preprocess import Preprocess, load_preprocess
from lrp_onnx.errors import TargetError
from lrp_onnx.graph.annotations import COMPLETENESS, each_output
from lrp_onnx.graph.atomic_files import atomic_group
from lrp_onnx.graph.session import Array
from lrp_onnx.lrp.methods import METHODS
from lrp_onnx.options import CompileOptions
from lrp_onnx.run.explainer import Explainer, Result
from lrp_onnx.run.sensitivity import sensitivity
from lrp_onnx.run.similarity import cosines, similarity
from lrp_onnx.validate.verdict import unsteady_map

__all__ = ["OpenModel", "Request", "Warn", "Written", "explain_files", "open_model", "write_result"]

MOST_SAMPLES = 16
LONGEST = 10.0
"""Seconds of a run beyond which none is added."""
Warn = Callable[[str | None], None]


@dataclass(frozen=True)
class Request:
    """The arguments that only `explain` has."""

    model: Path
    inputs: tuple[str, ...]
    out: Path
    preprocess: str | None = None

    def load_preprocess(self) -> Preprocess | None:
        """How the model wants its pictures, where the user says."""
        return None if self.preprocess is None else load_preprocess(self.preprocess)


@dataclass(frozen=True)
class OpenModel:
    """A compiled model that can be run, and what was asked of it."""

    request: Request
    compiled: Compiled
    explainer: Explainer
    labels: Labels | None
    parameters: str
    """Of the rules, in words."""
    conserving: bool
    """Whether LRP rules take the relevance to all inputs: no gradients, no input left out."""
    chosen: Mapping[str, Sequence[int]]
    """The channels that relevance must pass, by tensor."""
    target: Array | None
    """What targets `input` and `seed` are run with."""
    listed: Sequence[str]
    """The tensors whose largest channels are shown."""
    hidden: frozenset[str]
    """Tensors whose relevance is computed for what is shown, and not written."""
    other: Inputs | None = None
    """The input whose embedding is compared."""

    @property
    def outputs(self) -> list[str]:
        """The explained outputs."""
        return [one["output"] for one in each_output(self.explainer.metadata)]

    @property
    def through(self) -> str:
        """The channels that relevance must pass, in words."""
        return "; ".join(f"{name}: {', '.join(map(str, k))}" for name, k in self.chosen.items())

    def run(self, inputs: Inputs) -> Result:
        """Explain them."""
        result = self.explainer(inputs.feeds, self.target, conditions=self.chosen)
        return maps_as_arrays(self.explainer, result)


def explain_files(request: Request, options: Options, warn: Warn) -> list[tuple[str, str]]:
    """Do what the command asks and return what to show: names and values.

    Raises LrpError as every step on the way does.
    """
    check_format(request.out)
    preprocess = request.load_preprocess()
    with StageProgress(options) as progress:
        loaded = load_original(request.model, progress)
        inputs = read_inputs(loaded.model, request.inputs, preprocess)
        model = open_model(request, options.compile, loaded, inputs, preprocess, warn, True)
    if model.other is not None:
        return _explain_similarity(model, inputs, model.other)
    began = time.monotonic()
    result = model.run(inputs)
    took = time.monotonic() - began
    for explainer, own in by_output(model.explainer, result):
        warn(missing_labels(explainer, own, model.labels))
    paths = output_paths(request.out, model.outputs)
    if len(paths) == 1:
        written = write_result(model, inputs, result, paths)
    else:
        with atomic_group(*paths) as temporary:
            written = write_result(model, inputs, result, temporary)
    rounding = _rounding(model, inputs, took, warn)
    return [*_shown(model, written, paths), ("rounding", rounding)]


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


def open_model(
    request: Request,
    options: CompileOptions,
    loaded: Loaded,
    inputs: Inputs,
    preprocess: Preprocess | None,
    warn: Warn,
    accounts: bool = False,
) -> OpenModel:
    """Compile the model for such inputs, and open it.

    accounts: whether a path of gradients tells how far its steps alone are off.
    """
    options, value = target_and_value(options)
    other = None
    if options.target == "similarity":
        other = _other_input(options, loaded, inputs, value, preprocess)
    labels = None if options.labels is None else labels_of(options.labels)
    conditions = read_conditions(options.conditions)
    chosen = {name: channels for name, channels in conditions.items() if channels is not None}
    listed = [name for name in conditions if name not in chosen]
    asked = options.relevance_at
    options = with_baselines(options, loaded.model, preprocess)
    options = replace(options, conditions=tuple(conditions), relevance_at=(*asked, *listed))
    prepared = prepare(loaded, options, inputs.ranges)
    assignment = prepared.assignment
    # relevance at the output is what it started with
    start = [str(a.output.name) for a in assignment.each] if assignment.method.rules else []
    compiled = compile_prepared(
        prepared.with_relevance_at(start), accounts and assignment.method.path
    )
    for text in compiled.warnings:
        warn(text)
    explainer = Explainer(compiled)
    warn(explainer.notice)
    # gradients share out nothing, and inputs left out get none of it
    gradients = any(line.rule == "gradient" for line in compiled.report)
    return OpenModel(
        request=request,
        compiled=compiled,
        explainer=explainer,
        labels=labels,
        parameters=", ".join(f"{k}={v}" for k, v in assignment.parameters.items()),
        conserving=not chosen and not gradients and options.explain is None,
        chosen=chosen,
        target=read_target(explainer, value),
        listed=listed,
        hidden=frozenset({*start, *listed} - {*asked}),
        other=other,
    )


def _other_input(
    options: CompileOptions,
    loaded: Loaded,
    inputs: Inputs,
    file: str,
    preprocess: Preprocess | None,
) -> Inputs:
    """The input whose embedding is compared; an .npz file holds all inputs of a model."""
    if len(options.output or ()) > 1:
        raise TargetError(
            "target similarity: several outputs are explained, and explain compares one embedding. "
            "Name one with --output."
        )
    several = Path(file).suffix.lower() == ".npz"
    files = [f"{name}={file}" for name in inputs.files] if several else [file]
    return read_inputs(loaded.model, files, preprocess)


def _explain_similarity(model: OpenModel, inputs: Inputs, other: Inputs) -> list[tuple[str, str]]:
    """Explain the cosine of two embeddings on both sides, in a file each."""
    first, second = similarity(model.explainer, inputs.feeds, other.feeds, model.chosen)
    paths = output_paths(model.request.out, ["first", "second"], always=True)
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
    return [*dict.fromkeys(rows), *(("wrote", str(path)) for path in paths)]


@dataclass(frozen=True)
class Written:
    """What is said of one explained output."""

    explainer: Explainer
    about: dict[str, str]
    """What is kept beside the result."""
    samples: list[Sample]


def write_result(
    model: OpenModel, inputs: Inputs, result: Result, paths: Sequence[Path]
) -> list[Written]:
    """Write one result: a picture or page for each explained output, or one file of arrays.

    paths: as `output_paths` has them.
    """
    arrays, written = paths[0].suffix.lower() == ".npz", []
    for number, (explainer, own) in enumerate(by_output(model.explainer, result)):
        steps = sum_of_steps(explainer, own)
        check_finite(explainer, own, inputs, model.request.model)
        by_class, repeated = class_by_class(explainer, own, inputs)
        samples = samples_of(explainer, by_class, model.labels, model.conserving, model.through)
        about = _about(model, explainer, inputs, by_class, steps)
        written.append(Written(explainer, about, samples))
        if not arrays:  # a picture for each class
            shown = Result(by_class.outputs, _visible(model, by_class.relevance))
            write(paths[number], explainer, shown, repeated, samples, about)
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
    write(path, model.explainer, Result(outputs, relevance), inputs, written[0].samples, about)


def _visible(model: OpenModel, relevance: Mapping[str, Array]) -> dict[str, Array]:
    """What was asked for."""
    return {name: r for name, r in relevance.items() if name not in model.hidden}


def _about(
    model: OpenModel, explainer: Explainer, inputs: Inputs, result: Result, steps: str | None
) -> dict[str, str]:
    """What is kept beside every result."""
    metadata = explainer.metadata
    settings = METHODS[metadata["method"]].settings
    listed = {n: result.relevance[n] for n in model.listed if n in result.relevance}
    about = {
        "model": str(model.request.model),
        "input": ", ".join(f"{name}={file}" for name, file in inputs.files.items()),
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
    names = _names(len(part.samples), class_count(part.explainer))
    for name, sample in list(zip(names, part.samples, strict=True))[:MOST_SAMPLES]:
        rows.append((name, sample.title))
        rows.append((noun_of(part.explainer), f"sum {sample.conservation}"))
    if len(part.samples) > MOST_SAMPLES:
        rows.append(("", f"and {len(part.samples) - MOST_SAMPLES} samples more"))
    return [*rows, *([("note", note)] if (note := note_on(part.samples)) else [])]


def _names(count: int, classes: int | None) -> list[str]:
    """What each entry is called: a sample, and for `top-K` the rank of the class, from 1."""
    each = classes or 1
    alone = count == each
    samples = ["sample" if alone else f"sample {k // each}" for k in range(count)]
    if classes is None:
        return samples
    ranks = [f"rank {k % each + 1}" for k in range(count)]
    return ranks if alone else [f"{s}, {r}" for s, r in zip(samples, ranks, strict=True)]
