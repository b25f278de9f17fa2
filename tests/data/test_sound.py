"""Sound as inputs: channels, rates and lengths."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from lrp_onnx.data.sound import is_rate, rate_of, read_sound
from lrp_onnx.errors import InputError
from lrp_onnx.graph.arrays import Wanted

F32 = np.dtype("float32")


@pytest.fixture
def tone(tmp_path: Path) -> Path:
    """One second of 50 Hz, stereo: the right channel is half as loud."""
    wave = np.sin(2 * np.pi * 50 * np.arange(8000) / 8000)
    soundfile.write(tmp_path / "tone.wav", np.stack([wave, wave / 2], 1), 8000, "FLOAT")
    return tmp_path / "tone.wav"


SHAPES = {
    "samples": (("N", None), (1, 4000), 1),
    "alone": ((None,), (4000,), 1),
    "channels first": (("N", 1, None), (1, 1, 4000), 1),
    "channels last": (("N", None, 1), (1, 4000, 1), 1),
    "stereo": (("N", 2, None), (1, 2, 4000), 2),
    "fixed": (("N", 4000), (1, 4000), 1),
}


@pytest.mark.parametrize(("wants", "shape", "channels"), SHAPES.values(), ids=SHAPES)
def test_sound_is_mixed_and_resampled(
    wants: tuple[object, ...], shape: tuple[int, ...], channels: int, tone: Path
) -> None:
    sound = read_sound(tone, Wanted("x", F32, wants), 4000)  # type: ignore[arg-type]
    assert (sound.samples.shape, sound.samples.dtype, sound.notice) == (shape, F32, None)
    wave = np.sin(2 * np.pi * 50 * np.arange(4000) / 4000)[200:-200]
    first = sound.samples.reshape(-1, 4000)[0, 200:-200]
    np.testing.assert_allclose(first, wave * (1 if channels == 2 else 0.75), atol=0.01)


@pytest.mark.parametrize(
    ("length", "said"),
    [(2000, "takes 0.5 s, the first 0.5 s of 1 s"), (6000, "takes 1.5 s, silence behind it")],
)
def test_what_is_cut_or_added_is_said(length: int, said: str, tone: Path) -> None:
    sound = read_sound(tone, Wanted("x", F32, ("N", length)), 4000)
    assert sound.samples.shape == (1, length)
    assert said in str(sound.notice)
    assert not sound.samples[0, 4000:].any()


def test_what_is_not_known_is_asked_for(tone: Path) -> None:
    with pytest.raises(InputError, match="Give --rate 16000"):
        read_sound(tone, Wanted("x", F32, ("N", None)), None)
    with pytest.raises(InputError, match=r"takes no samples of sound, perhaps a spectrogram"):
        read_sound(tone, Wanted("x", F32, ("N", 1, 40, 40)), 16000)
    tone.write_bytes(b"no sound")
    with pytest.raises(InputError, match="not sound, or damaged"):
        read_sound(tone, Wanted("x", F32, ("N", None)), 16000)


def test_the_rate_of_a_model() -> None:
    assert rate_of({"Sample_Rate": "16000"}) == 16000
    assert rate_of({"author": "16000"}) is None
    assert is_rate(Wanted("sr", np.dtype("int64"), ()))
    assert not is_rate(Wanted("sr", F32, ()))
