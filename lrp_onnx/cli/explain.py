"""The command `explain`: files in, a compiled model run on them, a picture, page or arrays out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

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
from lrp_onnx.data.labels import load_labels
from lrp_onnx.data.preprocess import Preprocess, load_preprocess
from lrp_onnx.graph.session import Array
from lrp_onnx.lrp.methods import METHODS
from lrp_onnx.options import CompileOptions
from lrp_onnx.run.explainer import Explainer, Result

__all__ = ["OpenModel", "Request", "Warn", "explain_files", "open_model", "write_result"]

MOST_SAMPLES = 16
Warn = Callable[[str | None], None]


@dataclass(frozen=True)
class Request:
    """The arguments that only `explain` has."""

    model: Path
    inputs: tuple[str, ...]
    out: Path
    preprocess: str | None = None
    labels: str | None = None

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
    result = model.run(inputs)
    warn(missing_labels(model.explainer, result, model.labels))
    about, samples = write_result(model, inputs, result, request.out)
    return _shown(model, about, samples)


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
    labels = None if request.labels is None else load_labels(request.labels)
    conditions = read_conditions(options.conditions)
    chosen = {name: channels for name, channels in conditions.items() if channels is not None}
    listed = [name for name in conditions if name not in chosen]
    asked = options.relevance_at
    options = with_baselines(options, loaded.model, preprocess)
    options = replace(options, conditions=tuple(conditions), relevance_at=(*asked, *listed))
    prepared = prepare(loaded, options, inputs.ranges)
    assignment = prepared.assignment
    # relevance at the output is what it started with
    start = [str(assignment.output.name)] if assignment.method.rules else []
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
    )


def write_result(
    model: OpenModel, inputs: Inputs, result: Result, out: Path
) -> tuple[dict[str, str], list[Sample]]:
    """Write one result; returns what is kept beside it, and what it says sample by sample."""
    explainer = model.explainer
    steps = sum_of_steps(explainer, result)
    check_finite(explainer, result, inputs, model.request.model)
    by_class, repeated = class_by_class(explainer, result, inputs)
    through = "; ".join(f"{name}: {', '.join(map(str, k))}" for name, k in model.chosen.items())
    samples = samples_of(explainer, by_class, model.labels, model.conserving, through)
    facts = {
        "condition": through,
        "completeness": steps,
        **{f"channels of {name}": top_channels(by_class.relevance[name]) for name in model.listed},
        "entries": explained_entries(model.compiled),
        "parameters": model.parameters,
    }
    about = _about(model, inputs) | {name: fact for name, fact in facts.items() if fact}
    if out.suffix.lower() != ".npz":  # a picture for each class
        result, inputs = by_class, repeated
    written = {name: r for name, r in result.relevance.items() if name not in model.hidden}
    write(out, explainer, Result(result.outputs, written), inputs, samples, about)
    return about, samples


def _about(model: OpenModel, inputs: Inputs) -> dict[str, str]:
    """What is kept beside every result."""
    metadata = model.explainer.metadata
    settings = METHODS[metadata["method"]].settings
    about = {
        "model": str(model.request.model),
        "input": ", ".join(f"{name}={file}" for name, file in inputs.files.items()),
        **{key: metadata[key] for key in ("method", *settings, "target", "output", "version")},
        "provider": model.explainer.provider,
    }
    for preprocess in inputs.preprocess.values():
        about["preprocess"] = str(preprocess)
    return about


def _shown(
    model: OpenModel, about: Mapping[str, str], samples: Sequence[Sample]
) -> list[tuple[str, str]]:
    rows = [(k, about[k]) for k in ("model", "input", "preprocess", "parameters") if k in about]
    rows += explained_rows(model.compiled)
    rows += [row for row in about.items() if row[0].startswith(("condition", "channels of"))]
    rows += [(k, about[k]) for k in ("completeness",) if k in about]
    names = _names(len(samples), class_count(model.explainer))
    for name, sample in list(zip(names, samples, strict=True))[:MOST_SAMPLES]:
        rows.append((name, sample.title))
        rows.append((noun_of(model.explainer), f"sum {sample.conservation}"))
    if len(samples) > MOST_SAMPLES:
        rows.append(("", f"and {len(samples) - MOST_SAMPLES} samples more"))
    rows += [("note", note)] if (note := note_on(samples)) else []
    return [*rows, ("ran on", about["provider"]), ("wrote", str(model.request.out))]


def _names(count: int, classes: int | None) -> list[str]:
    """What each entry is called: a sample, and for `top-K` the rank of the class, from 1."""
    each = classes or 1
    alone = count == each
    samples = ["sample" if alone else f"sample {k // each}" for k in range(count)]
    if classes is None:
        return samples
    ranks = [f"rank {k % each + 1}" for k in range(count)]
    return ranks if alone else [f"{s}, {r}" for s, r in zip(samples, ranks, strict=True)]
