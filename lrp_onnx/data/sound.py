"""Sound as a model's input: .wav, .flac and .ogg, mixed to its channels and at its rate."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from lrp_onnx.data.layout import describe_shape
from lrp_onnx.errors import InputError
from lrp_onnx.graph.arrays import Array, Wanted
from lrp_onnx.graph.source_file import ordinary

__all__ = [
    "SUFFIXES",
    "Sound",
    "is_rate",
    "is_sound",
    "rate_of",
    "read_sound",
    "resampled",
    "unknown_rate",
]

SUFFIXES = (".wav", ".flac", ".ogg")
MOST_CHANNELS = 8
"""Of sound: an input of more has the bands of a spectrogram."""
RATES = ("sample_rate", "sampling_rate", "samplerate", "sr")
"""What models call the samples a second that they want."""
LONGEST = 10_000
MOST_RATE = 1_000_000
"""Samples a second up to which a file is believed: what resamples grows with them."""


@dataclass(frozen=True)
class Sound:
    """A sound as a model takes it."""

    samples: Array
    rate: int
    """Samples a second."""
    notice: str | None = None
    """What was cut off or added, in words."""


def is_sound(path: str | os.PathLike[str]) -> bool:
    """Whether `path` is read as sound."""
    return Path(path).suffix.lower() in SUFFIXES


def is_rate(wanted: Wanted) -> bool:
    """Whether an input takes the number of samples a second."""
    return wanted.dtype.kind in "iu" and wanted.name.casefold() in RATES


def rate_of(metadata: Mapping[str, str]) -> int | None:
    """The rate that a model's metadata name."""
    values = {key.casefold(): value for key, value in metadata.items()}
    named = next((values[key] for key in RATES if key in values), "")
    return int(float(named)) or None if re.fullmatch(r"[0-9]{1,9}(\.[0-9]*)?", named) else None


def read_sound(path: str | os.PathLike[str], wanted: Wanted, rate: int | None) -> Sound:
    """The sound for an input of shape [N, samples], [N, channels, samples], [N, samples, channels]
    or [samples], at a rate that is resampled to.

    Raises InputError where the file cannot be read, soundfile is not installed, the rate is not
    known or the input takes no sound.
    """
    shape, where = wanted.shape, f"the model's input '{wanted.name}' {describe_shape(wanted.shape)}"
    channels, length, last = _axes(shape, where, str(path))
    if rate is None:
        raise unknown_rate(str(path), where)
    samples, notice = resampled(str(path), channels, rate), None
    if length is not None and len(samples) != length:
        whole, taken = len(samples) / rate, length / rate
        part = f"the first {taken:.3g} s of {whole:.3g} s" if whole > taken else "silence behind it"
        notice = f"'{path}': the model takes {taken:.3g} s, {part}"
        samples = np.pad(samples[:length], ((0, max(0, length - len(samples))), (0, 0)))
    array = samples.astype(wanted.dtype)
    array = (array if last else array.T) if len(shape) == 3 else array[:, 0]
    return Sound(array[None] if len(shape) > 1 else array, rate, notice)


def resampled(path: str, channels: int, rate: int) -> Array:
    """The sound of a file, (samples, channels), at a rate. Raises InputError as `read_sound`."""
    import scipy.signal

    own, samples = _read(Path(path))
    if samples.shape[1] != channels:
        samples = np.repeat(samples.mean(axis=1, keepdims=True), channels, axis=1)
    if own == rate:
        return samples
    ratio = _ratio(own, rate, path)
    return np.asarray(
        scipy.signal.resample_poly(samples, ratio.numerator, ratio.denominator, axis=0)
    )


def _ratio(own: int, rate: int, path: str) -> Fraction:
    """The wanted rate to that of the file; of rates that share no divisor one that is a
    few millionths off, since the filter in between is as long as these numbers are large.
    """
    ratio = Fraction(rate, own)
    ratio = ratio if max(ratio.as_integer_ratio()) <= LONGEST else ratio.limit_denominator(LONGEST)
    if not ratio:
        raise InputError(
            f"'{path}': {own} samples a second cannot be resampled to {rate}. Give a usual --rate."
        )
    return ratio


def unknown_rate(path: str, where: str) -> InputError:
    """What is said where nothing tells the rate. where: what wants the sound, in words."""
    return InputError(
        f"'{path}': the model does not say at which rate {where} takes sound. Give --rate 16000 "
        "(usual for speech), or the samples a second that it was trained with."
    )


def _axes(shape: tuple[object, ...], where: str, path: str) -> tuple[int, int | None, bool]:
    """How many channels and samples an input takes, and whether channels come last."""
    sizes = [size if isinstance(size, int) and size > 0 else None for size in shape]
    if len(sizes) in (1, 2):
        return 1, sizes[-1], False
    _, two, three = sizes if len(sizes) == 3 else (None, MOST_CHANNELS + 1, None)
    last = three is not None and three <= 2
    channels = (three if last else two) or 1
    if channels > MOST_CHANNELS:
        raise InputError(
            f"'{path}': {where} takes no samples of sound, perhaps a spectrogram. Put the model's "
            "preprocessor_config.json beside it, by which transformers computes it; or compute it "
            "as the model's authors do, and give it as .npy."
        )
    return channels, two if last else three, last


def _read(path: Path) -> tuple[int, Array]:
    """Samples a second, and (samples, channels)."""
    try:
        import soundfile
    except ModuleNotFoundError as error:
        raise InputError(
            f"'{path}': sound is read by soundfile, which is not installed. Install it: "
            "pip install 'lrp-onnx[sound]'."
        ) from error
    try:
        samples, rate = soundfile.read(ordinary(path), dtype="float32", always_2d=True)
    except (OSError, ValueError, TypeError, MemoryError, soundfile.LibsndfileError) as error:
        fact = getattr(error, "strerror", None) or "not sound, or damaged"
        raise InputError(f"'{path}': {fact}. Give a .wav file.") from error
    if not len(samples):
        raise InputError(f"'{path}': holds no sound. Give a file that does.")
    if not 0 < rate <= MOST_RATE:
        raise InputError(
            f"'{path}': damaged, it claims {rate} samples a second. Give a file that was recorded "
            f"at a rate up to {MOST_RATE}."
        )
    return int(rate), np.asarray(samples)
