"""What an output with a class at each place of a sequence says: letters of a line, word tags."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import groupby

from lrp_onnx.graph.arrays import Array

__all__ = ["sequence_read"]

MOST = 24
"""Classes that are told, one for each run of equal ones."""
FILLER = 0.3
"""The part of all places from which the commonest class is told apart: the blank between letters,
or the tag of words that are nothing.
"""

SPACES = {"space": " ", "<space>": " ", "▁": " "}
"""What letters' names call a blank between words."""


def sequence_read(y: Array, axis: int | None, labels: Mapping[int, str] | None) -> str:
    """`A7K2 (blank at 16 of 20 places)`; empty where it is no sequence of classes.

    y: one sample. axis: of the classes; else the one that is as long as there are names.
    """
    own = [k for k, size in enumerate(y.shape) if labels and size == len(labels)]
    axis = own[0] if axis is None and len(own) == 1 else axis
    if axis is None or sum(size > 1 for size in y.shape) != 2 or y.shape[axis] < 2:
        return ""
    classes = y.argmax(axis).ravel().tolist()
    (common, times), *others = Counter(classes).most_common()
    runs = [k for k, _ in groupby(classes)]
    rest = ""
    if others and times >= FILLER * len(classes):
        runs = [k for k in runs if k != common]
        name = (labels or {}).get(common) or f"class {common}"
        rest = f" ({name} at {times} of {len(classes)} places)"
    names = [(labels or {}).get(k) or str(k) for k in runs[:MOST]]
    letters = 2 * sum(len(name) == 1 for name in names) > len(names) and bool(labels)
    if letters:
        names = [SPACES.get(name, name if len(name) == 1 else f"[{name}]") for name in names]
    told = ("" if letters else ", ").join(names) + "…" * (len(runs) > MOST)
    return f"{'' if labels else 'class ' if len(names) == 1 else 'classes '}{told}{rest}"
