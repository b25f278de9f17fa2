"""The original model on the user's samples: what is explained of it, and its score.

Perturbed samples run in a session of the original, which computes nothing but the explained output.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrp_onnx.errors import InputError, TargetError
from lrp_onnx.graph.arrays import Array
from lrp_onnx.graph.map_outputs import numbers_of
from lrp_onnx.graph.session import Runtime, runtime_form
from lrp_onnx.run.feeds import check
from lrp_onnx.validate.batches import Batches, Feeds, sample_names, samples_of
from lrp_onnx.validate.evaluation import Clock, Float
from lrp_onnx.validate.question import Compared, Question
from lrp_onnx.validate.score import Score, class_of, score_of

__all__ = ["Original"]


class Original:
    """The original in a session, and the samples that it is evaluated on.

    comparison: of the explanations of the model. Raises InputError where the inputs do not fit.
    """

    def __init__(self, question: Question, clock: Clock, comparison: Compared) -> None:
        self.clock, self.comparison = clock, comparison
        self.metadata = self.comparison.metadata
        self.names: list[str] = json.loads(self.metadata["explained"])
        with ExitStack() as stack:
            self.runtime = Runtime(stack.enter_context(runtime_form(question.source)))
            self._files = stack.pop_all()  # a runtime may map a large model's file until the end
        single = Batches.of(self.runtime.inputs, self.comparison.has_batch)
        self.samples = samples_of(
            [_checked(self.runtime, feeds) for feeds in question.inputs], single
        )
        self.called = sample_names(question.inputs, question.names, single)
        """Each sample in words."""
        if not self.samples:
            raise InputError("there is no sample. Give at least one input.")
        self.batches = single.together(self._call, self.samples, question.batch)
        self.outputs = list(self.predict(self.samples))
        self.compared = self.metadata["target"] == "similarity"
        """Whether each embedding is compared with itself."""
        self.masks = self._masks(question.classes)
        self.classes = _classes(question, self.metadata, self.masks)
        """The class of each sample; None where it is no class that is explained."""
        self.score: Score = score_of(self.metadata, self.outputs)
        self.own = [
            float(self.score(self._stack(y), self._mask(k))[0]) for k, y in enumerate(self.outputs)
        ]
        """The score of each sample as it is."""
        self.left_out = (*question.left_out, *self._leave_out(question))
        """The samples that have no score, and why."""

    def _masks(self, classes: Sequence[int] | None) -> list[Array]:
        """m of each sample, shaped like its output; of target `similarity` the output itself."""
        if self.compared:
            return self.outputs
        if self.comparison.largest_class:
            return [np.eye(y.shape[1], dtype=y.dtype)[y.argmax(1)] for y in self.outputs]
        wanted = np.asarray([] if classes is None else classes, np.int64)
        asked = self.metadata["target"] == "input"
        if asked and len(wanted) != len(self.samples):
            count = f"{len(wanted)} classes for {len(self.samples)} samples"
            raise TargetError(f"target input: {count}. Give one for each sample.")
        began = time.perf_counter()
        with runtime_form(self.comparison.mask()) as form:
            runtime = Runtime(form)
        self.clock.compiled += 1
        self.clock.compiled_seconds += time.perf_counter() - began

        def call(feeds: dict[str, Array], numbers: Array) -> dict[str, Array]:
            every = {**feeds, "target": wanted[numbers]} if asked else feeds
            return runtime.run({w.name: every[w.name] for w in runtime.inputs})

        return [next(iter(y.values())) for y in self.batches.run(call, self.samples)]

    def _leave_out(self, question: Question) -> list[str]:
        """Leave out the samples without a finite score, and say so of each; InputError where they
        are given as arrays, have classes given, or nothing is left.
        """
        odd = [k for k, score in enumerate(self.own) if not np.isfinite(score)]
        told = [f"{self.called[k]}: its score is {self.own[k]}" for k in odd]
        usable = [k for k in range(len(self.own)) if k not in odd]
        if odd and (question.names is None or question.classes is not None or not usable):
            raise InputError(f"{told[0]}. Leave it out, or mend it.")
        if odd:
            self.samples = [self.samples[k] for k in usable]
            self.called = [self.called[k] for k in usable]
            self.outputs = [self.outputs[k] for k in usable]
            self.masks = [self.masks[k] for k in usable]
            self.own = [self.own[k] for k in usable]
            self.classes = None if self.classes is None else self.classes[usable]
        return [f"left out: {text}." for text in told]

    def predict(self, samples: Iterable[Feeds]) -> Iterator[Array]:
        """The explained output of each sample."""
        for outputs in self.batches.run(self._call, samples):
            yield next(iter(outputs.values()))

    def embeddings(self, numbers: Sequence[int] | Array) -> Array:
        """The explained outputs of the samples of these numbers, as they are run together."""
        if not self.batches.apart:
            return self.outputs[int(numbers[0])]
        return np.concatenate([self.outputs[int(k)] for k in numbers])

    def scores(self, number: int, changed: Mapping[str, Array]) -> Float:
        """The scores of one sample when inputs are changed: each [rows, *its shape]."""
        rows = len(next(iter(changed.values())))
        size = max(self.batches.size, self.batches.fixed)
        parts = [
            self._scores(number, {n: x[start : start + size] for n, x in changed.items()})
            for start in range(0, rows, size)
        ]
        scores = np.concatenate(parts) if parts else np.empty(0)
        if not np.isfinite(scores).all():
            raise InputError(
                f"{self.called[number]}: its score is not finite when units are replaced. Choose "
                "another replacement."
            )
        return scores

    def _scores(self, number: int, changed: Mapping[str, Array]) -> Float:
        """The same for as many rows as are run together."""
        feeds = {**self.samples[number], **{n: x[0] for n, x in changed.items()}}
        rows = np.arange(len(next(iter(changed.values()))))
        filled = np.minimum(np.arange(max(self.batches.fixed, len(rows))), len(rows) - 1)
        if len(filled) > 1:
            feeds = {n: np.repeat(x, len(filled), 0) for n, x in feeds.items()}
            feeds |= {n: x[filled, 0] for n, x in changed.items()}
        y = next(iter(self._call(feeds, rows).values()))
        return self.score(self._stack(y)[rows], self._mask(number))

    def _stack(self, y: Array) -> Array:
        """The outputs one behind the other, without a batch axis of their own."""
        return np.atleast_1d(y) if self.batches.apart else y[None]

    def _mask(self, number: int) -> Array:
        return self._stack(self.masks[number])[0] if self.batches.apart else self.masks[number]

    def _call(self, feeds: dict[str, Array], numbers: Array) -> dict[str, Array]:
        began = time.perf_counter()
        output = self.metadata["output"]
        if output in self.runtime.outputs:
            y = self.runtime.run(feeds, [output])[output]
        else:  # a ZipMap makes maps of it
            y = next(numbers_of(y) for y in self.runtime.run(feeds).values() if isinstance(y, list))
        self.clock.forward += len(set(numbers.tolist()))
        self.clock.forward_seconds += time.perf_counter() - began
        return {output: y}


def _classes(
    question: Question, metadata: Mapping[str, str], masks: Sequence[Array]
) -> NDArray[np.int64] | None:
    """The explained class of each sample, where the output is one of scores of classes."""
    if question.classes is not None:
        if len(question.classes) != len(masks):
            fact = f"{len(question.classes)} for {len(masks)} samples"
            raise TargetError(f"classes: {fact}. Give one for each sample.")
        return np.asarray(question.classes, np.int64)
    several = metadata.get("head") or metadata["target"] == "similarity"
    chosen = [None if several else class_of(mask) for mask in masks]
    known = [c for c in chosen if c is not None]
    return np.concatenate(known) if len(known) == len(chosen) else None


def _checked(runtime: Runtime, feeds: Mapping[str, Any]) -> dict[str, Array]:
    """Arrays of the dtype and rank that the model wants, however many samples."""
    arrays = {name: np.asarray(value) for name, value in feeds.items()}
    fixed = {w.shape[0] for w in runtime.inputs if len(w.shape)}
    anything = all(isinstance(size, int) for size in fixed) and len(fixed) == 1
    opened = [replace(w, shape=(None, *w.shape[1:])) if anything else w for w in runtime.inputs]
    check(opened, arrays)
    return {w.name: arrays[w.name] for w in runtime.inputs}
