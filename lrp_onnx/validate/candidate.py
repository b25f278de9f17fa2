"""The explanations that are compared: composites and methods, all compiled into one graph and run
on the samples.

Where a class is explained it is compiled with target `input`, so that the maps of other classes
need no other graph.  Weights that are drawn anew need one more, whose inputs are the constants that
depend on these weights.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from lrp_onnx.compiler.compiled import Compiled
from lrp_onnx.errors import CheckError
from lrp_onnx.graph.annotations import RELEVANCE, each_output, stamp_of
from lrp_onnx.graph.arrays import Array
from lrp_onnx.graph.session import Runtime, runtime_form
from lrp_onnx.options import CompileOptions
from lrp_onnx.validate.original import Original
from lrp_onnx.validate.question import Candidate, Question
from lrp_onnx.validate.units import spatial_axes

__all__ = ["Maps", "Opened", "Redrawn"]

Maps = list[dict[str, Array]]
"""Of every sample the relevance by explained input, summed over its channels."""


class Opened:
    """Candidates in one graph, in a session. Raises LrpError as a compilation does."""

    def __init__(
        self, candidates: Sequence[Candidate], question: Question, original: Original
    ) -> None:
        self.candidates = candidates
        every = [_options(candidate, original) for candidate in candidates]
        with _compiling(original, 1):
            compiled = original.comparison.explained(every, question.ranges)
            self.session = _Session(compiled, original)
        self.warnings = compiled.warnings

    @property
    def names(self) -> list[str]:
        """Of the candidates, with the composite that the default stands for."""
        return [
            said["composite"] if c.method == "lrp" and c.composite is None else c.name
            for c, said in zip(self.candidates, self.session.each, strict=True)
        ]

    def maps(self, classes: NDArray[np.int64] | None = None) -> list[Maps]:
        """Of each candidate the maps of the samples, of their own classes or of others. Raises
        CheckError where relevance is not finite.
        """
        original = self.session.original
        samples = range(len(original.samples))
        every = self.session.maps(samples, classes)
        for name, maps in zip(self.names, every, strict=True):
            for k, of_sample in enumerate(maps):
                if not all(np.isfinite(r).all() for r in of_sample.values()):
                    raise CheckError(
                        f"{name}: the relevance of {original.called[k]} is not finite. lrp-onnx "
                        "verify with the same options shows where."
                    )
        return every


class Redrawn:
    """Candidates on models whose weights are drawn anew."""

    def __init__(
        self, candidates: Sequence[Candidate], question: Question, original: Original
    ) -> None:
        self.original = original
        options = [_options(candidate, original) for candidate in candidates]
        with _compiling(original, 0):
            self.opened = original.comparison.redrawn(options, question.ranges)

    def maps(self, model: ir.Model, numbers: Sequence[int]) -> list[Maps]:
        """Of each candidate the maps of the samples of these numbers, under the model's weights;
        the first is the model of which most is drawn anew.
        """
        with _compiling(self.original, 0):
            compiled, weights = self.opened.at(model)
            if compiled is not None:
                self.original.clock.compiled += 1
                self.session = _Session(compiled, self.original)
        return self.session.maps(numbers, weights=weights)


class _Session:
    """The session of a graph of explanations."""

    def __init__(self, compiled: Compiled, original: Original) -> None:
        self.original = original
        with ExitStack() as stack:
            self.runtime = Runtime(stack.enter_context(runtime_form(compiled.graph)))
            self._files = stack.pop_all()  # a runtime may map a large model's file until the end
        self.each = each_output(stamp_of(self.runtime.metadata))
        self.outputs = [
            {name: f"{said['prefix']}{name}{RELEVANCE}" for name in original.names}
            for said in self.each
        ]

    def maps(
        self,
        numbers: Sequence[int],
        classes: NDArray[np.int64] | None = None,
        weights: Mapping[str, Array] | None = None,
    ) -> list[Maps]:
        """Of each explanation those of the samples of these numbers; of other classes than their
        own if there are some.
        """
        original, clock = self.original, self.original.clock
        wanted = [output for own in self.outputs for output in own.values()]
        own = original.classes if classes is None else classes

        def call(feeds: dict[str, Array], which: Array) -> dict[str, Array]:
            began = time.perf_counter()
            target = _target(original, own, [numbers[k] for k in which])
            values = {**(weights or {}), **feeds}
            added = [w for w in self.runtime.inputs if w.name not in values]
            values |= {w.name: np.asarray(target, w.dtype) for w in added}
            relevance = self.runtime.run(values, wanted)
            clock.explained += len(self.each) * len(set(which.tolist()))
            clock.explained_seconds += time.perf_counter() - began
            return relevance

        runs = original.batches.run(call, [original.samples[k] for k in numbers])
        maps = [{n: _summed(r, original.batches.apart) for n, r in run.items()} for run in runs]
        return [[{n: m[output] for n, output in of.items()} for m in maps] for of in self.outputs]


@contextmanager
def _compiling(original: Original, count: int) -> Iterator[None]:
    """A block that compiles so many graphs, timed."""
    began = time.perf_counter()
    yield
    original.clock.compiled += count
    original.clock.compiled_seconds += time.perf_counter() - began


def _options(candidate: Candidate, original: Original) -> CompileOptions:
    own = replace(candidate.options(original.comparison.options), check=False)
    return own if original.classes is None else replace(own, target="input")


def _target(
    original: Original, classes: NDArray[np.int64] | None, numbers: Sequence[int]
) -> Array | None:
    """What of the samples of these numbers is explained: classes, or other embeddings."""
    if original.compared:
        return original.embeddings(numbers)
    return None if classes is None else classes[numbers]


def _summed(relevance: Array, batched: bool) -> Array:
    """Over the channels, whose axes stay with length 1."""
    places = spatial_axes(relevance, batched)
    channels = tuple(k for k in range(relevance.ndim) if k not in places)
    summed: Array = relevance.sum(channels, np.float64, keepdims=True)
    return summed
