"""Marks on nodes for the explanation path, in their metadata."""

from __future__ import annotations

__all__ = ["CELL", "GATE"]

GATE = "lrp.gate"
"""On a Mul: the number of the input that is a gate; relevance goes to the other."""
CELL = "lrp.cell"
"""On a sum or linear layer of a recurrent cell: its kind while gates are held constant."""
