"""A model's input from a file: a picture, or an array that NumPy wrote."""

from __future__ import annotations

import os
import tokenize
import zipfile
import zlib
from collections.abc import Sequence
from itertools import permutations
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lrp_onnx.data.layout import batched_axes, describe_shape
from lrp_onnx.data.picture import fit_picture, open_picture, picture_pixels
from lrp_onnx.data.preprocess import PRESETS, Preprocess, bounds, normalize_pixels
from lrp_onnx.errors import InputError
from lrp_onnx.graph.arrays import Dimension
from lrp_onnx.graph.source_file import ordinary

__all__ = [
    "DAMAGED_ARRAY",
    "PreprocessAsked",
    "array_names",
    "check_claims",
    "damaged_array",
    "fit_array",
    "is_array_file",
    "load_input",
]

ARRAY_SUFFIXES = (".npy", ".npz")


class PreprocessAsked(InputError):
    """How the model wants its pictures is not known; the message asks for it."""


def is_array_file(path: str | os.PathLike[str]) -> bool:
    """Whether `path` is read as an array (.npy, .npz) and not as a picture."""
    return Path(path).suffix.lower() in ARRAY_SUFFIXES


def array_names(path: str | os.PathLike[str]) -> list[str]:
    """The names of the arrays that an .npz file holds; none of another file or a damaged one, which
    `load_input` says.
    """
    if Path(path).suffix.lower() != ".npz" or not (
        os.path.isfile(path) and zipfile.is_zipfile(path)
    ):
        return []
    with zipfile.ZipFile(path) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist()]


def load_input(
    path: str | os.PathLike[str],
    shape: Sequence[Dimension],
    dtype: np.dtype[Any],
    preprocess: Preprocess | None = None,
    *,
    name: str = "input",
) -> NDArray[Any]:
    """The model's input `name` of `shape` and `dtype`, with its batch axis, from a file.

    A picture is fitted to the model's size; where that is symbolic, to the preprocess's size, else
    it keeps its own. A uint8 input takes pictures as they are. Arrays are taken as they are.
    Raises InputError where the file cannot be read or is not what the model takes.
    """
    if is_array_file(path):
        return fit_array(_read_array(Path(path), name), shape, dtype, name=name, place=str(path))
    shape = _known(shape)
    axes = _picture_axes(name, shape, dtype, preprocess)
    preprocess = _required(path, name, dtype, preprocess)
    channels = _channels(name, shape, axes)
    image = open_picture(path, channels)
    size = _size(name, shape, axes, preprocess, (image.height, image.width))
    try:
        return _as_input(image, size, axes, dtype, preprocess)
    except MemoryError as error:
        raise InputError(
            f"picture '{path}': {size[0]} x {size[1]} pixels need more memory than there is. Give "
            "a smaller size in --preprocess FILE.toml."
        ) from error


def _as_input(
    image: Image.Image, size: tuple[int, int], axes: str, dtype: np.dtype[Any],
    preprocess: Preprocess,
) -> NDArray[Any]:  # fmt: skip
    """Its pixels, fitted to a size, as the model takes them."""
    values = normalize_pixels(picture_pixels(fit_picture(image, size, preprocess)), preprocess)
    if "C" not in axes:
        values = values[..., 0]
    elif axes.endswith("CHW"):
        values = values.transpose(2, 0, 1)
    values = values.reshape((1,) * axes.startswith("N") + values.shape)
    return (np.rint(values) if dtype.kind in "iu" else values).astype(dtype)


def fit_array(
    array: NDArray[Any],
    shape: Sequence[Dimension],
    dtype: np.dtype[Any],
    *,
    name: str,
    place: str = "array",
) -> NDArray[Any]:
    """Bring an array to a model's input: a missing batch axis, a float or an int of another width.

    Raises InputError where rank, a fixed size or the kind of number is another.
    """
    shape = _known(shape)
    wants = f"the model's input '{name}' is {dtype} {describe_shape(shape)}"
    if array.ndim == len(shape) - 1:
        array = array[None]
    fits = array.ndim == len(shape) and all(
        not isinstance(size, int) or size == actual
        for size, actual in zip(shape, array.shape, strict=True)
    )
    if not fits:
        fact = f"shape {describe_shape(array.shape)}, but {wants}"
        order = _order(array.shape, shape)
        remedy = f"Move its axes: numpy.transpose(array, {order})" if order else "Give that shape"
        raise InputError(f"'{place}': {fact}. {remedy}.")
    return _cast(array, dtype, f"'{place}': {array.dtype} values, but {wants}")


def _order(own: Sequence[int], shape: Sequence[Dimension]) -> tuple[int, ...] | None:
    """The first order of the axes in which the sizes fit; None where there is none."""
    if not 2 < len(own) == len(shape) <= 5 or not all(isinstance(n, int) for n in shape[1:]):
        return None
    orders = ((0, *rest) for rest in permutations(range(1, len(own))))
    return next((o for o in orders if [own[k] for k in o[1:]] == [*shape[1:]]), None)


def _cast(array: NDArray[Any], dtype: np.dtype[Any], problem: str) -> NDArray[Any]:
    """Only where it means the same: raw bytes for a float input are more likely a mistake."""
    if array.dtype == dtype:
        return array
    if dtype.kind == "O" and array.dtype.kind in "US":
        return array.astype(object)
    floats = dtype.kind not in "iubOSU" and array.dtype.kind == "f"
    if not floats and not (dtype.kind in "iu" and array.dtype.kind in "iu"):
        raise InputError(f"{problem}. Convert it (numpy: array.astype('{dtype}')).")
    with np.errstate(over="ignore"):
        cast = array.astype(dtype)
    same = np.isfinite(cast) == np.isfinite(array) if floats else cast == array
    if not np.all(same):
        raise InputError(f"{problem} and cannot hold some of them. Scale or correct them.")
    return cast


def _read_array(path: Path, name: str) -> NDArray[Any]:
    try:
        with ordinary(path).open("rb") as file:
            if file.read(2) == b"PK":
                with zipfile.ZipFile(file) as archive:
                    return _of_archive(path, archive, name)
            file.seek(0)
            _check_claim(path, file, path.stat().st_size)
            file.seek(0)
            return np.lib.format.read_array(file, allow_pickle=False)
    except MemoryError as error:
        raise InputError(
            f"'{path}': needs more memory than there is. Give a smaller array."
        ) from error
    except DAMAGED_ARRAY as error:
        raise InputError(damaged_array(str(path), error)) from error


def damaged_array(path: str, error: Exception) -> str:
    """What is said of an array file that cannot be read."""
    fact = getattr(error, "strerror", None) or "not an array file, or a damaged one"
    absent = isinstance(error, FileNotFoundError)
    remedy = "Check the path" if absent else "Write it with numpy.save or numpy.savez"
    return f"'{path}': {fact}. {remedy}."


def check_claims(path: Path) -> None:
    """Raise InputError where an array of a file claims more than is there, and what reading a
    damaged file raises.
    """
    with ordinary(path).open("rb") as file:
        if file.read(2) != b"PK":
            file.seek(0)
            _check_claim(path, file, path.stat().st_size)
            return
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                if member.filename.endswith(ARRAY):
                    with archive.open(member) as stream:
                        _check_claim(path, stream, member.file_size)


def _of_archive(path: Path, archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    """The array of that name, or the only one; nothing else is read."""
    members = {m.filename.removesuffix(ARRAY): m for m in archive.infolist()}
    held = [key for key, member in members.items() if member.filename.endswith(ARRAY)]
    if name not in held and len(held) != 1:
        listing = ", ".join(f"'{key}'" for key in held[:MOST_NAMED]) or "nothing"
        more = f" and {len(held) - MOST_NAMED} more" if len(held) > MOST_NAMED else ""
        raise InputError(
            f"'{path}': no array '{name}'; it holds {listing}{more}. Name one as the input."
        )
    member = members[name if name in held else held[0]]
    with archive.open(member) as stream:
        _check_claim(path, stream, member.file_size)
    with archive.open(member) as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)


ARRAY = ".npy"
MOST_NAMED = 16


DAMAGED_ARRAY = (
    *(OSError, ValueError, EOFError, SyntaxError, TypeError, KeyError, OverflowError),
    *(RecursionError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error),
    tokenize.TokenError,  # of a header that ends too early
)
"""What NumPy and zipfile raise on damaged files, and on encrypted ones."""


def _check_claim(path: Path, stream: IO[bytes], size: int) -> None:
    """Raise InputError where an array's header claims more than is there, which would be allocated;
    what has no such header is left to NumPy.
    """
    try:
        version = np.lib.format.read_magic(stream)
        read = {(1, 0): np.lib.format.read_array_header_1_0}
        shape, _, dtype = read.get(version, np.lib.format.read_array_header_2_0)(stream)
    except ValueError:
        return
    claim = prod(shape) * dtype.itemsize
    if claim > size and not dtype.hasobject:
        raise InputError(
            f"'{path}': its header claims {claim} bytes and the file holds {size}. Write it again "
            "with numpy.save."
        )


def _known(shape: Sequence[Dimension]) -> list[Dimension]:
    """Some exporters write -1 for a size that is open."""
    return [None if isinstance(size, int) and size < 0 else size for size in shape]


def _picture_axes(
    name: str, shape: Sequence[Dimension], dtype: np.dtype[Any], preprocess: Preprocess | None
) -> str:
    wants = f"the model's input '{name}' is {dtype} {describe_shape(shape)}"
    if dtype.kind in "iu" and len(shape) <= 2:
        raise InputError(f"{wants}: token ids or the like, not a picture. Give it as .npy.")
    if dtype.kind in "bOSU" or len(shape) not in (3, 4):
        raise InputError(f"{wants}: not a picture. Give it as .npy.")
    if len(shape) == 4:
        if isinstance(shape[0], int) and shape[0] != 1:
            raise InputError(f"{wants}: a fixed batch. Stack {shape[0]} pictures in an .npy file.")
        if preprocess is not None and preprocess.layout is not None:
            return preprocess.layout
        if not {1, 3} & {shape[1], shape[3]}:
            fact = "neither axis 1 nor axis 3 has 1 or 3 channels"
            remedy = 'Give --preprocess FILE.toml with layout = "NCHW" or "NHWC", or a .npy file'
            raise InputError(f"{wants}: {fact}. {remedy}.")
        return batched_axes(shape)
    if shape[0] in (1, 3):
        return "CHW"
    if shape[2] in (1, 3):
        return "HWC"
    if isinstance(shape[0], int):
        raise InputError(f"{wants}: no axis of 1 or 3 channels. Give it as .npy.")
    return "NHW"


def _required(
    path: str | os.PathLike[str], name: str, dtype: np.dtype[Any], preprocess: Preprocess | None
) -> Preprocess:
    if preprocess is None and dtype == np.uint8:
        return PRESETS["byte"]
    if preprocess is None:
        raise PreprocessAsked(
            f"picture '{path}': how the model's input '{name}' was normalized is not in the model. "
            "Give --preprocess imagenet, as most networks for photos were trained; else inception "
            "(-1 to 1), unit (0 to 1), byte (0 to 255) or FILE.toml."
        )
    if dtype.kind in "iu":
        _check_integers(name, dtype, preprocess)
    return preprocess


def _check_integers(name: str, dtype: np.dtype[Any], preprocess: Preprocess) -> None:
    low, high = bounds(preprocess)
    limits = np.iinfo(dtype)
    whole = all(abs(top - bottom - 255) < 1e-6 for bottom, top in zip(low, high, strict=True))
    if not whole or min(low) < limits.min or max(high) > limits.max:
        fact = f"takes {dtype}, which cannot hold what '{preprocess.name}' makes of a pixel"
        raise InputError(f"input '{name}' {fact}. Use --preprocess byte, or a file with scale 1.")


def _channels(name: str, shape: Sequence[Dimension], axes: str) -> int:
    if "C" not in axes:
        return 1
    channels = shape[axes.index("C")]
    if isinstance(channels, int) and channels not in (1, 3):
        raise InputError(
            f"input '{name}' takes {channels} channels, pictures have 1 or 3: use .npy."
        )
    return channels if isinstance(channels, int) else 3


def _size(
    name: str,
    shape: Sequence[Dimension],
    axes: str,
    preprocess: Preprocess,
    own: tuple[int, int],
) -> tuple[int, int]:
    """The model's height and width; a single open one follows the picture's proportions."""
    model = shape[axes.index("H")], shape[axes.index("W")]
    sizes = preprocess.size or model
    for size, wanted in zip(sizes, model, strict=True):
        if isinstance(wanted, int) and size != wanted:
            raise InputError(
                f"preprocess '{preprocess.name}': size {preprocess.size}, but the model's input "
                f"'{name}' is {describe_shape(shape)}. Leave 'size' out: the model fixes it."
            )
    height, width = sizes
    if isinstance(height, int) and isinstance(width, int):
        return height, width
    if isinstance(height, int):
        return height, max(1, round(own[1] * height / own[0]))
    if isinstance(width, int):
        return max(1, round(own[0] * width / own[1])), width
    return own
