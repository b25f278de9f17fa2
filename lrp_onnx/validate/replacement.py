"""What stands in for a replaced unit: the input blurred, its mean, zero, an id, or another input.

- blur: a Gaussian blur over the spatial axes, its σ a tenth of the shortest of them
- mean: of pictures, sounds and series the sample's own mean over its places, channel by channel; of
  features, which have no unit in common, the mean over all given samples
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lrp_onnx.arguments import shown
from lrp_onnx.errors import InputError
from lrp_onnx.graph.arrays import Array
from lrp_onnx.validate.batches import Feeds
from lrp_onnx.validate.units import holds_ids, is_picture, sides_of, spatial_axes

__all__ = ["KINDS", "Replacement", "replacement_of"]

KINDS = ("blur", "mean", "zero")
BLUR = 0.1

Replacement = str | int | Mapping[str, Array]
"""One of KINDS, the id of a token, or one sample that stands in."""


def replacement_of(
    samples: Sequence[Feeds], names: Sequence[str], batched: bool, wanted: Replacement | None
) -> tuple[list[dict[str, Array]], str]:
    """What replaces each sample's explained inputs, named `names`, and that in words.

    wanted: None takes blur for pictures, id 0 for tokens, mean for features where there are several
    samples, else zero. Raises InputError where it cannot be had.
    """
    made: list[dict[str, Array]] = [{} for _ in samples]
    words = []
    for name in names:
        own = [feeds[name] for feeds in samples]
        kind = _kind_of(own, batched) if wanted is None else wanted
        words.append(_in_words(kind))
        for sample, x in zip(made, own, strict=True):
            sample[name] = _made(kind, name, x, own, batched)
    return made, ", ".join(dict.fromkeys(words))


def _in_words(kind: Replacement) -> str:
    if isinstance(kind, Mapping):
        return "another input"
    return f"id {kind}" if isinstance(kind, int) else kind


def _kind_of(own: Sequence[Array], batched: bool) -> str | int:
    x = own[0]
    if holds_ids(x):
        return 0
    if is_picture(x, batched):
        return "blur"
    return "mean" if _has_features(x, batched) and len(own) > 1 else "zero"


def _has_features(x: Array, batched: bool) -> bool:
    """Whether each of its places is a feature of its own, with a unit of its own."""
    return len(spatial_axes(x, batched)) < 2 and all(n == 1 for n in sides_of(x, batched))


def _made(kind: Replacement, name: str, x: Array, own: Sequence[Array], batched: bool) -> Array:
    if isinstance(kind, Mapping):
        return _other(kind, name, x)
    if holds_ids(x):
        if not isinstance(kind, int):
            raise InputError(
                f"replacement {shown(kind)}: input {name!r} holds ids. Give the id of a token "
                "that says nothing, such as that of padding or of a mask."
            )
        return np.full_like(x, kind)
    if kind == "zero":
        return np.zeros_like(x)
    if kind == "mean":
        return _mean(name, x, own, batched)
    if kind == "blur":
        return _blurred(name, x, batched)
    raise InputError(
        f"replacement {shown(kind)}: input {name!r} holds no ids. Give one of "
        f"{', '.join(KINDS)}, or another input."
    )


def _other(replacements: Mapping[str, Array], name: str, x: Array) -> Array:
    if name not in replacements:
        raise InputError(f"replacement: none is given for input {name!r}. Give one for each input.")
    other = np.asarray(replacements[name])
    if other.shape != x.shape or other.dtype != x.dtype:
        raise InputError(
            f"replacement: for input {name!r} it is {other.dtype} {list(other.shape)}, and the "
            f"input is {x.dtype} {list(x.shape)}. Give one of that shape and type."
        )
    return other


def _mean(name: str, x: Array, own: Sequence[Array], batched: bool) -> Array:
    if not _has_features(x, batched):
        axes = spatial_axes(x, batched)
        return _like(x, np.broadcast_to(x.mean(axes, np.float64, keepdims=True), x.shape))
    if len(own) < 2 or any(other.shape != x.shape for other in own):
        raise InputError(
            f"replacement 'mean': the mean of each feature of input {name!r} needs several samples "
            "of one size. Give more, or choose zero."
        )
    return _like(x, np.stack(own).mean(0, np.float64))


def _blurred(name: str, x: Array, batched: bool) -> Array:
    from scipy.ndimage import gaussian_filter  # not needed to explain

    axes = spatial_axes(x, batched)
    if not axes or _has_features(x, batched):
        raise InputError(
            f"replacement 'blur': input {name!r} holds features, between which nothing can be "
            "blurred. Choose mean or zero."
        )
    sigma = BLUR * min(x.shape[k] for k in axes)
    return _like(x, gaussian_filter(x.astype(np.float64), sigma, axes=axes, mode="nearest"))


def _like(x: Array, values: Array) -> Array:
    rounded = np.rint(values) if x.dtype.kind in "iu" else values
    array: Array = rounded.astype(x.dtype)
    return array
