"""The lattice that strides leave in a map of relevance: measured, and averaged away where it is.

A convolution of stride 2 and kernel 1, or a kernel that its stride does not divide, reads some
pixels more often than others. The relevance of what stands there repeats with the product of the
strides and hides the picture below it. Folding |R| modulo the period p tells: in cells of p × p
pixels, less each cell's own mean, the mean over all cells vanishes unless the pattern repeats. The
pattern is as strong as what it covers, and a few cells with most of the relevance, such as a
detected face, would decide alone: |R| is divided by the root of its own blurred self before.

    share   = |mean over cells|² / mean over cells of |…|²     what part of the detail repeats
    times   = share · number of cells                          1 on average where nothing does
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["averaged", "lattice_period"]

PERIODS = (64, 56, 48, 32, 28, 24, 16, 14, 12, 8, 7, 6, 4, 3, 2)
"""Products of strides and sizes of patches that occur, the largest first."""
FEWEST = 3
"""Cells along each axis."""
LESSER = 0.1
"""How strong the pattern along one axis is at least, beside that along the other."""
SHARE, TIMES = 0.05, 4.0
NEARBY = 8.0
"""Pixels: how far the size of what a pattern covers is looked at."""
PERCENTILE = 99.0
"""Beyond it single pixels are cut off: one of them is no pattern."""


def lattice_period(relevance: NDArray[Any]) -> int | None:
    """The largest period in pixels with which a map (H, W) repeats; None where it does not."""
    from scipy import ndimage  # 0.3 s, of which tables and sentences need none

    size = np.abs(np.nan_to_num(relevance))
    size = np.minimum(size, np.percentile(size, PERCENTILE)) if size.size else size
    around = np.sqrt(ndimage.gaussian_filter(size, NEARBY))
    size = np.divide(size, around, out=np.zeros_like(size), where=around > 0)
    repeating = {p: _repeating(size, p) for p in PERIODS if _count(size, p)}
    for period, (energy, total) in repeating.items():
        # what repeats after 2 pixels does so after 4 too
        known = max(
            (repeating[p][0] for p in repeating if p < period and period % p == 0), default=0
        )
        share = (energy - known) / total if total > 0 else 0.0
        if share > SHARE and _along_both(size, period) and share * _count(size, period) > TIMES:
            return period
    return None


def averaged(relevance: NDArray[Any], period: int) -> NDArray[np.float64]:
    """The moving average over `period` pixels of a map (H, W), taken twice.

    A pattern of that period vanishes, since each window holds one of it; the sum stays.
    """
    from scipy import ndimage

    window = np.ones(period) / period
    twice = np.convolve(window, window)  # odd and symmetric, so that nothing moves
    smooth = np.asarray(relevance, np.float64)
    for axis in (0, 1):
        smooth = ndimage.convolve1d(smooth, twice, axis, mode="reflect")
    return smooth


def _along_both(size: NDArray[np.float64], period: int) -> bool:
    """Whether what repeats does so along rows and columns, as strides leave it; lines of text, bars
    and steps repeat along one.
    """
    cell = _cells(size, period).mean(axis=(0, 2))
    along = [float(cell.mean(axis=axis).var()) for axis in (0, 1)]
    return min(along) > LESSER * max(along)


def _cells(size: NDArray[np.float64], period: int) -> NDArray[np.float64]:
    """The map in cells of that side: [rows of cells, side, columns of cells, side]."""
    rows, columns = (length // period for length in size.shape)
    return size[: rows * period, : columns * period].reshape(rows, period, columns, period)


def _count(size: NDArray[np.float64], period: int) -> int:
    """How many whole cells of that side the map has; none where one axis has too few."""
    rows, columns = (int(length // period) for length in size.shape)
    return rows * columns if min(rows, columns) >= FEWEST else 0


def _repeating(size: NDArray[np.float64], period: int) -> tuple[float, float]:
    """The mean square of what repeats in cells of that side, and of all detail in them."""
    cells = _cells(size, period)
    detail = cells - cells.mean(axis=(1, 3), keepdims=True)
    return float((detail.mean(axis=(0, 2)) ** 2).mean()), float((detail**2).mean())
