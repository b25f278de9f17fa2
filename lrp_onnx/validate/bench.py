"""What an explanation costs beside a prediction: time, time to open the file, and peak memory.

The two are run in turn, so that a slow spell of the machine meets both alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from lrp_onnx.compiler.check import judged_on_random
from lrp_onnx.compiler.compiled import Compiled
from lrp_onnx.compiler.differences import extra_feeds
from lrp_onnx.data.samples import wanted_by
from lrp_onnx.errors import InputError
from lrp_onnx.graph.annotations import has_batch, stamp_of
from lrp_onnx.graph.arrays import Array
from lrp_onnx.graph.model_file import ModelSource
from lrp_onnx.graph.session import Runtime, import_runtime, runtime_form
from lrp_onnx.run.feeds import fitted
from lrp_onnx.validate.peak_memory import peak_memory
from lrp_onnx.validate.timing import interleaved

__all__ = ["Cost", "Costs", "bench"]


@dataclass(frozen=True)
class Cost:
    """Seconds of one call and of opening the model, and bytes that both need."""

    median: float
    quartiles: tuple[float, float]
    load: float
    peak_memory: int | None


@dataclass(frozen=True)
class Costs:
    """The cost of the original's prediction, and of prediction and relevance together."""

    forward: Cost
    explanation: Cost
    runs: int
    provider: str
    shapes: dict[str, tuple[int, ...]]
    samples: int
    """How many one call has."""

    @property
    def ratio(self) -> float:
        """How many predictions an explanation costs."""
        return self.explanation.median / self.forward.median


def bench(
    source: ModelSource,
    compiled: Compiled,
    feeds: Mapping[str, Array] | None = None,
    runs: int = 20,
    tick: Callable[[], None] = lambda: None,
    batch: int = 1,
    threads: int | None = None,
) -> Costs:
    """Measure a model and its explanation on the given input, or on a random one.

    tick is called after every run; batch is the random input's, where the model leaves it open;
    threads compute one operator, default one per core. Raises InputError where no input can be made
    up.
    """
    inputs = _feeds(source, compiled, feeds, batch)
    with runtime_form(source) as plain, runtime_form(compiled.graph) as explaining:
        import_runtime()  # which is no part of opening a model
        (forward, load), (explanation, load_of_explanation) = (
            _opened(form, threads) for form in (plain, explaining)
        )
        expected = forward.run(inputs)
        extended = {**extra_feeds(compiled.graph, inputs, expected), **inputs}
        seconds = interleaved(
            (lambda: forward.run(inputs), lambda: explanation.run(extended)), runs, tick
        )
        memory = [
            peak_memory(plain, inputs, threads),
            peak_memory(explaining, extended, threads),
        ]
    return Costs(
        forward=_cost(seconds[:, 0], load, memory[0]),
        explanation=_cost(seconds[:, 1], load_of_explanation, memory[1]),
        runs=len(seconds),
        provider=explanation.provider,
        shapes={name: array.shape for name, array in inputs.items()},
        samples=_samples(compiled, inputs),
    )


def _samples(compiled: Compiled, inputs: Mapping[str, Array]) -> int:
    """Axis 0 of the first input; one where the output's axis 0 counts no samples."""
    shape = next(iter(inputs.values())).shape if inputs else ()
    return shape[0] if shape and has_batch(stamp_of(compiled.graph.metadata_props)) else 1


def _feeds(
    source: ModelSource, compiled: Compiled, feeds: Mapping[str, Array] | None, batch: int
) -> dict[str, Array]:
    if feeds is not None:
        return fitted(wanted_by(compiled.graph), feeds)
    judged = judged_on_random(source, compiled.graph, batch=batch)
    if isinstance(judged, str):
        raise InputError(f"{judged}. Give an input: lrp-onnx bench MODEL NAME=FILE.npy.")
    return judged[0]


def _opened(model: str | bytes, threads: int | None) -> tuple[Runtime, float]:
    """The session, and the seconds that it took to open."""
    began = time.perf_counter()
    return Runtime(model, threads=threads), time.perf_counter() - began


def _cost(seconds: Array, load: float, memory: int | None) -> Cost:
    low, median, high = np.percentile(seconds, [25, 50, 75])
    return Cost(float(median), (float(low), float(high)), load, memory)
