"""`explain` of sound and of series: lines on the color of their relevance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
from commands import run_command, write

from lrp_onnx.answer.own_page import lines_of
from lrp_onnx.visual.series import series_page

Capture = pytest.CaptureFixture[str]
SOUND = onnx.parser.parse_model(
    """<ir_version: 10, opset_import: ["" : 18]>
    g (float[N,T] wave, int64 sr) => (float[N,T] y) {
        rate = Cast<to = 1>(sr)
        part = Div(wave, rate)
        y = Mul(part, wave)
    }"""
)


@pytest.mark.parametrize("ending", ["png", "html", "npz"])
def test_a_sound_is_explained(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "sound.onnx", SOUND)
    soundfile.write("tone.wav", np.sin(np.arange(300) / 9), 8000, "FLOAT")
    given = ["sound.onnx", "tone.wav", "--target", "all", "--format", ending]
    assert "Give --rate" in run_command(capsys, *given).err
    outcome = run_command(capsys, *given, "--rate", "4000")
    assert outcome.status == 0
    assert "integers, left out beside inputs of floats" in outcome.err  # the rate
    if ending == "npz":
        with np.load("tone.lrp.npz") as arrays:
            assert arrays["wave_relevance"].shape == (1, 150)


@pytest.mark.parametrize(
    ("shape", "is_sound", "lines"),
    [
        ((2, 3, 50), False, (2, 3, 50)),
        ((2, 50, 3), False, (2, 3, 50)),
        ((2, 16, 96), False, None),
        ((2, 3, 8), False, None),
        ((2, 50), True, (2, 1, 50)),
        ((50,), True, (1, 1, 50)),
        ((2, 50), False, None),
        ((1, 3, 50, 50), False, None),
    ],
)
def test_what_is_drawn_as_lines(
    shape: tuple[int, ...], is_sound: bool, lines: tuple[int, ...] | None
) -> None:
    array = lines_of(np.zeros(shape), is_sound)
    assert (None if array is None else array.shape) == lines


def test_the_bars_of_a_series_sum_to_its_relevance() -> None:
    relevance = np.random.default_rng(0).standard_normal((1, 2, 1003))
    page = series_page(relevance, relevance, ["class 3"], ["graded"], rate=100)
    heights = [bar.get_height() for bar in page.figure.axes[2].patches]
    assert sum(heights) == pytest.approx(relevance.sum())
    assert page.figure.axes[2].get_xlim()[1] == pytest.approx(10.03)
