"""One explanation that is compared: a composite or a method, compiled and run on the samples.

Where a class is explained it is compiled with target `input`, so that the maps of other classes
need no other model.  Weights that are drawn anew need none either: all explanations are compiled
into one graph, whose inputs are the constants that depend on these weights.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from lrp_onnx.errors import CheckError
from lrp_onnx.graph.arrays import Array
from lrp_onnx.graph.session import Runtime, runtime_form
from lrp_onnx.options import CompileOptions
from lrp_onnx.run.explainer import Explainer
from lrp_onnx.validate.original import Original
from lrp_onnx.validate.question import Candidate, Question, Redraw
from lrp_onnx.validate.units import spatial_axes

__all__ = ["Maps", "Opened", "Redrawn"]

Maps = list[dict[str, Array]]
"""Of every sample the relevance by explained input, summed over its channels."""


class Opened:
    """A candidate's compiled model in a session. Raises LrpError as a compilation does."""

    def __init__(self, candidate: Candidate, question: Question, original: Original) -> None:
        self.candidate, self.original = candidate, original
        began = time.perf_counter()
        own = _options(candidate, question, original)
        compiled = original.compiled(question.source, own, question.ranges)
        self.explainer = Explainer(compiled)
        self.warnings = compiled.warnings
        original.clock.compiled += 1
        original.clock.compiled_seconds += time.perf_counter() - began

    @property
    def name(self) -> str:
        """With the composite that the default stands for."""
        if self.candidate.method == "lrp" and self.candidate.composite is None:
            return self.explainer.metadata["composite"]
        return self.candidate.name

    def maps(self, classes: NDArray[np.int64] | None = None) -> Maps:
        """The maps of the samples, of their own classes or of others. Raises CheckError where
        relevance is not finite.
        """
        original = self.original
        own = original.classes if classes is None else classes

        def call(feeds: dict[str, Array], which: Array) -> dict[str, Array]:
            return dict(self.explainer(feeds, _target(original, own, which)).relevance)

        maps = _maps(original, range(len(original.samples)), call)
        for k, own_maps in enumerate(maps):
            if not all(np.isfinite(r).all() for r in own_maps.values()):
                raise CheckError(
                    f"{self.name}: the relevance of sample {k} is not finite. lrp-onnx verify with "
                    "the same options shows where."
                )
        return maps


class Redrawn:
    """Candidates on models whose weights are drawn anew.

    open_weights: makes what `lrp_onnx.compiler.open_weights.OpenWeights` is.
    """

    def __init__(
        self,
        candidates: Sequence[Candidate],
        question: Question,
        original: Original,
        open_weights: Callable[..., Redraw],
    ) -> None:
        self.original, self.each = original, range(len(candidates))
        began = time.perf_counter()
        options = [_options(candidate, question, original) for candidate in candidates]
        self.opened = open_weights(question.source, options, question.ranges)
        original.clock.compiled_seconds += time.perf_counter() - began

    def maps(self, model: ir.Model, numbers: Sequence[int]) -> list[Maps]:
        """Of each candidate the maps of the samples of these numbers, under the model's weights;
        the first is the model of which most is drawn anew.
        """
        original, began = self.original, time.perf_counter()
        compiled, weights = self.opened.at(model)
        if compiled is not None:
            original.clock.compiled += 1
            with runtime_form(compiled.graph) as form:
                self.runtime = Runtime(form)
        original.clock.compiled_seconds += time.perf_counter() - began
        names = [{n: self.opened.output(k, n) for n in original.names} for k in self.each]
        outputs = [output for own in names for output in own.values()]

        def call(feeds: dict[str, Array], which: Array) -> dict[str, Array]:
            target = _target(original, original.classes, [numbers[k] for k in which])
            given = {**weights, **feeds}
            added = [w for w in self.runtime.inputs if w.name not in given]
            given |= {w.name: np.asarray(target, w.dtype) for w in added}
            return self.runtime.run(given, outputs)

        maps = _maps(original, numbers, call)
        return [[{n: m[output] for n, output in own.items()} for m in maps] for own in names]


def _options(candidate: Candidate, question: Question, original: Original) -> CompileOptions:
    own = replace(candidate.options(question.options), check=False)
    return own if original.classes is None else replace(own, target="input")


def _target(
    original: Original, classes: NDArray[np.int64] | None, numbers: Sequence[int] | Array
) -> Array | None:
    """What of the samples of these numbers is explained: classes, or other embeddings."""
    if original.compared:
        return original.embeddings(numbers)
    return None if classes is None else classes[np.asarray(numbers)]


def _maps(
    original: Original,
    numbers: Sequence[int],
    call: Callable[[dict[str, Array], Array], dict[str, Array]],
) -> Maps:
    """Of every sample of these numbers what the call gives, summed over channels, timed."""
    clock = original.clock

    def timed(feeds: dict[str, Array], which: Array) -> dict[str, Array]:
        began = time.perf_counter()
        relevance = call(feeds, which)
        clock.explained += len(set(which.tolist()))
        clock.explained_seconds += time.perf_counter() - began
        return relevance

    samples = [original.samples[k] for k in numbers]
    runs = original.batches.run(timed, samples)
    return [{n: _summed(r, original.batches.apart) for n, r in run.items()} for run in runs]


def _summed(relevance: Array, batched: bool) -> Array:
    """Over the channels, whose axes stay with length 1."""
    places = spatial_axes(relevance, batched)
    channels = tuple(k for k in range(relevance.ndim) if k not in places)
    summed: Array = relevance.sum(channels, np.float64, keepdims=True)
    return summed
