"""Float64 forwards of operators that reduce, pool, sample or transform; importing it adds them to
those of `reference`.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from reference import STAND_INS, Array, windows


def _global_norm(x: Array, p: int = 2) -> Array:
    """GlobalLpPool-2, which the reference evaluator does not have."""
    axes = tuple(range(2, x.ndim))
    return (np.abs(x) ** p).sum(axis=axes, keepdims=True) ** (1 / p)


def _norm_pool(x: Array, p: int = 2, **attributes: object) -> Array:
    """LpPool-18; the reference evaluator gets the windows wrong that ceil_mode cuts."""
    taps = windows(x, 0.0, **attributes)
    return (np.abs(taps) ** p).sum(axis=tuple(range(x.ndim, taps.ndim))) ** (1 / p)


def _kernel(mode: bytes, d: Array) -> Array:
    """The weight of an element at distance d."""
    d = np.abs(d)
    if mode == b"linear":
        return np.maximum(1 - d, 0)
    near, far = 1.25 * d**3 - 2.25 * d**2 + 1, -0.75 * (d**3 - 5 * d**2 + 8 * d - 4)
    return np.where(d <= 1, near, np.where(d < 2, far, 0))


def _sampled(
    x: Array, grid: Array, align_corners: int = 0, mode: bytes = b"linear",
    padding_mode: bytes = b"zeros",
) -> Array:  # fmt: skip
    """GridSample-20; the reference evaluator rounds to float32."""
    n, margin = x.ndim - 2, 40
    edges = {b"zeros": "edge", b"border": "edge",
             b"reflection": "reflect" if align_corners else "symmetric"}  # fmt: skip
    mode = {b"bilinear": b"linear", b"bicubic": b"cubic"}.get(mode, mode)
    y = np.zeros((*x.shape[:2], *grid.shape[1:-1]))
    read, places = [], []
    for axis, size in enumerate(x.shape[2:]):
        g = grid[..., n - 1 - axis]
        p = (g + 1) / 2 * (size - 1) if align_corners else ((g + 1) * size - 1) / 2
        first = np.rint(p) if mode == b"nearest" else np.floor(p)
        read.append((p, first.astype(int)))
        places.append(np.pad(np.arange(size), margin, edges[padding_mode]))
    reach = {b"nearest": [0], b"cubic": [-1, 0, 1, 2]}.get(mode, [0, 1])
    for box in product(reach, repeat=n):
        weight, index = np.ones(grid.shape[:-1]), []
        for (p, first), k, place, size in zip(read, box, places, x.shape[2:], strict=True):
            at = first + k
            weight = weight if mode == b"nearest" else weight * _kernel(mode, p - at)
            if padding_mode == b"zeros":
                weight = weight * ((at >= 0) & (at < size))
            index.append(place[at + margin])
        for b in range(len(x)):
            y[b] += weight[b] * x[b][(slice(None), *(i[b] for i in index))]
    return y


def _normalized(x: Array, axis: int = -1, p: int = 2) -> Array:
    """LpNormalization-22; the reference evaluator sums x instead of |x| for p = 1."""
    norm = (np.abs(x) ** p).sum(axis=axis, keepdims=True) ** (1 / p)
    return x / np.where(norm == 0, 1, norm)


def _affine(theta: Array, size: Array, align_corners: int = 0) -> Array:
    """AffineGrid-20; the reference evaluator rounds to float32."""
    axes = [np.linspace(-1, 1, k) if align_corners else (2 * np.arange(k) + 1) / k - 1
            for k in size[2:]]  # fmt: skip
    places = np.stack([*np.meshgrid(*axes, indexing="ij")[::-1], np.ones(size[2:])], -1)
    return np.einsum("...j,nij->n...i", places, theta)


def _standardized(x: Array, axes: tuple[int, ...] = (0, 2, 3)) -> Array:
    """MeanVarianceNormalization-13, whose function mixes float32 constants with float64."""
    mean = x.mean(axis=tuple(axes), keepdims=True)
    deviation = np.sqrt(((x - mean) ** 2).mean(axis=tuple(axes), keepdims=True))
    return (x - mean) / (deviation + 1e-9)


def _deformed(
    x: Array, w: Array, offset: Array, b: object = None, mask: object = None,
    **attributes: object,
) -> Array:  # fmt: skip
    """DeformConv-19, one tap of the kernel at a time; the reference evaluator rounds to float32."""
    stride, dilation = (attributes.get(k) or [1, 1] for k in ("strides", "dilations"))
    pads = attributes.get("pads") or [0, 0]
    group, groups = attributes.get("group") or 1, attributes.get("offset_group") or 1
    out, (kh, kw) = offset.shape[2:], w.shape[2:]
    moves = offset.reshape(len(x), groups, kh, kw, 2, *out)
    masks = np.ones((len(x), groups * kh * kw, *out)) if mask is None else mask
    masks = masks.reshape(len(x), groups, kh, kw, *out)
    y = np.zeros((len(x), len(w), *out)) + (0 if b is None else np.reshape(b, (-1, 1, 1)))
    rows, columns = np.indices(out)
    for i, j in np.ndindex(kh, kw):
        taps = []
        for k, part in enumerate(np.split(x, groups, 1)):
            at = (
                rows * stride[0] + i * dilation[0] - pads[0] + moves[:, k, i, j, 0],
                columns * stride[1] + j * dilation[1] - pads[1] + moves[:, k, i, j, 1],
            )
            sizes = zip(at, x.shape[2:], strict=True)
            grid = np.stack([(2 * p + 1) / size - 1 for p, size in sizes])
            taps.append(_sampled(part, np.moveaxis(grid[::-1], 0, -1)) * masks[:, k, None, i, j])
        parts = zip(np.split(np.concatenate(taps, 1), group, 1), np.split(w, group), strict=True)
        y += np.concatenate([np.einsum("nchw,mc->nmhw", t, v[..., i, j]) for t, v in parts], 1)
    return y


def _pooled_regions(
    x: Array, rois: Array, pooled_shape: list[int], spatial_scale: float = 1.0
) -> Array:
    """MaxRoiPool-1, which the reference evaluator does not have; 0 for a bin without elements."""
    y = np.zeros((len(rois), x.shape[1], *pooled_shape))
    for r, (entry, *edges) in enumerate(rois):
        left, top, right, bottom = (
            int(np.sign(e) * np.floor(abs(e) * spatial_scale + 0.5)) for e in edges
        )
        for place in np.ndindex(*pooled_shape):
            cut = []
            for o, n, low, high, size in zip(
                place, pooled_shape, (top, left), (bottom, right), x.shape[2:], strict=True
            ):
                length = max(high - low + 1, 1)
                ends = (low + o * length // n, low - (-(o + 1) * length // n))
                cut.append(slice(*(min(max(e, 0), size) for e in ends)))
            taken = x[int(entry), :, cut[0], cut[1]]
            y[r, :, *place] = taken.max((1, 2)) if taken.size else 0
    return y


STAND_INS.update({
    "MaxRoiPool": _pooled_regions,
    "DeformConv": _deformed,
    "GlobalLpPool": _global_norm, "LpPool": _norm_pool, "GridSample": _sampled,
    "LpNormalization": _normalized, "AffineGrid": _affine,
    "MeanVarianceNormalization": _standardized,
})  # fmt: skip
