"""One explanation that is compared: a composite or a method, compiled and run on the samples.

Where a class is explained it is compiled with target `input`, so that the maps of other classes
need no other model.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lrp_onnx.errors import CheckError
from lrp_onnx.graph.arrays import Array
from lrp_onnx.graph.model_file import Source
from lrp_onnx.run.explainer import Explainer
from lrp_onnx.validate.original import Original
from lrp_onnx.validate.question import Candidate, Question
from lrp_onnx.validate.units import spatial_axes

__all__ = ["Maps", "Opened"]

Maps = list[dict[str, Array]]
"""Of every sample the relevance by explained input, summed over its channels."""


class Opened:
    """A candidate's compiled model in a session.

    source: the original with other weights; None for itself. Raises LrpError as a compilation does.
    """

    def __init__(
        self,
        candidate: Candidate,
        question: Question,
        original: Original,
        source: Source | None = None,
    ) -> None:
        self.candidate, self.original = candidate, original
        began = time.perf_counter()
        own = replace(candidate.options(question.options), check=False)
        if original.classes is not None:
            own = replace(own, target="input")
        model = question.source if source is None else source
        compiled = original.compiled(model, own, question.ranges)
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

    def maps(
        self,
        numbers: Sequence[int] | None = None,
        classes: NDArray[np.int64] | None = None,
        check: bool = True,
    ) -> Maps:
        """The maps of the samples of these numbers, or of all; of their own classes, or of others.

        check: whether to raise CheckError where relevance is not finite.
        """
        chosen = np.arange(len(self.original.samples)) if numbers is None else np.asarray(numbers)
        own = self.original.classes if classes is None else classes
        clock, names = self.original.clock, self.original.names

        def call(feeds: dict[str, Array], which: Array) -> dict[str, Array]:
            began = time.perf_counter()
            target = None if own is None else own[chosen[which]]
            if self.original.compared:
                target = self.original.embeddings(chosen[which])
            result = self.explainer(feeds, target)
            clock.explained += len(set(which.tolist()))
            clock.explained_seconds += time.perf_counter() - began
            return {name: result.relevance[name] for name in names}

        samples = [self.original.samples[k] for k in chosen]
        maps = [
            {n: _summed(r, self.original.batches.apart) for n, r in relevance.items()}
            for relevance in self.original.batches.run(call, samples)
        ]
        for k, own_maps in zip(chosen, maps, strict=True):
            if check and not all(np.isfinite(r).all() for r in own_maps.values()):
                raise CheckError(
                    f"{self.name}: the relevance of sample {k} is not finite. lrp-onnx verify with "
                    "the same options shows where."
                )
        return maps


def _summed(relevance: Array, batched: bool) -> Array:
    """Over the channels, whose axes stay with length 1."""
    places = spatial_axes(relevance, batched)
    channels = tuple(k for k in range(relevance.ndim) if k not in places)
    summed: Array = relevance.sum(channels, np.float64, keepdims=True)
    return summed
