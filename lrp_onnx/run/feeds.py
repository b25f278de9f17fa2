"""What is fed to a model: arrays, or values on a device, of the name, dtype and shape it wants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from lrp_onnx.arguments import as_array
from lrp_onnx.data.layout import describe_shape
from lrp_onnx.errors import InputError
from lrp_onnx.graph.arrays import Array, Dimension, Wanted
from lrp_onnx.graph.session import dtype_of, is_device_value, shape_of

__all__ = ["check", "check_finite", "first_place", "fitted", "listing"]


def fitted(inputs: Sequence[Wanted], feeds: Mapping[str, Any]) -> dict[str, Array]:
    """The feeds as arrays, if they are what the model wants; InputError says what it wants
    otherwise.
    """
    arrays = {name: as_array(value, f"input {name!r}") for name, value in feeds.items()}
    check(inputs, arrays)
    return {wanted.name: arrays[wanted.name] for wanted in inputs}


def check(inputs: Sequence[Wanted], feeds: Mapping[str, Any]) -> None:
    """Raise InputError where arrays, or values on a device, are not what the model wants."""
    names = [wanted.name for wanted in inputs]
    for name in feeds:
        if name not in names:
            raise InputError(
                f"input {name!r}: the model has no such input. It wants {listing(inputs)}."
            )
    sizes: dict[str, tuple[int, str]] = {}
    for wanted in inputs:
        if wanted.name not in feeds:
            raise InputError(
                f"input {wanted.name!r} is missing. The model wants {listing(inputs)}."
            )
        shape = _check_one(feeds[wanted.name], wanted)
        _check_sizes(shape, wanted, sizes)


def _check_one(value: Any, wanted: Wanted) -> tuple[int, ...]:
    """The shape of a value that has the dtype and the sizes that are wanted."""
    shape = shape_of(value)
    dtype = dtype_of(value.data_type()) if is_device_value(value) else value.dtype
    wants = tuple(wanted.shape)
    got = f"{dtype} {describe_shape(shape)}"
    want = f"the model wants {wanted.dtype} {describe_shape(wants)}"
    if dtype != wanted.dtype and not (wanted.dtype == object and dtype.kind in "US"):
        raise InputError(
            f"input {wanted.name!r} is {got}, but {want}. Convert it with "
            f"array.astype({str(wanted.dtype)!r})."
        )
    if len(shape) != len(wants):
        advice = _missing_axes(shape, wants)
        raise InputError(f"input {wanted.name!r} is {got}, but {want}: {len(wants)} axes.{advice}")
    for axis, (size, wanted_size) in enumerate(zip(shape, wants, strict=True)):
        if isinstance(wanted_size, int) and size != wanted_size:
            raise InputError(
                f"input {wanted.name!r} is {got}, but {want}: {wanted_size} along axis {axis}."
            )
    if 0 in shape:
        raise InputError(f"input {wanted.name!r} is {got}: it is empty. Give at least one sample.")
    return shape


def check_finite(feeds: Mapping[str, Array], relevance: Mapping[str, Array]) -> None:
    """Raise InputError where relevance is not finite because an input is not; a model that
    tolerates such an input is fine.
    """
    if all(np.isfinite(r).all() for r in relevance.values()):
        return
    for name, array in feeds.items():
        if np.asarray(array).dtype.kind == "f" and not np.isfinite(array).all():
            raise InputError(
                f"input {name!r} holds {first_place(np.asarray(array))}, and its relevance is not "
                "finite either. Replace such values by numbers."
            )


def first_place(x: Array) -> str:
    """The first NaN or infinity and its place: `NaN at [0, 2, 5] and 3 such values more`."""
    places = np.argwhere(~np.isfinite(x))
    word = "NaN" if np.isnan(x[tuple(places[0])]) else "infinity"
    more = len(places) - 1
    others = f" and {more} such value{'s' * (more > 1)} more" if more else ""
    return f"{word} at {places[0].tolist()}{others}"


def _missing_axes(shape: Sequence[int], wants: Sequence[Dimension]) -> str:
    """Which axes of size 1 bring an array to the rank and sizes that are wanted, in words."""
    alone = [
        k for k, size in enumerate(wants) if size == 1 or (k == 0 and not isinstance(size, int))
    ]
    for new in combinations(alone, max(0, len(wants) - len(shape))):
        sizes = [size for k, size in enumerate(wants) if k not in new]
        if new and all(not isinstance(w, int) or w == n for w, n in zip(sizes, shape, strict=True)):
            index = ", ".join("None" if k in new else ":" for k in range(max(new) + 1))
            what = "a batch axis" if new == (0,) else "axes of size 1" if new[1:] else "an axis"
            return f" Add {what} with array[{index}]."
    return ""


def _check_sizes(shape: Sequence[int], wanted: Wanted, sizes: dict[str, tuple[int, str]]) -> None:
    """Axes of the same name have the same size in every input."""
    for size, name in zip(shape, wanted.shape, strict=True):
        if not isinstance(name, str):
            continue
        known, where = sizes.setdefault(name, (size, wanted.name))
        if known != size:
            raise InputError(
                f"input {wanted.name!r} has {size} along {name!r}, but {where!r} has {known}. Give "
                "both the same size."
            )


def listing(inputs: Sequence[Wanted]) -> str:
    """The inputs in words."""
    return ", ".join(f"{w.name!r} {w.dtype} {describe_shape(w.shape)}" for w in inputs)
