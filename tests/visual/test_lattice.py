"""Lattices in maps of relevance: which are measured, and that averaging takes them away."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from lrp_onnx.errors import OutputError
from lrp_onnx.options import PictureOptions
from lrp_onnx.visual.heatmap import colors_named
from lrp_onnx.visual.lattice import averaged, lattice_period
from lrp_onnx.visual.panel import drawn

NOISE = np.random.default_rng(3).standard_normal((224, 224))
PICTURE = ndimage.gaussian_filter(NOISE, 5) * 10


def with_lattice(period: int, size: int = 224, strength: float = 1.0) -> NDArray[np.float64]:
    """A picture whose relevance stands mostly at every so many pixels, as strides leave it."""
    rows = (np.arange(size) % period) < max(1, period // 4)
    return PICTURE[:size, :size] * (1 + strength * 8 * np.outer(rows, rows))


@pytest.mark.parametrize("period", [2, 4, 8, 14, 16, 32])
def test_the_period_is_measured(period: int) -> None:
    assert lattice_period(with_lattice(period)) == period


def test_one_is_measured_where_little_of_the_map_holds_most_of_it() -> None:
    """As in a detector's map, where all but one object is nearly 0."""
    y, x = np.indices(NOISE.shape)
    distance = (y - 100) ** 2 + (x - 120) ** 2
    around_an_object = np.exp(-distance / (2 * 28**2)) * (1 + 0.5 * NOISE)
    rows = np.arange(224) % 8 < 2
    assert lattice_period(around_an_object + 0.02 * NOISE) is None
    strided = around_an_object * (1 + 2 * np.outer(rows, rows))
    assert lattice_period(strided + 0.02 * NOISE) == 8


BIG = np.outer(np.hanning(224), np.hanning(224))
PLAIN = {
    "noise": NOISE,
    "blurred noise": PICTURE,
    "one blob": BIG,
    "nothing": np.zeros((64, 64)),
    "one pixel": np.eye(1, 224 * 224, 999).reshape(224, 224),
    "edges": np.abs(np.diff((PICTURE > 0).astype(float), axis=0, prepend=0)),
    "lines of text": (np.arange(224) % 16 < 6)[:, None] * (2 + NOISE),
    "too small": NOISE[:5, :5],
    "not finite": np.full((64, 64), np.nan),
}


@pytest.mark.parametrize("relevance", PLAIN.values(), ids=PLAIN)
def test_what_does_not_repeat_is_left_alone(relevance: NDArray[np.float64]) -> None:
    assert lattice_period(relevance) is None


@pytest.mark.parametrize("period", [2, 3, 8, 32])
def test_averaging_takes_the_lattice_and_leaves_the_sum(period: int) -> None:
    lattice = np.zeros((8 * period, 8 * period))
    lattice[::period, ::period] = 1.0
    flat = averaged(lattice, period)
    assert flat.sum() == pytest.approx(lattice.sum())
    inside = flat[2 * period : -2 * period, 2 * period : -2 * period]
    np.testing.assert_allclose(inside, 1 / period**2, rtol=1e-9)
    point = np.zeros((33, 33))
    point[16, 16] = 1.0
    center = ndimage.center_of_mass(averaged(point, period if period < 16 else 4))
    np.testing.assert_allclose(center, 16, atol=1e-9)


def test_what_is_done_is_said_unless_it_was_asked_for() -> None:
    relevance = with_lattice(8)
    measured = drawn(relevance, PictureOptions())
    assert (measured.period, measured.done) == (8, "averaged over 8 px")
    assert "lattice of that period" in measured.notes[0]
    asked = drawn(relevance, PictureOptions(smooth="4"))
    assert (asked.period, asked.notes) == (4, [])
    left = drawn(relevance, PictureOptions(smooth="off"))
    assert (left.period, left.done) == (None, "")
    np.testing.assert_array_equal(left.values, relevance)


WRONG = {
    "panel": ({"panel": "left"}, "Choose one of all, heatmap, overlay"),
    "smooth": ({"smooth": "-3"}, "a number of pixels"),
    "limits": ({"limits": 0.0}, "above 0"),
    "opacity": ({"opacity": 2.0}, "from 0 to 1"),
}


@pytest.mark.parametrize(("options", "says"), WRONG.values(), ids=WRONG)
def test_options_that_say_nothing(options: dict[str, object], says: str) -> None:
    with pytest.raises(OutputError, match=says):
        PictureOptions(**options)  # type: ignore[arg-type]


def test_a_color_map_that_there_is_not() -> None:
    assert colors_named("coolwarm").name == "coolwarm"
    with pytest.raises(OutputError, match="Did you mean"):
        colors_named("coolwarn")
