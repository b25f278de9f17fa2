"""Which explanation is faithful on the user's own inputs: the stages of `lrp-onnx evaluate`.

One after the other: what is explained and how it is scored, the maps of every candidate and of the
references, pixel flipping, re-drawn weights.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lrp_onnx.compiler.input_range import Ranges
from lrp_onnx.compiler.stages import load_original
from lrp_onnx.errors import CompositeError, InputError, LrpError
from lrp_onnx.graph.model_file import Source
from lrp_onnx.graph.session import Array
from lrp_onnx.options import CompileOptions
from lrp_onnx.validate.batches import Feeds
from lrp_onnx.validate.candidate import Candidate, Maps, Opened
from lrp_onnx.validate.evaluation import Clock, Evaluation, Float, Judged
from lrp_onnx.validate.flipping import Ends, Flipped, flip, grid
from lrp_onnx.validate.map_statistics import complexity, rank_correlation
from lrp_onnx.validate.original import Original
from lrp_onnx.validate.randomization import layers_of, redrawn, stages_of
from lrp_onnx.validate.references import references_of
from lrp_onnx.validate.replacement import Replacement, replacement_of
from lrp_onnx.validate.units import Units, is_picture, units_in_words, units_of

__all__ = ["Question", "Watch", "evaluate", "evaluated"]

MOST_REDRAWN = 4
"""Of so many samples the maps of re-drawn weights are made."""


class Watch(Protocol):
    """Whoever is told how far the work is."""

    def begin(self, description: str, total: int) -> None:
        """A new piece of work starts, of so many steps."""

    def tick(self) -> None:
        """A step is done."""


class _Nobody:
    """Nobody watches."""

    def begin(self, description: str, total: int) -> None:
        """Say nothing."""

    def tick(self) -> None:
        """Say nothing."""


@dataclass(frozen=True)
class Question:
    """What is compared, on what, and how."""

    source: Source
    inputs: Sequence[Mapping[str, Array]]
    """Arrays by input name, each entry one sample or several."""
    options: CompileOptions = field(default_factory=CompileOptions)
    """What is explained, and what all candidates have in common."""
    candidates: Sequence[Candidate] | None = None
    """None takes the default and a few others, by the kind of model and input."""
    ranges: Ranges | None = None
    """Of inputs where they are known, as `prepare` has them."""
    classes: Sequence[int] | None = None
    """Of target `input` the class of each sample."""
    replacement: Replacement | None = None
    """What units are replaced by; None chooses by the kind of input."""
    unit: Sequence[int] | None = None
    """The size of a unit along each spatial axis, or along all; None chooses."""
    steps: int = 20
    """In so many steps all units are replaced."""
    batch: int = 8
    seed: int = 0
    """Of the random reference and of the re-drawn weights."""

    def __post_init__(self) -> None:
        if self.steps < 2:
            raise InputError(f"steps {self.steps}: a curve needs at least 2. Give 20 or so.")
        if self.unit is not None and min(self.unit) < 1:
            raise InputError(
                f"unit {min(self.unit)}: a unit has at least one place. Give 1 or more."
            )


def evaluate(
    source: Source,
    inputs: Array | Mapping[str, Array] | Sequence[Array | Mapping[str, Array]],
    composites: Sequence[str | None] | None = None,
    methods: Sequence[str] = (),
    *,
    replacement: Replacement | Array | None = None,
    unit: int | Sequence[int] | None = None,
    steps: int = 20,
    batch: int = 8,
    seed: int = 0,
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
    unit: the size of a unit along each spatial axis, or along all.
    ranges: the least and the largest value of an input by its name, ([-1], [1]), for zbox.
    options: of `lrp_onnx.compile`, such as target and explain.
    Raises LrpError as `compile` does, and InputError where the inputs do not fit.
    """
    candidates: list[Candidate] | None = None
    if composites is not None or methods:
        candidates = [Candidate(name) for name in composites or ()]
        candidates += [Candidate(method=name) for name in methods]
    several = inputs if isinstance(inputs, Sequence) else [inputs]
    name = _only_input(source) if not all(isinstance(x, Mapping) for x in several) else ""
    by_name = [x if isinstance(x, Mapping) else {name: np.asarray(x)} for x in several]
    if isinstance(replacement, np.ndarray):
        replacement = {name or _only_input(source): replacement}
    return evaluated(
        Question(
            source=source,
            inputs=by_name,
            options=_options(options),
            candidates=candidates,
            ranges=ranges,
            classes=classes,
            replacement=replacement,
            unit=(unit,) if isinstance(unit, int) else unit,
            steps=steps,
            batch=batch,
            seed=seed,
        )
    )


def _options(options: Mapping[str, Any]) -> CompileOptions:
    for name in ("composite", "method"):
        if name in options:
            one = options[name]
            raise CompositeError(f"{name}={one!r}: give a list, {name}s=[{one!r}].")
    known = [f.name for f in fields(CompileOptions)]
    if unknown := sorted(set(options) - set(known)):
        raise TypeError(f"evaluate() got an unexpected keyword argument {unknown[0]!r}")
    return CompileOptions(**options)


def _only_input(source: Source) -> str:
    graph = load_original(source).model.graph
    names = [str(v.name) for v in graph.inputs if v.name not in graph.initializers]
    if len(names) != 1:
        listing = ", ".join(map(repr, names))
        raise InputError(f"the model has {len(names)} inputs. Give arrays by name: {listing}.")
    return names[0]


@dataclass
class _Explained:
    """The maps of one candidate."""

    candidate: Candidate
    name: str
    maps: Maps
    other_class: Float | None


def evaluated(question: Question, watch: Watch | None = None) -> Evaluation:
    """Answer a question. Raises LrpError as every step on the way does."""
    watch, clock, began = watch or _Nobody(), Clock(), time.perf_counter()
    original = Original(
        question.source, question.options, question.inputs, question.batch, clock, question.classes
    )
    samples, names, apart = original.samples, original.names, original.batches.apart
    others, word = replacement_of(samples, names, apart, question.replacement)
    pairs = list(zip(samples, others, strict=True))
    units = [units_of(x, names, apart, question.unit, other) for x, other in pairs]
    second, classes = _other_classes(original)
    explained, warnings = _explained(question, original, classes, watch)
    references = references_of(samples, names, apart, question.seed)
    maps = {e.name: e.maps for e in explained} | references
    ends = _ends(original, others)
    flipped = _flipped(original, others, units, ends, maps, question.steps, watch)
    layers, changed = _redrawn(question, original, explained, watch)
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
        units=units_in_words(samples[0][names[0]], apart, units, question.unit),
        replacement=word,
        whole=np.array([e.whole for e in ends]),
        replaced=np.array([e.replaced for e in ends]),
        layers=layers,
        other_class=second,
        clock=clock,
        warnings=tuple(warnings),
    )


def _explained(
    question: Question,
    original: Original,
    classes: NDArray[np.int64] | None,
    watch: Watch,
) -> tuple[list[_Explained], list[str]]:
    """The maps of every candidate; one that means the same as another is left out. Of those that
    nobody asked for one that the model does not take is left out, and a warning says so.

    classes: others than the explained ones, one a sample.
    """
    asked = question.candidates
    wanted = _usual(original) if asked is None else asked
    explained: dict[str, _Explained] = {}
    warnings: dict[str, None] = {}
    watch.begin("explain", len(wanted))
    for candidate in wanted:
        try:
            model = Opened(candidate, question.source, original, question.options, question.ranges)
        except LrpError as error:
            if asked is not None or candidate == Candidate():
                raise
            warnings[f"{candidate.name} is left out: {error}"] = None
            continue
        if model.name not in explained:
            maps = model.maps()
            others = None if classes is None else _correlations(maps, model.maps(classes=classes))
            explained[model.name] = _Explained(candidate, model.name, maps, others)
            warnings.update(dict.fromkeys(model.warnings))
        watch.tick()
    return list(explained.values()), list(warnings)


def _usual(original: Original) -> list[Candidate]:
    """The default, and what else may do."""
    first = original.samples[0][original.names[0]]
    if original.has_attention:
        composites: tuple[str, ...] = ("attnlrp", "cp-lrp", "epsilon")
    elif is_picture(first, original.batches.apart):
        composites = ("epsilon-plus-flat", "epsilon-gamma-box", "epsilon")
    else:
        composites = ("epsilon", "epsilon-plus-flat")
    return [Candidate(), *map(Candidate, composites), Candidate(method="input-x-gradient")]


def _other_classes(original: Original) -> tuple[str, NDArray[np.int64] | None]:
    """For each sample the third largest class, of two the other one, and which that is in words;
    nothing where no class is explained.
    """
    if original.classes is None:
        return "", None
    count = original.outputs[0].shape[1]
    classes = []
    for y, own in zip(original.outputs, original.classes, strict=True):
        order = np.argsort(-y[0], kind="stable")
        classes.append(order[order != own][min(1, count - 2)])
    return "the other class" if count == 2 else "the third largest class", np.array(classes)


def _ends(original: Original, others: Sequence[Feeds]) -> list[Ends]:
    """Of each sample the scores at both ends of every curve."""
    pairs = zip(original.samples, others, strict=True)
    scores = original.scores((k, {**feeds, **other}) for k, (feeds, other) in enumerate(pairs))
    return [Ends(own, other) for own, other in zip(original.own, scores, strict=True)]


def _flipped(
    original: Original,
    others: Sequence[Feeds],
    units: Sequence[Units],
    ends: Sequence[Ends],
    maps: Mapping[str, Maps],
    steps: int,
    watch: Watch,
) -> dict[str, list[Flipped]]:
    """The curves of every map."""
    passes = sum(2 * max(0, len(grid(own.count, steps)) - 2) for own in units)
    watch.begin("replace units", passes * len(maps))

    def scores(changed: Iterable[tuple[int, Feeds]]) -> Iterator[float]:
        for score in original.scores(changed):
            watch.tick()
            yield score

    flipped = {}
    for name, of_samples in maps.items():
        relevance = [own.relevance(m) for own, m in zip(units, of_samples, strict=True)]
        flipped[name] = flip(scores, original.samples, others, units, relevance, ends, steps)
    return flipped


def _redrawn(
    question: Question, original: Original, explained: Sequence[_Explained], watch: Watch
) -> tuple[int, dict[str, dict[int, Float]]]:
    """How many layers can be re-drawn; of each candidate, by how many are, the rank correlation of
    its maps with those before.
    """
    model = load_original(question.source).model
    layers = len(layers_of(model))
    stages = stages_of(layers)
    numbers = range(min(MOST_REDRAWN, len(original.samples)))
    watch.begin("re-draw weights", len(stages) * len(explained))
    found: dict[str, dict[int, Float]] = {e.name: {} for e in explained}
    for stage in stages:
        other = redrawn(model, stage, question.seed)
        for e in explained:
            opened = Opened(e.candidate, other, original, question.options, question.ranges)
            maps = opened.maps(numbers, check=False)
            found[e.name][stage] = _correlations(e.maps[: len(maps)], maps)
            watch.tick()
    return layers, found


def _correlations(a: Maps, b: Maps) -> Float:
    return np.array([rank_correlation(x, y) for x, y in zip(a, b, strict=True)])


def _complexity(maps: Maps) -> Float:
    return np.array([complexity(m) for m in maps])
