"""Numbers and texts that may be out of place."""

from __future__ import annotations

import random
from typing import Any

__all__ = ["NUMBERS", "other_value"]

NUMBERS = (
    *(0, 1, -1, 2, 3, -2, 7, 255, 65_536),
    *(2**31 - 1, -(2**31), 2**31, 2**40, 2**63 - 1, -(2**63)),
)
TEXTS = ("", "x", "y", "a b", "\x1b[31m", "\u202etxt", "../up", "N", "'quoted'", "z" * 3000)


def other_value(rng: random.Random, value: Any) -> Any:
    """A value of the same type that may be out of place."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, float):
        return rng.choice((0.0, -1.0, 1e30, float("nan"), float("inf"), value * 2))
    if isinstance(value, int):
        near = value + rng.choice((-1, 1))
        chosen = rng.choice((*NUMBERS, near, near, near))
        return chosen if -(2**31) <= chosen < 2**31 or abs(value) >= 2**31 else near
    if isinstance(value, bytes):
        return bytes(rng.randbytes(len(value)))
    return rng.choice((*TEXTS, value + "_2"))
