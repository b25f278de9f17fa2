"""From a picture's pixels to a model's input, and back.

A pixel p (0 to 255) becomes x = (scale·p − mean) / std, per channel in the order the model takes
them. A preset is one such set of numbers; a user's own is a TOML file with the same keys:

    scale = 1.0                      # default 1/255
    mean = [104, 117, 123]           # one number, or one per channel of the model; default 0
    std = 1.0                        # likewise; default 1
    order = "BGR"                    # default "RGB"
    fit = "letterbox"                # default "resize"; or "center-crop" (also "centre-crop")
    crop = 0.875                     # center-crop keeps this part of the side
    fill = [114, 114, 114]           # letterbox: pixel value(s), red first; default 0
    size = [320, 480]                # height, width (or one number) where the model leaves it open
    interpolation = "bilinear"       # or nearest, box, bicubic, lanczos
    layout = "NHWC"                  # where the model's input shape does not show it
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrp_onnx.errors import InputError
from lrp_onnx.graph.source_file import text_of
from lrp_onnx.graph.toml import table_of

__all__ = [
    "PRESETS",
    "Preprocess",
    "bounds",
    "load_preprocess",
    "normalize_pixels",
    "restore_pixels",
]

FIXED_CHOICES = {
    "order": ("RGB", "BGR"),
    "fit": ("resize", "letterbox", "center-crop"),
    "interpolation": ("nearest", "box", "bilinear", "bicubic", "lanczos"),
    "layout": ("NCHW", "NHWC"),
}


@dataclass(frozen=True)
class Preprocess:
    """How a picture becomes a model's input; see the module for each field.

    `mean`, `std` and `fill` hold one number or one per channel.
    """

    name: str
    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    order: str = "RGB"
    fit: str = "resize"
    crop: float = 0.875
    fill: tuple[float, ...] = (0.0,)
    size: tuple[int, int] | None = None
    interpolation: str = "bilinear"
    layout: str | None = None

    def __str__(self) -> str:
        """Name and numbers, as they are kept in a picture's metadata."""
        numbers = f"scale {self.scale:.6g}, mean {_listed(self.mean)}, std {_listed(self.std)}"
        return f"{self.name} ({numbers}, {self.order}, {self.fit}, {self.interpolation})"


PRESETS = {
    "imagenet": Preprocess("imagenet", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    "inception": Preprocess("inception", scale=1 / 127.5, mean=(1.0,)),
    "unit": Preprocess("unit"),
    "byte": Preprocess("byte", scale=1.0),
}
KEYS = [field.name for field in fields(Preprocess) if field.name != "name"]


def load_preprocess(name: str | os.PathLike[str]) -> Preprocess:
    """A preset by its name, or the TOML file at that path.

    Raises InputError naming file, key and remedy.
    """
    if str(name) in PRESETS:
        return PRESETS[str(name)]
    path = Path(name)
    if path.suffix != ".toml":
        raise InputError(f"preprocess '{name}': unknown. {_choices()}")
    try:
        table = table_of(text_of(path))
    except OSError as error:
        raise InputError(f"preprocess file '{path}': {error.strerror}. {_choices()}") from error
    except ValueError as error:
        raise InputError(f"preprocess file '{path}': not TOML: {error}. Mend that line.") from error
    return _from_table(table, path)


def normalize_pixels(pixels: NDArray[Any], preprocess: Preprocess) -> NDArray[np.float64]:
    """(H, W, C) pixels, 0 to 255, red first  ->  (H, W, C) in the model's unit and channel order.

    Raises InputError where `mean` or `std` has another number of channels.
    """
    mean, std = _per_channel(preprocess, pixels.shape[-1])
    ordered = pixels[..., ::-1] if preprocess.order == "BGR" else pixels
    values: NDArray[np.float64] = (ordered.astype(np.float64) * preprocess.scale - mean) / std
    return values


def restore_pixels(values: NDArray[Any], preprocess: Preprocess) -> NDArray[np.uint8]:
    """The inverse of `normalize_pixels`: the picture as the model saw it, in whole pixel values."""
    mean, std = _per_channel(preprocess, values.shape[-1])
    pixels = (values.astype(np.float64) * std + mean) / preprocess.scale
    ordered = pixels[..., ::-1] if preprocess.order == "BGR" else pixels
    whole: NDArray[np.uint8] = np.clip(np.rint(ordered), 0, 255).astype(np.uint8)
    return whole


def bounds(preprocess: Preprocess) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The smallest and largest value of each channel of the model's input: zbox's low and high.

    One number each where all channels share it.
    """
    count = max(len(preprocess.mean), len(preprocess.std))
    mean, std = _per_channel(preprocess, count)
    ends = np.array([0.0 - mean, 255 * preprocess.scale - mean]) / std
    return tuple(ends.min(axis=0).tolist()), tuple(ends.max(axis=0).tolist())


def _per_channel(preprocess: Preprocess, channels: int) -> tuple[NDArray[Any], NDArray[Any]]:
    for key in ("mean", "std"):
        count = len(getattr(preprocess, key))
        if count not in (1, channels):
            raise InputError(
                f"preprocess '{preprocess.name}': '{key}' has {count} numbers, but the model takes "
                f"{channels} channel(s). Use unit, byte or inception, or a file with {channels}."
            )
    # broadcasting a single mean against several std, and the other way round, is meant
    return (
        np.broadcast_to(np.array(preprocess.mean), channels),
        np.broadcast_to(np.array(preprocess.std), channels),
    )


def _from_table(table: Mapping[str, Any], path: Path) -> Preprocess:
    unknown = sorted(set(table) - set(KEYS))
    if unknown:
        raise _key_error(path, unknown[0], "unknown key", f"Known keys: {', '.join(KEYS)}")
    preprocess = Preprocess(path.name, **{key: _read(path, key, table[key]) for key in table})
    ends = sorted((0.0, 255 * preprocess.scale))
    if not all(ends[0] <= mean <= ends[1] for mean in preprocess.mean):
        fact = f"{_listed(preprocess.mean)} lies outside the scaled pixels, {_listed(ends)}"
        remedy = "Write scale = 1 if mean and std are for pixels from 0 to 255"
        raise _key_error(path, "mean", fact, remedy)
    return preprocess


def _read(path: Path, key: str, value: Any) -> Any:
    if value == "centre-crop":
        value = "center-crop"
    if key in FIXED_CHOICES:
        if value not in FIXED_CHOICES[key]:
            raise _key_error(path, key, f"{value!r}", f"Give one of {_listed(FIXED_CHOICES[key])}")
        return value
    numbers = value if isinstance(value, list) else [value]
    if not numbers or not all(_is_number(number) for number in numbers):
        raise _key_error(path, key, f"{value!r} is no number", "Give a number, not text")
    checks = {"scale": _scalar, "crop": _crop, "size": _size, "std": _std}
    return checks[key](path, key, numbers) if key in checks else tuple(map(float, numbers))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and np.isfinite(value)


def _scalar(path: Path, key: str, numbers: list[float]) -> float:
    if len(numbers) != 1 or numbers[0] == 0:
        raise _key_error(path, key, f"{_listed(numbers)}", "Give one number that is not 0")
    return float(numbers[0])


def _crop(path: Path, key: str, numbers: list[float]) -> float:
    if len(numbers) != 1 or not 0 < numbers[0] <= 1:
        raise _key_error(path, key, f"{_listed(numbers)}", "Give one number above 0, at most 1")
    return float(numbers[0])


def _std(path: Path, key: str, numbers: list[float]) -> tuple[float, ...]:
    if min(numbers) <= 0:
        raise _key_error(path, key, f"{_listed(numbers)}", "Give numbers above 0")
    return tuple(map(float, numbers))


def _size(path: Path, key: str, numbers: list[float]) -> tuple[int, int]:
    whole = all(isinstance(number, int) and number > 0 for number in numbers)
    if not whole or len(numbers) > 2:
        remedy = "Give one whole number above 0, or two: height, width"
        raise _key_error(path, key, f"{_listed(numbers)}", remedy)
    return int(numbers[0]), int(numbers[-1])


def _key_error(path: Path, key: str, fact: str, remedy: str) -> InputError:
    return InputError(f"preprocess file '{path}', key '{key}': {fact}. {remedy}.")


def _choices() -> str:
    return f"Choose {', '.join(PRESETS)}, or give a .toml file with {', '.join(KEYS)}."


def _listed(values: Any) -> str:
    return ", ".join(f"{value:.6g}" if _is_number(value) else str(value) for value in values)
