"""The command `explain`: files in, a compiled model run on them, a picture, page or arrays out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lrp_onnx.cli.channels import read_conditions, top_channels
from lrp_onnx.cli.classes import class_by_class, count_of
from lrp_onnx.cli.entries import entries
from lrp_onnx.cli.finite import check_finite
from lrp_onnx.cli.inspection import explained_rows
from lrp_onnx.cli.maps import without_maps
from lrp_onnx.cli.material import Material, read_material, with_baselines
from lrp_onnx.cli.options import Options
from lrp_onnx.cli.sample import Sample, note_on
from lrp_onnx.cli.steps import of_steps
from lrp_onnx.cli.story import check_format, missing_labels, samples, what_of, write
from lrp_onnx.cli.watch import Watch
from lrp_onnx.compiler.compiled import Compiled
from lrp_onnx.compiler.stages import Loaded, compile_prepared, load_original, prepare
from lrp_onnx.data.labels import load_labels
from lrp_onnx.data.preprocess import Preprocess, load_preprocess
from lrp_onnx.errors import TargetError
from lrp_onnx.lrp.methods import METHODS
from lrp_onnx.options import CompileOptions
from lrp_onnx.run.explainer import Explainer, Result

__all__ = [
    "Given",
    "Ready",
    "explain_files",
    "make_ready",
    "preprocess_of",
    "write_result",
]

MOST_SAMPLES = 16


@dataclass(frozen=True)
class Given:
    """The arguments that only `explain` has."""

    model: Path
    inputs: tuple[str, ...]
    out: Path
    preprocess: str | None
    labels: str | None


Notice = Callable[[str | None], None]


@dataclass(frozen=True)
class Ready:
    """A compiled model that is open, and what was asked of it."""

    given: Given
    compiled: Compiled
    explainer: Explainer
    labels: Mapping[int, str] | None
    parameters: str
    """Of the rules, in words."""
    conserving: bool
    """Whether LRP rules take the relevance to all inputs: no gradients, no input left out."""
    chosen: Mapping[str, Sequence[int]]
    """The channels that relevance must pass, by tensor."""
    listed: Sequence[str]
    """The tensors whose largest channels are told."""
    hidden: frozenset[str]
    """Tensors whose relevance only serves what is told."""


def explain_files(given: Given, options: Options, notice: Notice) -> list[tuple[str, str]]:
    """Do what the command asks and return what to show: names and values.

    Raises LrpError as every step on the way does.
    """
    check_format(given.out)
    preprocess = preprocess_of(given)
    with Watch(options) as watch:
        loaded = load_original(given.model, watch)
        material = read_material(loaded.model, given.inputs, preprocess)
        ready = make_ready(given, options.compile, loaded, material, preprocess, notice, True)
    result = ready.explainer(material.feeds, conditions=ready.chosen)
    result = without_maps(ready.explainer, result)
    notice(missing_labels(ready.explainer, result, ready.labels))
    about, told = write_result(ready, material, result, given.out)
    names = _names(len(told), count_of(ready.explainer))
    what = what_of(ready.explainer)
    return _shown(about, explained_rows(ready.compiled), told, names, what, given.out)


def preprocess_of(given: Given) -> Preprocess | None:
    """How the model wants its pictures, where the user says."""
    return None if given.preprocess is None else load_preprocess(given.preprocess)


def make_ready(
    given: Given,
    options: CompileOptions,
    loaded: Loaded,
    material: Material,
    preprocess: Preprocess | None,
    notice: Notice,
    accounts: bool = False,
) -> Ready:
    """Compile the model for inputs such as the material, and open it.

    accounts: whether a path of gradients tells how far its steps alone are off.
    """
    if options.target in ("input", "seed"):
        raise TargetError(
            f"target {options.target!r} is for compiled models that others run. Give the class "
            "itself here, such as --target 3."
        )
    labels = None if given.labels is None else load_labels(given.labels)
    conditions = read_conditions(options.conditions)
    asked = options.relevance_at
    listed = [name for name, channels in conditions.items() if channels is None]
    options = with_baselines(options, loaded.model, preprocess)
    options = replace(options, conditions=tuple(conditions), relevance_at=(*asked, *listed))
    prepared = prepare(loaded, options, material.ranges)
    assignment = prepared.assignment
    # relevance at the output is what it started with
    start = [str(assignment.output.name)] if assignment.method.rules else []
    compiled = compile_prepared(
        prepared.with_relevance_at(start), accounts and assignment.method.path
    )
    for text in compiled.warnings:
        notice(text)
    explainer = Explainer(compiled)
    notice(explainer.notice)
    chosen = {name: channels for name, channels in conditions.items() if channels is not None}
    # gradients share out nothing, and inputs left out get none of it
    gradients = any(line.rule == "gradient" for line in compiled.report)
    return Ready(
        given=given,
        compiled=compiled,
        explainer=explainer,
        labels=labels,
        parameters=", ".join(f"{k}={v}" for k, v in assignment.parameters.items()),
        conserving=not chosen and not gradients and options.explain is None,
        chosen=chosen,
        listed=listed,
        hidden=frozenset({*start, *listed} - {*asked}),
    )


def write_result(
    ready: Ready, material: Material, result: Result, out: Path
) -> tuple[dict[str, str], list[Sample]]:
    """Write one result; returns what is kept beside it, and what it says sample by sample."""
    explainer = ready.explainer
    steps = of_steps(explainer, result)
    check_finite(explainer, result, material, ready.given.model)
    apart, repeated = class_by_class(explainer, result, material)
    through = "; ".join(f"{name}: {', '.join(map(str, k))}" for name, k in ready.chosen.items())
    told = samples(explainer, apart, ready.labels, ready.conserving, through)
    about = _about(ready.given, material, explainer)
    if through:
        about["condition"] = through
    if steps is not None:
        about["completeness"] = steps
    about |= {f"channels of {name}": top_channels(apart.relevance[name]) for name in ready.listed}
    if sentence := entries(ready.compiled):
        about["entries"] = sentence
    if ready.parameters:
        about["parameters"] = ready.parameters
    if out.suffix.lower() != ".npz":  # a picture for each class
        result, material = apart, repeated
    shown = {name: r for name, r in result.relevance.items() if name not in ready.hidden}
    write(out, explainer, Result(result.outputs, shown), material, told, about)
    return about, told


def _about(given: Given, material: Material, explainer: Explainer) -> dict[str, str]:
    """What is kept beside the result."""
    method = METHODS[explainer.metadata["method"]]
    about = {
        "model": str(given.model),
        "input": ", ".join(f"{name}={file}" for name, file in material.files.items()),
        **{
            key: explainer.metadata[key]
            for key in ("method", *method.settings, "target", "output", "version")
        },
        "provider": explainer.provider,
    }
    for how in material.preprocess.values():
        about["preprocess"] = str(how)
    return about


def _shown(
    about: dict[str, str],
    explained: list[tuple[str, str]],
    told: list[Sample],
    names: list[str],
    what: str,
    out: Path,
) -> list[tuple[str, str]]:
    rows = [("model", about["model"]), ("input", about["input"])]
    rows += [(key, about[key]) for key in ("preprocess", "parameters") if key in about]
    rows += explained
    rows += [row for row in about.items() if row[0].startswith(("condition", "channels of"))]
    rows += [(key, about[key]) for key in ("completeness",) if key in about]
    for name, sample in zip(names, told[:MOST_SAMPLES], strict=False):
        rows.append((name, sample.title))
        rows.append((what, f"sum {sample.conservation}"))
    if len(told) > MOST_SAMPLES:
        rows.append(("", f"and {len(told) - MOST_SAMPLES} samples more"))
    rows += [("note", note)] if (note := note_on(told)) else []
    return [*rows, ("ran on", about["provider"]), ("wrote", str(out))]


def _names(told: int, classes: int | None) -> list[str]:
    """What each entry is called: a sample, and for `top-K` the rank of the class, from 1."""
    count = classes or 1
    alone = told == count
    samples = ["sample" if alone else f"sample {k // count}" for k in range(told)]
    if classes is None:
        return samples
    ranks = [f"rank {k % count + 1}" for k in range(told)]
    return ranks if alone else [f"{s}, {r}" for s, r in zip(samples, ranks, strict=True)]
