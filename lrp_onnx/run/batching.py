"""Many inputs as few batches: stacked where the model leaves the batch open, and taken apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from lrp_onnx.graph.arrays import Array

__all__ = ["groups", "parts", "stacked"]

Feeds = Mapping[str, Array]


def groups(inputs: Iterable[Feeds], size: int) -> Iterator[list[Feeds]]:
    """Neighbors of equal shapes, `size` samples or fewer at a time, at least one of the inputs;
    those before one that cannot be taken come before its error.
    """
    waiting: list[Feeds] = []
    each = iter(inputs)
    while True:
        try:
            feeds = next(each)
        except StopIteration:
            break
        except Exception:
            if waiting:
                yield waiting  # what came before a bad input is not lost
            raise
        alike = waiting and _sample(waiting[0]) == _sample(feeds)
        if waiting and not (alike and sum(map(_length, waiting)) + _length(feeds) <= size):
            yield waiting
            waiting = []
        waiting.append(feeds)
    if waiting:
        yield waiting


def _sample(feeds: Feeds) -> dict[str, tuple[object, ...]]:
    """Name, type and shape of one sample of each input."""
    return {name: (x.dtype, *x.shape[1:]) for name, x in feeds.items()}


def _length(feeds: Feeds) -> int:
    return max((x.shape[0] for x in feeds.values() if x.ndim), default=1)


def stacked(group: Sequence[Feeds]) -> dict[str, Array]:
    """The group's feeds as one batch."""
    if len(group) == 1:
        return dict(group[0])
    return {name: np.concatenate([feeds[name] for feeds in group]) for name in group[0]}


def parts(arrays: Feeds, group: Sequence[Feeds]) -> Iterator[dict[str, Array]]:
    """What of the batch's arrays belongs to each of the group."""
    ends = np.cumsum([_length(feeds) for feeds in group])[:-1]
    apart = {name: np.split(x, ends) for name, x in arrays.items()} if len(ends) else {}
    for k in range(len(group)):
        yield {name: pieces[k] for name, pieces in apart.items()} if len(ends) else dict(arrays)
