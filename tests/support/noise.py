"""The noise of SmoothGrad, written down a second time."""

from __future__ import annotations

import numpy as np

Array = np.ndarray
P = 2**31 - 1


def draws(shape: tuple[int, ...], count: int, number: int = 0, sources: int = 1) -> Array:
    """Draws 1 to `count` [count, *shape] for the source of that number."""
    place = np.arange(int(np.prod(shape)), dtype=np.int64)
    a, b, c, d = (_table(4 * (sources * place + number) + k) for k in range(4))
    k = np.arange(1, count + 1)[:, None]
    u, v = (a + k * b) % 1, (c + k * d) % 1
    e = np.sqrt(-2 * np.log(u + 2.0**-17)) * np.cos(2 * np.pi * v)
    return e.reshape(count, *shape)


def _table(h: Array) -> Array:
    for factor, summand, square in (
        (1103515245, 12345, 998244353),
        (69621, 54321, 123456789),
    ):
        h = (h * factor + summand) % P
        h = h * (h + square) % P
    return (h // 2**15) / 2**16
