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
import onnx_ir as ir
from numpy.typing import NDArray

from lrp_onnx.errors import InputError, TargetError
from lrp_onnx.graph.annotations import RELEVANCE, has_batch, stamp_of
from lrp_onnx.graph.arrays import Array
from lrp_onnx.graph.map_outputs import numbers_of
from lrp_onnx.graph.model_file import ModelSource
from lrp_onnx.graph.session import Runtime, runtime_form
from lrp_onnx.options import CompileOptions
from lrp_onnx.run.feeds import check
from lrp_onnx.validate.batches import Batches, Feeds, sample_names, samples_of
from lrp_onnx.validate.evaluation import Clock, Float
from lrp_onnx.validate.question import Compile, Question
from lrp_onnx.validate.score import Score, class_of, score_of

__all__ = ["Original"]


class Original:
    """The original in a session, and the samples that it is evaluated on.

    compiled: compiles models, for the candidates too. Raises TargetError for a target that is no
    one quantity, InputError where the inputs do not fit.
    """

    def __init__(self, question: Question, clock: Clock, compiled: Compile) -> None:
        self.clock, self.compiled = clock, compiled
        began = time.perf_counter()
        mask = _Mask(question.source, question.options, compiled)
        clock.compiled += 1
        clock.compiled_seconds += time.perf_counter() - began
        self.metadata = mask.metadata
        self.names: list[str] = json.loads(mask.metadata["explained"])
        self.has_attention, self.has_convolution = mask.has_attention, mask.has_convolution
        with ExitStack() as stack:
            self.runtime = Runtime(stack.enter_context(runtime_form(question.source)))
            self._files = stack.pop_all()  # a runtime may map a large model's file until the end
        single = Batches.of(self.runtime.inputs, mask.has_batch)
        self.samples = samples_of(
            [_checked(self.runtime, feeds) for feeds in question.inputs], single
        )
        self.called = sample_names(question.inputs, question.names, single)
        """Each sample in words."""
        if not self.samples:
            raise InputError("there is no sample. Give at least one input.")
        self.batches = single.together(self._call, self.samples, question.batch)
        self.outputs = list(self.predict(self.samples))
        self.compared = mask.metadata["target"] == "similarity"
        """Whether each embedding is compared with itself."""
        self.masks = (
            self.outputs if self.compared else mask.of(self.samples, self.batches, question.classes)
        )
        self.classes = _classes(question, mask.metadata, self.masks)
        """The class of each sample; None where it is no class that is explained."""
        self.score: Score = score_of(mask.metadata, self.outputs)
        self.own = [
            float(self.score(self._stack(y), self._mask(k))[0]) for k, y in enumerate(self.outputs)
        ]
        """The score of each sample as it is."""
        self.left_out = (*question.left_out, *self._leave_out(question))
        """The samples that have no score, and why."""

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


class _Mask:
    """Which entries of the output are explained: what relevance starts with."""

    def __init__(self, source: ModelSource, options: CompileOptions, compile: Compile) -> None:
        if options.target == "seed" or str(options.target).startswith("top-"):
            raise TargetError(
                f"target {options.target}: evaluate compares maps of one quantity. Give argmax, a "
                "class, or another target that explains one quantity."
            )
        if len(options.output or ()) > 1:
            names = ", ".join(map(repr, options.output or ()))
            raise TargetError(
                f"outputs {names}: evaluate compares maps of one output. Give one --output."
            )
        plain = CompileOptions(
            method="gradient",
            output=options.output,
            explain=options.explain,
            target="all" if options.target == "similarity" else options.target,
            labels=options.labels,
            class_axis=options.class_axis,
            optimize=False,
            check=False,
        )
        compiled = compile(source, plain, at_output=True)
        self.metadata = stamp_of(compiled.graph.metadata_props) | (
            {"target": "similarity"} if options.target == "similarity" else {}
        )
        output = next(v for v in compiled.graph.graph.outputs if v.name == self.metadata["output"])
        scalar = output.shape is not None and not len(output.shape)
        self.has_batch = has_batch(self.metadata) and not scalar
        on_path = {line.op_type for line in compiled.report if line.rule}
        self.has_attention = "Softmax" in on_path
        self.has_convolution = bool({"Conv", "ConvTranspose"} & on_path)
        with runtime_form(_part(compiled.graph, f"{self.metadata['output']}{RELEVANCE}")) as form:
            self.runtime = Runtime(form)

    def of(
        self, samples: Sequence[Feeds], batches: Batches, classes: Sequence[int] | None
    ) -> list[Array]:
        """m of each sample, shaped like its output."""
        wanted = np.asarray([] if classes is None else classes, np.int64)
        if self.metadata["target"] == "input" and len(wanted) != len(samples):
            raise TargetError(
                f"target input: {len(wanted)} classes for {len(samples)} samples. Give one for "
                "each sample."
            )

        def call(feeds: dict[str, Array], numbers: Array) -> dict[str, Array]:
            extra = {"target": wanted[numbers]} if self.metadata["target"] == "input" else {}
            every = {**feeds, **extra}
            return self.runtime.run({w.name: every[w.name] for w in self.runtime.inputs})

        return [next(iter(y.values())) for y in batches.run(call, samples)]


def _part(model: ir.Model, output: str) -> ir.Model:
    """What of a model computes one output."""
    ends = [v for v in model.graph.outputs if v.name == output]
    graph = ir.convenience.extract(model.graph, list(model.graph.inputs), ends)
    return ir.Model(graph, ir_version=model.ir_version)
