"""How far a run of `batch` is."""

from __future__ import annotations

import sys
import time

from lrp_onnx.cli.progress import StageProgress

__all__ = ["BatchProgress", "duration"]

SECONDS = 20
"""Between two lines off a terminal."""


class BatchProgress:
    """How far a run is: a bar on a terminal, else a line now and then."""

    def __init__(self, progress: StageProgress, total: int, earlier: int) -> None:
        self.progress, self.total, self.earlier = progress, total, earlier
        self.rows = self.failed = self.first = 0
        self.began = self.told = time.monotonic()
        progress.begin("explain", total)
        progress.advance(progress.bar, earlier)

    @property
    def speed(self) -> float:
        """Inputs a second since the first shard was done: workers take a while to start."""
        return (self.rows - self.first) / max(time.monotonic() - self.began, 1e-9)

    @property
    def told_speed(self) -> str:
        """The speed in words; nothing where nothing ran."""
        return f"{self.speed:,.0f} inputs/s once they ran, " * bool(self.speed)

    def add(self, rows: int, failed: int) -> None:
        """So many more are done."""
        if not self.rows:
            self.first, self.began = rows, time.monotonic()
        self.rows, self.failed = self.rows + rows, self.failed + failed
        done = self.earlier + self.rows
        text = f"{done:,} of {self.total:,}"
        if self.speed:
            text += f": {self.speed:,.0f}/s, {duration((self.total - done) / self.speed)} left"
        text += f", {self.failed:,} failed" * bool(self.failed)
        self.progress.advance(self.progress.bar, rows)
        self.progress.update(self.progress.bar, description=text)
        now = time.monotonic()
        if self.progress.disable and now - self.told > SECONDS:
            print(text, file=sys.stderr)
            self.told = now


def duration(seconds: float) -> str:
    """In seconds, minutes or hours, whichever is read best."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"
