"""One explanation that is compared: a composite or a method, compiled and run on the samples.

Where a class is explained it is compiled with target `input`, so that the maps of other classes
need no other model.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lrp_onnx.compiler.input_range import Ranges
from lrp_onnx.compiler.stages import compile_prepared, load_original, prepare
from lrp_onnx.errors import CheckError
from lrp_onnx.graph.model_file import Source
from lrp_onnx.graph.session import Array
from lrp_onnx.options import CompileOptions
from lrp_onnx.run.explainer import Explainer
from lrp_onnx.validate.original import Original
from lrp_onnx.validate.units import spatial_axes

__all__ = ["Candidate", "Maps", "Opened"]

Maps = list[dict[str, Array]]
"""Of every sample the relevance by explained input, summed over its channels."""


@dataclass(frozen=True)
class Candidate:
    """A composite of LRP, None for the default, or another method."""

    composite: str | None = None
    method: str = "lrp"

    @property
    def name(self) -> str:
        """As it is given: the composite or the method."""
        return (self.composite or "default") if self.method == "lrp" else self.method

    def options(self, base: CompileOptions) -> CompileOptions:
        """The options of a compilation, those of the base else; what only LRP takes is left out of
        other methods.
        """
        own = replace(base, composite=self.composite, method=self.method)
        if self.method != "lrp":
            own = replace(own, rules={}, parameters={}, start=None)
        return own


class Opened:
    """A candidate's compiled model in a session.

    source: the model, which may be the original with other weights.
    Raises LrpError as a compilation does.
    """

    def __init__(
        self,
        candidate: Candidate,
        source: Source,
        original: Original,
        options: CompileOptions,
        ranges: Ranges | None,
    ) -> None:
        self.candidate, self.original = candidate, original
        began = time.perf_counter()
        own = replace(candidate.options(options), check=False)
        if original.classes is not None:
            own = replace(own, target="input")
        compiled = compile_prepared(prepare(load_original(source), own, ranges))
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
