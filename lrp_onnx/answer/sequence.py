"""What an output with a class at each place of a sequence says: letters of a line, word tags."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from lrp_onnx.data.labels import class_name
from lrp_onnx.graph.arrays import Array

__all__ = ["letter_at", "sequence_read"]

MOST = 24
"""Classes that are told, one for each run of equal ones."""
FILLER = 0.3
"""The part of all places from which the commonest class is told apart: the blank between letters,
or the tag of words that are nothing.
"""

SPACES = {"space": " ", "<space>": " ", "▁": " "}
"""What letters' names call a blank between words."""


@dataclass(frozen=True)
class _Read:
    """The runs of equal classes along the places, without the filler."""

    runs: Sequence[tuple[int, int, int]]
    """Class, first place and the place behind the last."""
    names: Sequence[str]
    """Of the first runs."""
    letters: bool
    """Whether most names are single letters, so that they are read as one text."""
    rest: str
    """How often the filler stands between them."""

    @property
    def text(self) -> str:
        more = "…" * (len(self.runs) > len(self.names))
        told = ("" if self.letters else ", ").join(self.names) + more
        return f'"{told}"' if self.letters else told


def sequence_read(y: Array, axis: int | None, labels: Mapping[int, str] | None) -> str:
    """`"A7K2" (blank at 16 of 20 places)`; empty where it is no sequence of classes.

    y: one sample. axis: of the classes; else the one that is as long as there are names.
    """
    read = _read(y, axis, labels)
    return "" if read is None else f"{read.text}{read.rest}"


def letter_at(
    y: Array, axis: int | None, place: Sequence[int], labels: Mapping[int, str] | None
) -> str:
    """`the "K" of "7K2"`, of an entry of the output; empty where none is read there."""
    read, own = _read(y, axis, labels), _class_axis(y, axis, labels)
    if read is None or own is None or not read.letters:
        return ""
    places = [k for k, size in enumerate(y.shape) if k != own and size > 1]
    at, number = place[places[0]], place[own]
    for k, ((own_class, first, stop), name) in enumerate(zip(read.runs, read.names, strict=False)):
        if own_class == number and first <= at < stop:
            return f"{_letter(name, read.names, k)} of {read.text}"
    return ""


def _letter(name: str, names: Sequence[str], index: int) -> str:
    """One of the letters: `the "K"`, or `the 2nd "K"` where there are several."""
    shown = "blank" if name == " " else f'"{name}"'
    if names.count(name) == 1:
        return f"the {shown}"
    rank = names[: index + 1].count(name)
    ending = {1: "st", 2: "nd", 3: "rd"}.get(rank if rank < 20 else rank % 10, "th")
    return f"the {rank}{ending} {shown}"


def _class_axis(y: Array, axis: int | None, labels: Mapping[int, str] | None) -> int | None:
    own = [k for k, size in enumerate(y.shape) if labels and size == len(labels)]
    return own[0] if axis is None and len(own) == 1 else axis


def _read(y: Array, axis: int | None, labels: Mapping[int, str] | None) -> _Read | None:
    axis = _class_axis(y, axis, labels)
    if axis is None or sum(size > 1 for size in y.shape) != 2 or y.shape[axis] < 2:
        return None
    classes = y.argmax(axis).ravel().tolist()
    lengths = [(k, sum(1 for _ in run)) for k, run in groupby(classes)]
    stops = np.cumsum([length for _, length in lengths]).tolist()
    runs = [(k, stop - n, stop) for (k, n), stop in zip(lengths, stops, strict=True)]
    (common, times), *others = Counter(classes).most_common()
    rest = ""
    if others and times >= FILLER * len(classes):
        runs = [run for run in runs if run[0] != common]
        name = (labels or {}).get(common) or f"class {common}"
        rest = f" ({name} at {times} of {len(classes)} places)"
    known = [(labels or {}).get(k) for k, _, _ in runs[:MOST]]
    several = bool(labels) and (len(runs) > 1 or bool(rest))  # a lone O is a tag
    letters = several and 2 * sum(len(name or "") == 1 for name in known) > len(known)
    names = [name or class_name(None, k) for name, (k, _, _) in zip(known, runs, strict=False)]
    if letters:
        names = [SPACES.get(name, name if len(name) == 1 else f"[{name}]") for name in names]
    return _Read(runs, names, letters, rest)
