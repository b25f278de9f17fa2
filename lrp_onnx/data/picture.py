"""Pictures from files: a JPEG or PNG becomes (H, W, 1) or (H, W, 3) pixels, 0 to 255, red first.

The camera's orientation is applied, transparent parts become white, 16-bit gray keeps its depth
(as fractions of a pixel value), palettes and CMYK become RGB.
"""

from __future__ import annotations

import os
import struct
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from lrp_onnx.data.preprocess import Preprocess
from lrp_onnx.errors import InputError
from lrp_onnx.graph.source_file import ordinary

__all__ = ["fit_picture", "open_picture", "picture_pixels"]

# Named, because Pillow's full list has formats that start other programs (EPS: ghostscript).
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
# What Pillow's decoders raise on damaged files.
DAMAGED = (
    *(OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError),
    *(MemoryError, TypeError, KeyError, IndexError, AssertionError, ArithmeticError),
)
RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
WIDE = ("I;16", "I;16L", "I;16B", "I;16N")


def open_picture(path: str | os.PathLike[str], channels: int) -> Image.Image:
    """Read a picture as gray (1 channel) or RGB (3), upright, on white.

    Raises InputError where the file is no picture, is damaged, or has no pixel range.
    """
    Image.init()  # else Pillow knows only some of FORMATS
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a damaged EXIF block: the pixels are still there
            with Image.open(ordinary(path), formats=FORMATS) as image:
                kind, count = image.format, getattr(image, "n_frames", 1)
                image.load()
                upright = ImageOps.exif_transpose(image)
    except FileNotFoundError as error:
        raise InputError(f"picture '{path}': there is no such file. Check the path.") from error
    except Image.DecompressionBombError as error:
        raise InputError(
            f"picture '{path}': it has more than {2 * (Image.MAX_IMAGE_PIXELS or 0)} pixels. Give "
            "it in a smaller size."
        ) from error
    except DAMAGED as error:
        fact = getattr(error, "strerror", None) or "not a picture, or a damaged one"
        raise InputError(f"picture '{path}': {fact}. Give a JPEG or PNG, or .npy/.npz.") from error
    if count > 1 and kind != "MPO":  # a camera's preview is the photo again
        raise InputError(
            f"picture '{path}': it holds {count} pictures. Save the one that is meant as a file of "
            "its own."
        )
    return _plain(upright, path, channels, kind)


def fit_picture(image: Image.Image, size: tuple[int, int], preprocess: Preprocess) -> Image.Image:
    """Bring a picture to (height, width) by resizing, letterboxing or cropping the center."""
    height, width = size
    resample = RESAMPLING[preprocess.interpolation]
    if image.size == (width, height) and preprocess.fit != "center-crop":
        return image
    if preprocess.fit == "resize":
        return image.resize((width, height), resample)
    ratios = width / image.width, height / image.height
    letterbox = preprocess.fit == "letterbox"
    ratio = min(ratios) if letterbox else max(ratios) / preprocess.crop
    scaled = image.resize(
        (max(1, round(image.width * ratio)), max(1, round(image.height * ratio))), resample
    )
    left, top = (width - scaled.width) // 2, (height - scaled.height) // 2
    if letterbox:
        canvas = Image.new(image.mode, (width, height), _fill(image.mode, preprocess))
        canvas.paste(scaled, (left, top))
        return canvas
    return scaled.crop((-left, -top, width - left, height - top))


def picture_pixels(image: Image.Image) -> NDArray[Any]:
    """(H, W, C) pixel values, 0 to 255."""
    array = np.asarray(image)
    return array[..., None] if array.ndim == 2 else array


def _plain(
    image: Image.Image, path: str | os.PathLike[str], channels: int, kind: str | None
) -> Image.Image:
    # before Pillow 11 a 16-bit PNG opened as 32-bit integers
    if image.mode in WIDE or (image.mode == "I" and kind == "PNG"):
        return _sixteen_bit(image, channels)
    if image.mode in ("I", "F"):
        fact = f"its pixels ({image.mode}) have no fixed range"
        raise InputError(f"picture '{path}': {fact}. Give the model's input as .npy.")
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        image = _on_white(image)
    return image.convert("L" if channels == 1 else "RGB")


def _sixteen_bit(image: Image.Image, channels: int) -> Image.Image:
    values = np.asarray(image).astype(np.float32) / 257
    if channels == 1:
        return Image.fromarray(values)
    return Image.fromarray(np.rint(values).astype(np.uint8)).convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    colored = image.convert("RGBA")
    white = Image.new("RGBA", colored.size, "white")
    return Image.alpha_composite(white, colored)


def _fill(mode: str, preprocess: Preprocess) -> Any:
    fill = preprocess.fill
    if mode == "RGB":
        if len(fill) not in (1, 3):
            raise InputError(
                f"preprocess '{preprocess.name}': 'fill' has {len(fill)} numbers. Give 1 or 3."
            )
        return tuple(round(value) for value in (fill if len(fill) == 3 else fill * 3))
    gray = sum(fill) / len(fill)
    return gray if mode == "F" else round(gray)
