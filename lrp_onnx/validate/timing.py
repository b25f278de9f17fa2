"""Seconds of several calls, taken in turn, so that a slow spell of the machine meets all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["PAUSE", "Spread", "interleaved", "ratio"]

WARM_UP = 2
FEWEST = 3
LONGEST = 60.0
"""Seconds after which no further round is started."""
PAUSE = 0.1
"""Seconds before each call, in which the threads of the one before stop waiting for more work."""


@dataclass(frozen=True)
class Spread:
    """The median and the quartiles of some measurements."""

    median: float
    quartiles: tuple[float, float]


def ratio(seconds: NDArray[Any], of_call: int, to_call: int) -> Spread:
    """How many times as long one call takes as another, in each round by itself: a machine that is
    slower for a while is so for both.
    """
    low, median, high = np.percentile(seconds[:, of_call] / seconds[:, to_call], [25, 50, 75])
    return Spread(float(median), (float(low), float(high)))


def interleaved(
    calls: Sequence[Callable[[], object]],
    runs: int,
    tick: Callable[[], None] = lambda: None,
    longest: float = LONGEST,
    warm_up: int = WARM_UP,
    clock: Callable[[], float] = time.perf_counter,
    pause: float = PAUSE,
) -> NDArray[np.float64]:
    """Seconds of each call [rounds, calls]: A B A B …, after rounds that are not counted.

    Fewer than `runs` rounds where they last longer than `longest`; tick is called after each.
    clock: time.process_time counts the processor's time, which other processes do not change.
    pause: seconds before each call.
    """
    for _ in range(warm_up):
        for call in calls:
            call()
    began = time.perf_counter()
    rows: list[list[float]] = []
    while len(rows) < runs:
        if len(rows) >= FEWEST and time.perf_counter() - began > longest:
            break
        rows.append([_seconds(call, clock, pause) for call in calls])
        tick()
    return np.array(rows)


def _seconds(call: Callable[[], object], clock: Callable[[], float], pause: float) -> float:
    time.sleep(pause)
    began = clock()
    call()
    return clock() - began
