"""Marks that an expansion leaves on nodes for the explanation path, in their metadata."""

from __future__ import annotations

__all__ = ["GATE"]

GATE = "lrp.gate"
"""On a Mul: the number of the input that is a gate; relevance goes to the other."""
