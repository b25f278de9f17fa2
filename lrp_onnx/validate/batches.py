"""Inputs one by one, and a model run on several of them at a time.

A *sample* is what the model takes for one prediction: an array for each of its inputs, with a batch
axis of 1 where it has one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from lrp_onnx.errors import InputError
from lrp_onnx.graph.arrays import Array, Wanted
from lrp_onnx.run.batching import groups, parts, stacked

__all__ = ["Batches", "Call", "Feeds", "sample_names", "samples_of"]

Feeds = Mapping[str, Array]
Call = Callable[[dict[str, Array], Array], Mapping[str, Array]]
"""Runs stacked samples; gets their numbers, too."""
SAME = 1e-3
"""Part of the largest value by which samples that are run together may differ from each alone."""


@dataclass(frozen=True)
class Batches:
    """How samples are put together for one model."""

    size: int = 1
    """So many samples are run together."""
    fixed: int = 1
    """The batch that the model insists on: a sample is repeated to fill it."""
    apart: bool = True
    """Whether samples lie along axis 0; else what is given is one sample."""

    @classmethod
    def of(cls, inputs: Sequence[Wanted], batch: bool) -> Batches:
        """Those of a model with these inputs, samples run one by one.

        batch: whether the explained output counts its samples along axis 0.
        """
        if not batch:
            return cls(apart=False)
        firsts = {w.shape[0] for w in inputs if len(w.shape)}
        sizes = {size for size in firsts if isinstance(size, int)}
        if len(firsts) == 1 and sizes:
            return cls(fixed=sizes.pop())
        return cls(apart=sizes <= {1})

    def together(self, call: Call, samples: Sequence[Feeds], size: int) -> Batches:
        """The same with `size` samples run together, if two of them give what each gives alone."""
        batched = all(x.ndim and len(x) == 1 for feeds in samples for x in feeds.values())
        if not self.apart or self.fixed > 1 or size == 1 or not samples or not batched:
            return self
        first, other = samples[0], samples[-1]
        both = replace(self, size=2)
        try:
            alone = [next(self.run(call, [feeds])) for feeds in (first, other)]
            pair = list(both.run(call, [first, other]))
        except InputError:  # the runtime's word for sizes that the model does not take
            return self
        same = all(_same(a[n], b[n]) for a, b in zip(alone, pair, strict=True) for n in a)
        return replace(self, size=size) if same else self

    def run(self, call: Call, samples: Iterable[Feeds]) -> Iterator[Mapping[str, Array]]:
        """What the call gives for each sample, in order."""
        number = 0
        for group in groups(samples, self.size):
            numbers = np.arange(number, number + len(group))
            number += len(group)
            if self.fixed == 1:
                yield from parts(call(stacked(group), numbers), group)
                continue
            filled = stacked(list(group) * self.fixed)
            outputs = call(filled, np.repeat(numbers, self.fixed))
            yield {name: y[:1] for name, y in outputs.items()}


def _same(a: Array, b: Array) -> bool:
    if a.shape != b.shape or a.dtype.kind != "f":
        return a.shape == b.shape
    return bool(np.abs(a - b).max(initial=0) <= SAME * np.abs(a).max(initial=0))


def samples_of(inputs: Sequence[Feeds], batches: Batches) -> list[dict[str, Array]]:
    """Every sample of the given inputs, each of which may hold several."""
    if not batches.apart:
        return [dict(feeds) for feeds in inputs]
    return list(chain.from_iterable(map(_one_by_one, inputs)))


def sample_names(
    inputs: Sequence[Feeds], names: Sequence[str] | None, batches: Batches
) -> list[str]:
    """What each of these samples is called in messages, by the names of the inputs if they have
    some.
    """
    counts = [len(samples_of([feeds], batches)) for feeds in inputs]
    if names is None:
        return [f"sample {k}" for k in range(sum(counts))]
    return [
        f"{name}, sample {k}" if count > 1 else name
        for name, count in zip(names, counts, strict=True)
        for k in range(count)
    ]


def _one_by_one(feeds: Feeds) -> Iterator[dict[str, Array]]:
    count = max((len(x) for x in feeds.values() if x.ndim), default=1)
    for k in range(count):
        yield {n: x[k : k + 1] if x.ndim and len(x) == count else x for n, x in feeds.items()}
