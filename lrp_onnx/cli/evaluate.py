"""The command `evaluate`: files in, explanations compared on them, curves out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import typer

from lrp_onnx.answer.given_target import classes_of, target_and_value
from lrp_onnx.answer.inputs import Reader, read_inputs
from lrp_onnx.answer.open_model import Warn
from lrp_onnx.answer.sample_files import read_samples
from lrp_onnx.cli.options import Options
from lrp_onnx.cli.progress import StageProgress
from lrp_onnx.compiler.stages import load_original
from lrp_onnx.data.preprocess import Preprocess, load_preprocess
from lrp_onnx.errors import OutputError, TargetError
from lrp_onnx.gradients.baseline import read_baselines
from lrp_onnx.graph.arrays import Array
from lrp_onnx.validate.evaluate import tuned_and_evaluated
from lrp_onnx.validate.evaluation import Evaluation, mean_and_error
from lrp_onnx.validate.question import Candidate, Question
from lrp_onnx.validate.replacement import KINDS, Replacement

__all__ = ["EvaluateRequest", "evaluate_files"]

POINTS = 101
"""Of a drawn curve."""


@dataclass(frozen=True)
class EvaluateRequest:
    """The arguments that only `evaluate` has."""

    model: Path
    inputs: tuple[str, ...]
    out: Path | None = None
    composites: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    preprocess: str | None = None
    replacement: str | None = None
    unit: str | None = None
    points: int = 20
    batch: int = 8
    seed: int = 0
    redraw: int = 3
    tune: Path | None = None
    reader: Reader | None = None
    """What reads texts, tables and sounds."""

    @property
    def candidates(self) -> list[Candidate] | None:
        """What is compared; None where that is left open."""
        composites = [Candidate(name) for name in _listed(self.composites)]
        others = [Candidate(method=name) for name in _listed(self.methods)]
        return [*composites, *others] or None


def evaluate_files(
    request: EvaluateRequest, options: Options, warn: Warn, quiet: bool = False
) -> Evaluation:
    """Do what the command asks. Raises LrpError as every step on the way does."""
    if request.out is not None:
        _check_format(request.out, ".png", "curves are drawn")
    if request.tune is not None:
        _check_format(request.tune, ".toml", "composites are written")
    compiling, value = options.compile, ""
    if compiling.target != "similarity":  # each sample is compared with itself
        compiling, value = target_and_value(compiling)
    _check_similarity(str(compiling.target), value)
    compiling = replace(compiling, composite=None, method="lrp")
    preprocess = None if request.preprocess is None else load_preprocess(request.preprocess)
    with StageProgress(options, quiet) as progress:
        model = load_original(request.model, progress).model
        if compiling.baseline is not None:
            baselines = read_baselines(model, compiling.baseline, preprocess)
            compiling = replace(compiling, baseline=baselines)
        inputs = read_samples(model, request.inputs, preprocess, warn, request.reader)
        question = Question(
            source=request.model,
            inputs=[each.feeds for each in inputs],
            names=[each.named for each in inputs],
            options=compiling,
            candidates=request.candidates,
            ranges=inputs[0].ranges,
            classes=classes_of(value) if compiling.target == "input" else None,
            replacement=_replacement(request.replacement, model, preprocess),
            unit=_unit(request.unit),
            points=request.points,
            batch=request.batch,
            seed=request.seed,
            redraw=request.redraw,
        )
        evaluation = tuned_and_evaluated(question, request.tune, progress)
    for text in evaluation.warnings:
        warn(text)
    if request.out is not None:
        _draw_curves(request.out, evaluation, request.model.name)
    return evaluation


def _check_similarity(target: str, value: str) -> None:
    """Raise TargetError where another input is named."""
    if target == "similarity" and value:
        raise TargetError(
            f"target similarity={value}: evaluate compares each sample with itself, unchanged and "
            "with units replaced. Give --target similarity."
        )


def _draw_curves(path: Path, evaluation: Evaluation, model: str) -> None:
    """Both curves of every explanation and reference, the mean over the samples."""
    from lrp_onnx.visual.curves import Line, save_curves  # matplotlib is slow to import

    share = np.linspace(0, 1, POINTS)
    lines = []
    for judged in evaluation.ranked:
        curves = [
            np.array([getattr(flipped, order).at(share) for flipped in judged.flipped])
            for order in ("morf", "lerf")
        ]
        stats = [[mean_and_error(values) for values in curve.T] for curve in curves]
        means = [np.array([mean for mean, _ in each]) for each in stats]
        errors = [np.array([error for _, error in each]) for each in stats]
        srg = judged.srg.mean()
        name = f"{judged.name}, SRG {srg:.3f}"
        lines.append(Line(name, means, errors, judged.kind == "reference"))
    count = evaluation.samples
    title = f"{model}: {count} sample{'s' * (count > 1)}, {evaluation.units} replaced by "
    save_curves(
        path,
        share,
        lines,
        ("most relevant first", "least relevant first (read backwards: insertion)"),
        title=title + evaluation.replacement,
        score="probability" if evaluation.score.startswith("probability") else "value",
        metadata={"model": model, "conclusion": evaluation.conclusion},
    )


def _check_format(path: Path, ending: str, what: str) -> None:
    if path.suffix.lower() != ending:
        raise OutputError(f"output '{path}': {what} as {ending}. Name it with that ending.")


def _listed(texts: Sequence[str]) -> list[str]:
    """Names that are given one by one or with commas between."""
    return list(dict.fromkeys(name for text in texts for name in text.split(",") if name))


def _unit(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    sizes = text.lower().split("x")
    if not all(size.isdigit() and int(size) for size in sizes):
        raise typer.BadParameter(f"--unit {text!r}: give a size such as 16, or 4x64")
    return tuple(map(int, sizes))


def _replacement(
    text: str | None, model: ir.Model, preprocess: Preprocess | None
) -> Replacement | None:
    if text is None or text in KINDS:
        return text
    if text.isdigit():
        return int(text)
    feeds: dict[str, Array] = read_inputs(model, [text], preprocess).feeds
    return feeds
