"""Which explanation is faithful on the user's own inputs: the stages of `lrp-onnx evaluate`.

One after the other: what is explained and how it is scored, the maps of every candidate and of the
references, pixel flipping, re-drawn weights.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrp_onnx.arguments import as_array, checked, shown
from lrp_onnx.compiler.comparison import Comparison
from lrp_onnx.compiler.fitting import check_of_use
from lrp_onnx.compiler.input_range import Ranges
from lrp_onnx.compiler.stages import load_original
from lrp_onnx.errors import CompositeError, InputError, LrpError
from lrp_onnx.graph.arrays import Array
from lrp_onnx.graph.model_file import ModelSource
from lrp_onnx.options import CompileOptions
from lrp_onnx.validate.candidate import Maps, Opened, Redrawn
from lrp_onnx.validate.evaluation import Clock, Evaluation, Float, Judged
from lrp_onnx.validate.flipping import Ends
from lrp_onnx.validate.map_statistics import complexity, rank_correlation
from lrp_onnx.validate.original import Original
from lrp_onnx.validate.other_class import other_classes
from lrp_onnx.validate.perturbed import flipping_of
from lrp_onnx.validate.question import Candidate, Nobody, Question, Watch
from lrp_onnx.validate.randomization import layers_of, redrawn, stages_of
from lrp_onnx.validate.references import references_of
from lrp_onnx.validate.replacement import Replacement
from lrp_onnx.validate.score import are_embeddings
from lrp_onnx.validate.tune import tune as tune_composite
from lrp_onnx.validate.units import is_picture, units_in_words

__all__ = ["evaluate", "evaluated", "tuned_and_evaluated"]

MOST_REDRAWN = 4
"""Of so many samples the maps of re-drawn weights are made."""
HARDLY = 0.2
"""Part of the score by which replacing all units should change it."""


@checked
def evaluate(
    source: ModelSource,
    inputs: Array | Mapping[str, Array] | Sequence[Array | Mapping[str, Array]],
    composites: Sequence[str | None] | None = None,
    methods: Sequence[str] = (),
    *,
    replacement: Replacement | Array | None = None,
    unit: int | Sequence[int] | None = None,
    points: int = 20,
    batch: int = 8,
    seed: int = 0,
    redraw: int = 3,
    tune: str | os.PathLike[str] | None = None,
    ranges: Ranges | None = None,
    classes: Sequence[int] | None = None,
    **options: Any,
) -> Evaluation:
    """Compare explanations of a model on inputs: which composite or method is faithful?

    source: a path, bytes, an onnx.ModelProto or an onnx_ir.Model.
    inputs: an array, or arrays by input name where there are several, of one sample or more; or a
        list of them. The more samples the better: ten tell something, a hundred much.
    composites: names or files, None for the default; left out with `methods`, the default and a
        few others.
    methods: other methods than LRP.
    replacement: what units are replaced by: blur, mean, zero, an id where the input holds tokens,
        or an array (by input name where there are several) that takes the sample's place.
    unit: the size of a unit along each spatial axis, or along all. points: in so many steps all
        units are replaced.
    redraw: in how many stages weights are re-drawn, 0 to leave that out.
    tune: a composite file to write: graded composites are searched on half of the samples, and the
        best is compared with the others on the other half.
    ranges: the least and the largest value of an input by its name, ([-1], [1]), for zbox.
    options: of `lrp_onnx.compile`, such as target and explain.
    Raises LrpError as `compile` does, and InputError where the inputs do not fit.
    """
    candidates: list[Candidate] | None = None
    if composites or methods:
        candidates = [Candidate(name) for name in composites or ()]
        candidates += [Candidate(method=name) for name in methods]
    several = inputs if isinstance(inputs, Sequence) else [inputs]
    name = _only_input(source) if not all(isinstance(x, Mapping) for x in several) else ""
    by_name = [x if isinstance(x, Mapping) else {name: as_array(x, "inputs")} for x in several]
    if isinstance(replacement, np.ndarray):
        replacement = {name or _only_input(source): replacement}
    return tuned_and_evaluated(
        Question(
            source=source,
            inputs=by_name,
            options=_options(options),
            candidates=candidates,
            ranges=ranges,
            classes=classes,
            replacement=replacement,
            unit=unit if unit is None or isinstance(unit, Sequence) else (unit,),
            points=points,
            batch=batch,
            seed=seed,
            redraw=redraw,
        ),
        tune,
    )


def tuned_and_evaluated(
    question: Question, file: str | os.PathLike[str] | None, watch: Watch | None = None
) -> Evaluation:
    """Answer a question, with a composite that is tuned on half of the samples and written to that
    file, if one is named, on the other half. Raises LrpError as every step on the way does.
    """
    if file is None:
        return evaluated(question, watch)
    comparison = Comparison(question.source, question.options)
    tuning = tune_composite(question, watch or Nobody(), comparison)
    tuning.save(file)
    candidates = question.candidates or [Candidate(), Candidate("graded")]
    return evaluated(
        replace(tuning.question, candidates=[*candidates, Candidate(str(file))]), watch
    )


def _options(options: Mapping[str, Any]) -> CompileOptions:
    for name in ("composite", "method"):
        if name in options:
            one = options[name]
            raise CompositeError(f"{name}={shown(one)}: give a list, {name}s=[{shown(one)}].")
    known = [f.name for f in fields(CompileOptions)]
    if unknown := sorted(set(options) - set(known)):
        raise TypeError(f"evaluate() got an unexpected keyword argument {unknown[0]!r}")
    return CompileOptions(**options)


def _only_input(source: ModelSource) -> str:
    graph = load_original(source).model.graph
    names = [str(v.name) for v in graph.inputs if v.name not in graph.initializers]
    if len(names) != 1:
        listing = ", ".join(map(repr, names))
        raise InputError(f"the model has {len(names)} inputs. Give arrays by name: {listing}.")
    return names[0]


def evaluated(question: Question, watch: Watch | None = None) -> Evaluation:
    """Answer a question. Raises LrpError as every step on the way does."""
    watch, clock, began = watch or Nobody(), Clock(), time.perf_counter()
    comparison = Comparison(question.source, question.options)
    clock.compiled_seconds += time.perf_counter() - began
    original = Original(question, clock, comparison)
    samples, names, apart = original.samples, original.names, original.batches.apart
    flipping, replacement = flipping_of(question, original)
    own_classes = original.classes if original.score.of_classes else None
    classes, other_class = other_classes(original.outputs, own_classes)
    explained, warnings = _explained(question, original, classes, watch)
    references = references_of(samples, names, apart, question.seed)
    maps = {e.name: e.maps for e in explained} | references
    watch.begin("replace units", 2 * len(samples) * len(maps))
    flipped = {
        name: flipping.curves(original.scores, own, watch.tick) for name, own in maps.items()
    }
    changed = _redrawn(question, original, explained, watch)
    judged = [
        Judged(
            name=e.name,
            kind="lrp" if e.candidate.method == "lrp" else "method",
            flipped=flipped[e.name],
            complexity=_complexity(e.maps),
            other_class=e.other_class,
            redrawn=changed[e.name],
            is_default=e.candidate == Candidate(),
        )
        for e in explained
    ]
    judged += [
        Judged(name, "reference", flipped[name], _complexity(own))
        for name, own in references.items()
    ]
    clock.seconds = time.perf_counter() - began
    return Evaluation(
        judged=tuple(judged),
        samples=len(samples),
        score=original.score.words,
        units=units_in_words(samples[0][names[0]], apart, flipping.units, question.unit),
        replacement=replacement,
        whole=np.array([end.whole for end in flipping.ends]),
        replaced=np.array([end.replaced for end in flipping.ends]),
        other_class=other_class,
        clock=clock,
        warnings=(
            *original.left_out,
            *warnings,
            *_of_embeddings(original),
            *_hardly_changed(flipping.ends),
        ),
    )


@dataclass
class _Explained:
    """The maps of one candidate."""

    candidate: Candidate
    name: str
    maps: Maps
    other_class: Float | None


def _explained(
    question: Question,
    original: Original,
    classes: NDArray[np.int64] | None,
    watch: Watch,
) -> tuple[list[_Explained], list[str]]:
    """The maps of every candidate; one that means the same as another, such as what the default
    chooses, is left out. Of those that nobody asked for one that the model does not take is left
    out, and a warning says so.

    classes: others than the explained ones, one a sample.
    """
    asked = question.candidates
    wanted = _usual(question, original) if asked is None else asked
    check_of_use(question.options, [candidate.options(question.options) for candidate in wanted])
    watch.begin("explain", len(wanted))
    opened, warnings = _opened(wanted, question, original)
    explained: dict[str, _Explained] = {}
    for some in opened:
        maps = some.maps()
        others = [None] * len(maps) if classes is None else some.maps(classes)
        for candidate, name, own, other in zip(
            some.candidates, some.names, maps, others, strict=True
        ):
            if name not in explained:
                correlations = None if other is None else _correlations(own, other)
                explained[name] = _Explained(candidate, name, own, correlations)
            elif candidate == Candidate():
                explained[name].candidate = candidate
            watch.tick()
    return list(explained.values()), warnings


def _opened(
    wanted: Sequence[Candidate], question: Question, original: Original
) -> tuple[list[Opened], list[str]]:
    """The candidates in one graph; where that fails each by itself, and what to warn of."""
    try:
        every = Opened(wanted, question, original)
        return [every], list(every.warnings)
    except LrpError:
        opened, warnings = [], dict[str, None]()
    for candidate in wanted:
        try:
            opened.append(Opened([candidate], question, original))
            warnings.update(dict.fromkeys(opened[-1].warnings))
        except LrpError as error:
            if question.candidates is not None or candidate == Candidate():
                raise
            warnings[f"{candidate.name} is left out: {error}"] = None
    return opened, list(warnings)


def _usual(question: Question, original: Original) -> list[Candidate]:
    """The default, and what else may do; what needs the input's range where it is known."""
    first = original.samples[0][original.names[0]]
    if "Softmax" in original.comparison.operators:
        composites: tuple[str, ...] = ("attnlrp", "cp-lrp", "epsilon")
    elif is_picture(first, original.batches.apart):
        boxed = ("epsilon-gamma-box",) if question.knows_range else ()
        composites = ("graded", "epsilon-plus-flat", *boxed, "epsilon")
    else:
        composites = ("epsilon-relative", "epsilon", "epsilon-plus-flat")
    return [Candidate(), *map(Candidate, composites), Candidate(method="input-x-gradient")]


def _redrawn(
    question: Question, original: Original, explained: Sequence[_Explained], watch: Watch
) -> dict[str, dict[int, Float]]:
    """Of each candidate, by how many layers are re-drawn, the rank correlation of its maps with
    those before.
    """
    similar: dict[str, dict[int, Float]] = {e.name: {} for e in explained}
    model = load_original(question.source).model
    stages = stages_of(len(layers_of(model)), question.redraw)
    numbers = range(min(MOST_REDRAWN, len(original.samples)))
    watch.begin("re-draw weights", len(stages) * len(explained))
    if not stages:
        return similar
    candidates = Redrawn([e.candidate for e in explained], question, original)
    for stage in reversed(stages):
        maps = candidates.maps(redrawn(model, stage, question.seed), numbers)
        for e, own in zip(explained, maps, strict=True):
            similar[e.name][stage] = _correlations(e.maps[: len(own)], own)
            watch.tick()
    return {name: dict(sorted(by_stage.items())) for name, by_stage in similar.items()}


def _correlations(a: Maps, b: Maps) -> Float:
    return np.array([rank_correlation(x, y) for x, y in zip(a, b, strict=True)])


def _hardly_changed(ends: Sequence[Ends]) -> Iterator[str]:
    """A sentence where what replaces the units says much the same as they do."""
    whole = np.array([end.whole for end in ends])
    replaced = np.array([end.replaced for end in ends])
    change = np.abs(whole - replaced).mean()
    if change < HARDLY * np.abs(whole).mean():
        yield (
            f"with all units replaced the score is {replaced.mean():.3g} where it was "
            f"{whole.mean():.3g}: replacing them hardly matters, and the curves say little. Choose "
            "another --replace."
        )


def _of_embeddings(original: Original) -> Iterator[str]:
    """A sentence where one entry of an embedding is what is explained."""
    longer = all(y.size > 1 for y in original.outputs)
    if longer and not original.score.cosine and are_embeddings(original.outputs):
        yield (
            f"output {original.metadata['output']!r}: its vectors have length 1, as embeddings, "
            "and one entry says little of them. Target similarity compares maps of the whole."
        )


def _complexity(maps: Maps) -> Float:
    return np.array([complexity(m) for m in maps])
