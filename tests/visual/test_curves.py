"""Curves of pixel flipping as a picture: panels of one scale, each line drawn and named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lrp_onnx.errors import OutputError
from lrp_onnx.visual.curves import Line, save_curves

SHARE = np.linspace(0, 1, 11)
NOTHING = np.zeros(11)


def line(name: str, height: float, error: float = 0.0, reference: bool = False) -> Line:
    means = (height * (1 - SHARE), height * (1 - SHARE**2))
    return Line(name, means, (np.full(11, error),) * 2, reference)


def pixels(path: Path, *lines: Line) -> np.ndarray:
    save_curves(path, SHARE, lines, ("falling", "rising"), title="t", metadata={"model": "m"})
    with Image.open(path) as picture:
        assert picture.text["model"] == "m"
        return np.asarray(picture.convert("RGB")).astype(int)


def colored(image: np.ndarray) -> int:
    """How many pixels are no gray."""
    return int((np.ptp(image, axis=2) > 40).sum())


def test_every_line_is_drawn_in_both_panels(tmp_path: Path) -> None:
    one = pixels(tmp_path / "one.png", line("a", 1))
    two = pixels(tmp_path / "two.png", line("a", 1), line("b", 0.5))
    left, right = one[:, : one.shape[1] // 2], one[:, one.shape[1] // 2 :]
    assert min(colored(left), colored(right)) > 500
    assert colored(two) > 1.5 * colored(one)


def test_references_are_gray_and_have_no_band(tmp_path: Path) -> None:
    plain = pixels(tmp_path / "a.png", line("a", 1, reference=True))
    assert colored(plain) == 0
    again = pixels(tmp_path / "b.png", line("a", 1, error=0.2, reference=True))
    assert np.array_equal(plain, again)


def test_the_error_is_a_band(tmp_path: Path) -> None:
    plain = pixels(tmp_path / "a.png", line("a", 1))
    band = pixels(tmp_path / "b.png", line("a", 1, error=0.1))
    assert (band < 250).any(axis=2).sum() > 2 * (plain < 250).any(axis=2).sum()


def test_one_sample_has_no_error(tmp_path: Path) -> None:
    unknown = Line("a", (SHARE, SHARE), (np.full(11, np.nan),) * 2)
    known = Line("a", (SHARE, SHARE), (NOTHING, NOTHING))
    a, b = pixels(tmp_path / "a.png", unknown), pixels(tmp_path / "b.png", known)
    assert np.array_equal(a, b)


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(OutputError):
        pixels(tmp_path / "nowhere" / "a.png", line("a", 1))
