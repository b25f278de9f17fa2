"""What is said of outputs with numbers at the places of a map, and of numbers of no class."""

from __future__ import annotations

import numpy as np
import pytest
from models import network

import lrp_onnx
from lrp_onnx.answer.dense_map import map_read, place_in_words
from lrp_onnx.answer.scores import percent, scored

NAMES = dict(enumerate(["ground", "circle", "square", "star", "moon"]))


def pixels(classes: list[list[int]]) -> np.ndarray:
    """Scores [5, H, W] in which these are the largest."""
    return np.moveaxis(np.eye(5)[np.array(classes)], -1, 0)


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        ([[0, 0], [0, 0]], "ground (0) at 100% of 2 x 2 places"),
        ([[1, 1], [1, 2]], "circle (1) at 75% of 2 x 2 places, square (2) at 25%"),
        (
            [[0, 0, 0, 1, 1], [0, 2, 2, 3, 4]],
            "ground (0) at 40% of 2 x 5 places, circle (1) at 20%, square (2) at 20%, "
            "2 classes more",
        ),
    ],
)
def test_the_classes_of_a_map_are_told_by_how_often_they_are_predicted(
    classes: list[list[int]], said: str
) -> None:
    y = pixels(classes)
    assert map_read(y, 0, NAMES, "masks") == said
    assert map_read(np.moveaxis(y, 0, -1), 2, NAMES, "masks") == said


def test_a_quantity_is_told_by_its_range() -> None:
    y = np.array([[[1.0, 2.0], [3.0, 6.0]]])
    assert map_read(y, 0, None, "depth") == "depth from 1 to 6, mean 3, at 2 x 2 places"
    assert map_read(y[0], None, None, "depth") == "depth from 1 to 6, mean 3, at 2 x 2 places"


@pytest.mark.parametrize("y", [np.ones(3), np.ones((3, 4)), np.full((3, 2, 2), np.nan)])
def test_what_is_no_map(y: np.ndarray) -> None:
    assert map_read(y, 0, None, "y") == ""


def test_places_are_named_without_the_class() -> None:
    y = np.zeros((3, 4, 5))
    assert place_in_words(y, 0, (2, 3, 1)) == " at row 3, column 1"
    assert place_in_words(y[:, :, :1], 0, (2, 3, 0)) == " at place 3"
    assert place_in_words(y[:, :1, :1], 0, (2, 0, 0)) == ""


@pytest.mark.parametrize(
    ("target", "explained"),
    [
        ("argmax", "circle (1) at row 1, column 2, "),
        ("1", "circle (1), summed over 4 x 4 places"),
        ("1-0", "circle (1) against ground (0), summed over 4 x 4 places"),
        ("0,0,3", "ground (0) at row 0, column 3, "),
    ],
)
def test_explain_says_which_class_of_a_map_it_explains(target: str, explained: str) -> None:
    w = np.zeros((2, 1, 1, 1), np.float32)
    w[:, 0, 0, 0] = -1, 3
    model = network("y = Conv(x, w)", (1, 1, 4, 4), w=w)
    x = np.full((1, 1, 4, 4), 0.1, np.float32)
    x[0, 0, 1, 2] = 1
    why = lrp_onnx.explain(
        model, x, target=target, labels=["ground", "circle"], composite="epsilon"
    )
    (sample,) = why._samples()
    assert sample.prediction == "circle (1) at 100% of 4 x 4 places"
    assert sample.explained.startswith(explained)
    assert sample.headline.startswith(explained)
    assert "argmax" not in sample.headline
    assert "circle (1) at 100% of 4 x 4 places" in sample.subtitle("epsilon")


def test_the_sum_of_all_numbers_is_no_class() -> None:
    model = network("y = Conv(x, w)", (1, 1, 4, 4), w=np.ones((2, 1, 1, 1), np.float32))
    x = np.ones((1, 1, 4, 4), np.float32)
    (sample,) = lrp_onnx.explain(model, x, target="all", composite="epsilon")._samples()
    assert sample.headline == "all of y, summed"
    assert sample.prediction == "y from 1 to 1, mean 1, at 2 x 4 x 4 places"


@pytest.mark.parametrize(
    ("y", "of_classes", "said"),
    [
        ([0.2, 0.9], True, "class 1, 90%"),  # sigmoids
        ([0.2, 0.9], False, "number 1 of y, 0.9"),  # coordinates, for all that is known
        ([0.1, 0.9], False, "class 1, 90%"),
        ([1.0, 3.0], False, "class 1, 88%"),
    ],
)
def test_numbers_that_may_be_no_probabilities_are_told_as_numbers(
    y: list[float], of_classes: bool, said: str
) -> None:
    assert scored(1, np.array(y), None, "y", of_classes) == said
    assert scored(1, np.array(y), {1: "b"}, "y", of_classes).startswith("b (1), ")
    assert "%" in scored(1, np.array(y), {1: "b"}, "y", of_classes)


def test_an_embedding_has_no_classes() -> None:
    y = np.full(64, 0.125)
    y[5] = -0.1
    assert scored(3, y, None, "vector") == "number 3 of vector, 0.125"


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (0, "0%"), (1, "100%"), (0.82583, "83%"), (0.0123, "1%"), (0.00456, "0.5%"),
        (0.000456, "0.05%"), (1e-9, "<0.01%"), (0.9966, "99.7%"), (0.99934, "99.93%"),
        (1 - 1e-9, ">99.99%"),
    ],
)  # fmt: skip
def test_shares_are_told_as_people_say_them(share: float, said: str) -> None:
    assert percent(share) == said
