"""Sounds for the real models: a synthetic voice and a tone."""

from __future__ import annotations

import math

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from obtain import model

__all__ = ["tone", "voice", "voice_frame", "voice_frames"]

Array = NDArray[np.float32]

RATE = 16000
FRAME, CONTEXT = 512, 64
FRAMES = 20
VOWELS = ((730, 1090, 2440), (270, 2290, 3010), (570, 840, 2410), (530, 1840, 2480))
"""Formants in Hz."""


def voice(samples: int) -> Array:
    """Glottal pulses through three formant resonators, four vowels in turn, 16 kHz."""
    t = np.arange(samples) / RATE
    pitch = 120 + 25 * np.sin(2 * np.pi * 1.3 * t) + 10 * np.sin(2 * np.pi * 5 * t)
    pulses = np.diff(np.floor(np.cumsum(pitch) / RATE), prepend=0.0)
    pulses += 0.02 * np.random.default_rng(0).standard_normal(samples)
    out, length = np.zeros(samples), int(0.18 * RATE)
    for k, start in enumerate(range(0, samples, length)):
        vowel = pulses[start : start + length]
        for formant, width in zip(VOWELS[k % 4], (80, 100, 140), strict=True):
            vowel = resonated(vowel, formant, width)
        out[start : start + length] = vowel * np.hanning(len(vowel)) ** 0.3
    return (out * 0.5).astype(np.float32)


def resonated(x: NDArray[np.float64], formant: float, width: float) -> NDArray[np.float64]:
    """Pass x through one resonator; the largest sample becomes 1."""
    r = math.exp(-math.pi * width / RATE)
    a, b = 2 * r * math.cos(2 * math.pi * formant / RATE), -r * r
    y = [0.0, 0.0]
    for value in x:
        y.append(value + a * y[-1] + b * y[-2])
    result = np.array(y[2:])
    return np.asarray(result / max(1e-9, float(np.abs(result).max())))


def frames() -> Array:
    """Frames of 576 samples, the first 64 of each repeating the end of the one before, [20,576]."""
    sound = np.concatenate([np.zeros(CONTEXT, np.float32), voice(FRAME * FRAMES)])
    starts = range(0, FRAME * FRAMES, FRAME)
    return np.stack([sound[k : k + CONTEXT + FRAME] for k in starts])


def voice_frames() -> dict[str, Array]:
    """Twenty frames in a row, the state at rest."""
    rest = np.zeros((1, 1, 128), np.float32)
    return {"input": frames(), "h": rest, "c": rest}


def voice_frame() -> dict[str, NDArray[np.generic]]:
    """The last of the frames, with the state that the network has after those before it."""
    session = onnxruntime.InferenceSession(
        str(model("silero_vad_if")), providers=["CPUExecutionProvider"]
    )
    rate, state = np.array(RATE), np.zeros((2, 1, 128), np.float32)
    *before, last = frames()[:, None]
    for frame in before:
        _, state = session.run(None, {"input": frame, "state": state, "sr": rate})
    return {"input": last, "state": state, "sr": rate}


def tone() -> Array:
    """The note A4 and three harmonics, fading, at 22050 Hz: [1,43844,1]."""
    t = np.arange(43844) / 22050
    sound = sum(np.sin(2 * np.pi * 440 * k * t) / k for k in range(1, 5)) * 0.3 * np.exp(-t)
    return np.asarray(sound, np.float32)[None, :, None]
