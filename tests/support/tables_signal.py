"""Rows of the operators that reduce, pool, sample or transform, for test_vjp_signal."""

from __future__ import annotations

from models import Case

POSITIVE = (0.5, 2.0)
NORMS = ("ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp", "ReduceProd", "ReduceLogSum")
REDUCTIONS = [
    *[Case(op, {"keepdims": keep}, x=(2, 3, 4), axes=axes, between=POSITIVE)
      for op in NORMS for keep, axes in ((1, [1]), (0, [-1]), (0, [0, 2]))],
    *[Case(op, {"keepdims": 0}, x=(2, 3), between=POSITIVE) for op in NORMS],
    *[Case(op, {"noop_with_empty_axes": 1}, x=(2, 3), between=POSITIVE) for op in NORMS],
    *[Case(op, x=(2, 3, 4), axes=[-1]) for op in ("ReduceL1", "ReduceL2", "ReduceProd")],
]  # fmt: skip

POOLS = [
    *[Case("GlobalLpPool", {"p": p}, x=(2, 2, 3, 4)) for p in (1, 2, 3)],
    Case("GlobalLpPool", x=(1, 2, 5)),
    *[Case("LpPool", {"kernel_shape": [2, 3], "p": p}, x=(2, 2, 4, 5)) for p in (1, 2, 3, 4)],
    Case("LpPool", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 0, 2, 1]},
         x=(1, 2, 5, 6)),
    Case("LpPool", {"kernel_shape": [2, 2], "dilations": [2, 1], "p": 3}, x=(1, 1, 5, 4)),
    Case("LpPool", {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}, x=(1, 2, 5, 5)),
    *[Case("LpPool", {"kernel_shape": [3], "strides": [2], "auto_pad": mode}, x=(2, 2, 6))
      for mode in ("SAME_UPPER", "SAME_LOWER", "VALID")],
    Case("LpPool", {"kernel_shape": [2, 2, 2], "strides": [2, 1, 2]}, x=(1, 2, 4, 3, 4)),
    Case("MaxUnpool", {"kernel_shape": [2], "strides": [2]}, x=(1, 2, 3),
         indices=[[[1, 2, 5], [6, 9, 10]]]),
    # two at one place: the later one is there
    Case("MaxUnpool", {"kernel_shape": [2, 2], "pads": [0, 0, 1, 0]}, x=(1, 1, 2, 2),
         indices=[[[[1, 3], [3, 0]]]]),
    Case("Col2Im", x=(2, 8, 6), image=[3, 4], block=[2, 2]),
    Case("Col2Im", {"strides": [2, 1], "pads": [1, 0, 0, 1]}, x=(1, 12, 8), image=[4, 4],
         block=[3, 2]),
    Case("Col2Im", {"dilations": [1, 2]}, x=(1, 4, 9), image=[4, 5], block=[2, 2]),
    Case("Col2Im", {"strides": [1, 2, 1]}, x=(1, 8, 4), image=[2, 4, 3], block=[2, 2, 2]),
    Case("Col2Im", {"strides": [2]}, x=(2, 6, 2), image=[5], block=[3]),
]  # fmt: skip

SAMPLES = [
    *[Case("GridSample", {"mode": mode, "padding_mode": padding, "align_corners": aligned},
           x=(2, 2, 3, 4), x_grid=(2, 2, 3, 2), between=(-1.4, 1.4), opset=20)
      for mode in ("linear", "cubic", "nearest") for padding in ("zeros", "border", "reflection")
      for aligned in (0, 1)],
    *[Case("GridSample", {"mode": mode, "padding_mode": padding},
           x=(1, 2, 2, 3, 4), x_grid=(1, 1, 2, 3, 3), between=(-1.4, 1.4), opset=20)
      for mode in ("linear", "nearest") for padding in ("zeros", "reflection")],
    Case("GridSample", {"mode": "bilinear"}, x=(1, 2, 3, 4), x_grid=(1, 2, 2, 2),
         between=(-1.4, 1.4), opset=18),
]  # fmt: skip

SIGNALS = [
    *[Case("DFT", {"axis": 1, "inverse": inverse}, x=(2, n, 2))
      for inverse in (0, 1) for n in (4, 5)],
    *[Case("DFT", {"onesided": onesided}, x=(2, n, 1)) for onesided in (0, 1) for n in (4, 5)],
    Case("DFT", {"axis": 2}, x=(1, 3, 4, 1)),
    *[Case("DFT", {"onesided": onesided, "inverse": inverse}, x=(2, 4, 2 - onesided), length=n)
      for onesided, inverse in ((0, 0), (0, 1), (1, 0)) for n in (3, 6)],
    Case("DFT", {"inverse": 1}, x=(2, 3, 4, 2), length=None, axis=1, opset=20),
    Case("DFT", {"onesided": 1}, x=(2, 4, 3, 1), length=5, axis=-2, opset=20),
    Case("STFT", x=(2, 12, 1), step=3, window=(4,)),
    Case("STFT", {"onesided": 0}, x=(1, 11, 2), step=2, window=None, length=5, opset=20),
    Case("STFT", {"onesided": 1}, x=(1, 11, 1), step=2, window=(4,), length=4, opset=20),
    *[Case("LpNormalization", {"p": p, "axis": axis}, x=(2, 3, 4))
      for p in (1, 2) for axis in (1, -1)],
    Case("LpNormalization", x=(2, 3)),
    *[Case("AffineGrid", {"align_corners": aligned}, x=(2, n, n + 1),
           size=[2, 1, 2, 3, 4][: n + 2], opset=20)
      for n in (2, 3) for aligned in (0, 1)],
    Case("MeanVarianceNormalization", {"axes": [0, 2, 3]}, x=(2, 3, 2, 2)),
    Case("MeanVarianceNormalization", {"axes": [2, 3]}, x=(2, 3, 3, 2)),
]  # fmt: skip

REGIONS = [[0.4, 0.7, 4.6, 5.3], [1.0, 2.0, 9.0, 3.0], [-3.0, 1.5, 2.2, 4.4]]
BINS = [*REGIONS, [7.0, 8.0, 9.0, 9.0]]
"""The last lies outside."""
ROIS = [
    *[Case("RoiAlign", {"mode": mode, "sampling_ratio": ratio, "output_height": 2,
                        "output_width": 3, "coordinate_transformation_mode": half},
           x=(2, 2, 6, 5), rois=REGIONS, batches=[0, 1, 0])
      for mode in ("avg", "max") for ratio in (0, 2)
      for half in ("half_pixel", "output_half_pixel")],
    Case("RoiAlign", {"spatial_scale": 0.5}, x=(2, 2, 4, 3), rois=REGIONS, batches=[1, 1, 1]),
    *[Case("MaxRoiPool", {"pooled_shape": pooled, "spatial_scale": scale}, x=(2, 2, 6, 5),
           rois=[[k % 2, *region] for k, region in enumerate(BINS)])
      for pooled in ([2, 3], [1, 1], [4, 7]) for scale in (1.0, 0.5)],
]  # fmt: skip

DEFORMED = [
    Case("DeformConv", {"kernel_shape": [2, 2]}, x=(2, 2, 3, 4), w=(3, 2, 2, 2),
         x_offset=(2, 8, 2, 3), opset=19),
    Case("DeformConv", {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1],
                        "dilations": [1, 2], "offset_group": 2, "group": 2},
         x=(1, 4, 4, 3), w=(4, 2, 3, 2), x_offset=(1, 24, 2, 2), b=(4,), x_mask=(1, 12, 2, 2),
         opset=20),
    Case("DeformConv", x=(1, 2, 4, 4), w=(3, 2, 2, 2), offset=(1, 8, 3, 3), opset=19),
]  # fmt: skip

ROWS = [*DEFORMED, *ROIS, *REDUCTIONS, *POOLS, *SAMPLES, *SIGNALS]
