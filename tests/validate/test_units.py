"""What is replaced, and by what: units of pictures, rows, tokens and frames."""

from __future__ import annotations

import numpy as np
import pytest

from lrp_onnx.errors import InputError
from lrp_onnx.validate.references import references_of
from lrp_onnx.validate.replacement import replacement_of
from lrp_onnx.validate.units import units_in_words, units_of

F, IDS = np.float32, np.int64
UNITS = {
    "photo": ((1, 3, 224, 224), F, None, "196 patches of 16x16"),
    "photo, channels last": ((1, 224, 224, 3), F, None, "196 patches of 16x16"),
    "digits": ((1, 1, 28, 28), F, None, "196 patches of 2x2"),
    "line of text": ((1, 3, 48, 192), F, None, "196 patches of 7x7"),
    "picture without channels": ((1, 28, 28), F, None, "196 patches of 2x2"),
    "patches of one size": ((1, 3, 30, 30), F, (8,), "16 patches of 8x8"),
    "patches of two sizes": ((1, 3, 30, 30), F, (15, 10), "6 patches of 15x10"),
    "row": ((1, 30), F, None, "30 features"),
    "sound": ((1, 16000), F, None, "100 frames of 160"),
    "sound with a channel": ((1, 1, 16000), F, None, "100 frames of 160"),
    "frames of features": ((1, 16, 96), F, None, "16 frames"),
    "tokens": ((1, 9), IDS, None, "9 tokens"),
    "volume": ((1, 1, 28, 28, 28), F, None, "2744 patches of 2x2x2"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNITS)
def test_units(name: str) -> None:
    shape, dtype, size, words = UNITS[name]
    x = np.arange(1, 1 + np.prod(shape)).reshape(shape).astype(dtype)
    units = units_of({"x": x}, ["x"], True, size)
    assert units_in_words(x, True, [units], size) == words
    flags = np.array([np.ones(units.count, bool), np.arange(units.count) == units.count - 1])
    whole, one = units.replaced({"x": x}, {"x": x * 0}, flags)["x"]
    assert not whole.any()  # every element is in a unit
    assert 0 < (one == 0).sum() <= x.size / units.count * 2
    relevance = units.relevance({"x": x.astype(np.float64)})
    assert relevance.sum() == pytest.approx(x.sum(dtype=np.float64))
    assert relevance[-1] == pytest.approx(x[one == 0].sum(dtype=np.float64))


def test_a_unit_holds_all_channels_of_its_place() -> None:
    x = np.zeros((1, 2, 4, 4), F)
    units = units_of({"x": x}, ["x"], True, (2,))
    flags = np.arange(4)[None] == 1
    (changed,) = units.replaced({"x": x}, {"x": x + 1}, flags)["x"]
    assert (changed[0, :, :2, 2:] == 1).all()
    assert changed.sum() == 2 * 4


def test_several_inputs_have_their_units_side_by_side() -> None:
    feeds = {"a": np.ones((1, 3), F), "b": np.ones((1, 2), F), "c": np.ones((1, 5), F)}
    units = units_of(feeds, ["a", "b"], True)
    assert units.count == 5
    assert units.relevance({"a": np.array([[1, 2, 3.0]]), "b": np.array([[4, 5.0]])}).tolist() == [
        *(1, 2, 3, 4, 5)
    ]


def test_padding_is_no_unit() -> None:
    ids = np.array([[101, 7, 9, 0, 0]])
    (other,), _ = replacement_of([{"x": ids}], ["x"], True, None)
    units = units_of({"x": ids}, ["x"], True, other=other)
    assert units.count == 3
    flags = np.array([[False, True, False]])
    assert units.replaced({"x": ids}, other, flags)["x"].tolist() == [[[101, 0, 9, 0, 0]]]


def test_a_size_that_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="places along 1 axis"):
        units_of({"x": np.ones((1, 9), F)}, ["x"], True, (2, 2))


PHOTO = np.random.default_rng(0).standard_normal((1, 3, 20, 20)).astype(F)
ROWS = [np.array([[1, 10]], F), np.array([[3, 30]], F)]


def test_replacements() -> None:
    def made(kind: object, *xs: np.ndarray) -> tuple[list[np.ndarray], str]:
        others, words = replacement_of([{"x": x} for x in xs], ["x"], True, kind)
        return [other["x"] for other in others], words

    assert made(None, PHOTO)[1] == made("blur", PHOTO)[1] == "blur"
    blurred = made("blur", PHOTO)[0][0]
    assert blurred.std() < 0.2 * PHOTO.std()
    assert blurred.dtype == F
    assert np.allclose(made("mean", PHOTO)[0][0], PHOTO.mean((2, 3), keepdims=True), atol=1e-6)
    assert made(None, *ROWS)[1] == "mean"
    assert [x.tolist() for x in made("mean", *ROWS)[0]] == [[[2, 20]], [[2, 20]]]
    assert made(None, ROWS[0])[1] == "zero"
    assert made(None, np.array([[5, 6]]))[0][0].tolist() == [[0, 0]]
    assert made(103, np.array([[5, 6]]))[0][0].tolist() == [[103, 103]]
    assert made(103, np.array([[5, 6]]))[1] == "id 103"
    assert made({"x": ROWS[1]}, *ROWS)[0][0] is ROWS[1]
    pixels = np.full((1, 4, 4, 3), 7, np.uint8)
    assert made("mean", pixels)[0][0].dtype == np.uint8


def test_references_know_edges_and_the_middle() -> None:
    x = np.zeros((1, 3, 21, 21), F)
    x[..., 10:] = 1
    maps = references_of([{"x": x}], ["x"], True, seed=0)
    assert list(maps) == ["random", "edges", "center"]
    edges, center = maps["edges"][0]["x"], maps["center"][0]["x"]
    assert edges.shape == center.shape == (1, 1, 21, 21)
    assert np.flatnonzero(edges[0, 0, 5]).tolist() == [9, 10]
    assert np.unravel_index(center.argmax(), center.shape) == (0, 0, 10, 10)
    assert list(references_of([{"x": ROWS[0]}], ["x"], True, seed=0)) == ["random"]
