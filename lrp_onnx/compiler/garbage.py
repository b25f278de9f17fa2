"""When Python looks for garbage while graphs are made."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import onnx_ir as ir

__all__ = ["note_made", "older_objects_set_aside"]

MADE: list[int] = []
"""The bytes of the graphs made since old objects were looked through."""
MOST_MADE = 16 << 20
OF_NODE = 10 << 10
"""Bytes that one node takes, its weights apart."""


@contextmanager
def older_objects_set_aside() -> Iterator[None]:
    """Garbage is searched for among new objects only: to look through those of every imported
    module again and again takes a quarter of the time of 5,000 nodes. What the application froze
    stays frozen.

    What was set aside counts as old, among which Python searches seldom, and a graph that nobody
    reads is garbage: so old objects are looked through when the graphs made since hold much.
    """
    if gc.get_freeze_count():
        yield
        return
    due = sum(MADE) > MOST_MADE
    gc.collect(2 if due else 1)
    if due:
        MADE.clear()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def note_made(graph: ir.Graph) -> None:
    """Count a graph that was made."""
    weights = (v.const_value for v in graph.initializers.values())
    MADE.append(OF_NODE * len(graph) + sum(w.nbytes for w in weights if w is not None))
