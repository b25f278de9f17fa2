"""Relevance as colors: which axes are a picture's, and what each number is drawn as."""

import numpy as np
import pytest

from lrp_onnx.data.layout import batched_axes, single_axes
from lrp_onnx.data.preprocess import PRESETS, normalize_pixels
from lrp_onnx.errors import InputError
from lrp_onnx.visual.heatmap import (
    COLORS,
    color_limit,
    color_scale,
    overlay,
    relevance_maps,
    shown_pictures,
)

RNG = np.random.default_rng(0)


def noise(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


# axes


@pytest.mark.parametrize(
    ("shape", "batched", "single"),
    [
        ((5,), "N", "F"),
        ((4, 5), "NF", "HW"),
        ((1, 5), "NF", "NF"),
        ((2, 3, 50), "NCF", "CHW"),
        ((2, 50, 1), "NFC", "HWC"),
        ((2, 6, 7), "NHW", "CHW"),
        ((1, 3, 6, 7), "NCHW", "NCHW"),
        ((1, 6, 7, 3), "NHWC", "NHWC"),
        ((1, 3, 6, 3), "NCHW", "NCHW"),
        ((1, 64, 6, 7), "NCHW", "NCHW"),
        (("N", "c", None, 1), "NHWC", None),
    ],
)
def test_axes_are_told_from_the_shape(shape, batched, single):
    assert batched_axes(shape) == batched
    assert single is None or single_axes(shape) == single


# numbers to colors


@pytest.mark.parametrize(
    ("shape", "axes", "expected"),
    [
        ((3, 4, 5), None, (1, 4, 5)),
        ((4, 5, 3), None, (1, 4, 5)),
        ((4, 5), None, (1, 4, 5)),
        ((2, 3, 4, 5), None, (2, 4, 5)),
        ((2, 4, 5, 3), None, (2, 4, 5)),
        ((7,), None, (1, 7)),
        ((2, 7), "NF", (2, 7)),
        ((2, 1, 7), "NCF", (2, 7)),
    ],
)
def test_relevance_is_summed_over_channels(shape, axes, expected):
    relevance = noise(*shape)
    maps = relevance_maps(relevance, axes)
    assert maps.shape == expected
    np.testing.assert_allclose(maps.sum(), relevance.astype(float).sum())


@pytest.mark.parametrize("shape", [(), (1, 1, 2, 3, 4)])
def test_arrays_that_are_no_picture(shape):
    with pytest.raises(InputError, match="rank"):
        relevance_maps(np.zeros(shape))


def test_axes_must_fit():
    with pytest.raises(InputError, match="'NCHW'"):
        relevance_maps(np.zeros((2, 2)), "NCHW")


def test_zero_is_exactly_white_and_the_signs_have_their_colors():
    zero, tiny, plus, minus = COLORS(color_scale(2.0)(np.array([0.0, 1e-9, 2.0, -2.0])))[:, :3]
    np.testing.assert_array_equal(zero, 1)
    np.testing.assert_array_equal(tiny, 1)
    assert plus[0] > plus[2]
    assert minus[2] > minus[0]


@pytest.mark.parametrize(
    ("relevance", "limit"),
    [
        pytest.param(np.linspace(-100, 100, 20001), 99.5, id="percentile"),
        pytest.param(np.array([0.0] * 999 + [-3.0]), 3.0, id="sparse"),
        pytest.param(np.zeros(5), 1.0, id="nothing"),
        pytest.param(np.array([np.nan, 2.0]), 2.0, id="nan"),
        pytest.param(np.array([np.nan]), 1.0, id="only-nan"),
    ],
)
def test_limit(relevance, limit):
    assert color_limit(relevance) == pytest.approx(limit, abs=1e-9)


def test_an_overlay_fades_to_the_picture_without_an_edge():
    night = np.full((1, 60, 3), 20, np.uint8)
    relevance = np.linspace(-0.03, 0.03, 60)[None]  # of a limit of 1
    mixed = overlay(night, relevance, 1.0).astype(int)
    middle = np.rint(0.25 * 255 + 0.75 * 20)
    assert np.abs(mixed - middle).max() < 10
    assert np.abs(np.diff(mixed, axis=1)).max() <= 1


def test_an_overlay_keeps_the_colors_of_the_picture_where_nothing_is_relevant():
    picture = RNG.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    relevance = np.zeros((4, 5))
    relevance[1, 2] = 9.0
    mixed = overlay(picture, relevance, 3.0).astype(int)
    pale = np.rint(0.25 * 255 + 0.75 * picture)
    np.testing.assert_array_equal(mixed[1, 2], np.rint(255 * np.array(COLORS(1.0)[:3])))
    mixed[1, 2] = pale[1, 2]
    np.testing.assert_array_equal(mixed, pale)
    half = overlay(picture, relevance, 3.0, opacity=0.5)[1, 2]
    np.testing.assert_allclose(half, (pale[1, 2] + 255 * np.array(COLORS(1.0)[:3])) / 2, atol=1)


@pytest.mark.parametrize("axes", ["NCHW", "NHWC"])
def test_the_input_is_shown_as_the_picture_it_was(axes):
    picture = RNG.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    x = normalize_pixels(picture, PRESETS["imagenet"])[None].astype(np.float32)
    x = x.transpose(0, 3, 1, 2) if axes == "NCHW" else x
    np.testing.assert_array_equal(shown_pictures(x, axes, PRESETS["imagenet"])[0], picture)
    np.testing.assert_array_equal(shown_pictures(picture[None], "NHWC")[0], picture)


def test_an_unknown_input_is_stretched_and_odd_channels_averaged():
    shown = shown_pictures(noise(2, 5, 4, 4), "NCHW")
    assert shown.shape == (2, 4, 4, 3)
    assert (shown_pictures(noise(1, 4, 4), "CHW").min(), shown.dtype) == (0, np.uint8)
