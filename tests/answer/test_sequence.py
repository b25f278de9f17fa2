"""What is said of an output that has a class at each place."""

from __future__ import annotations

import numpy as np
import pytest
from models import network

import lrp_onnx
from lrp_onnx.answer.sequence import letter_at, sequence_read

LETTERS = dict(enumerate(["blank", "A", "7", "K", "space"]))
TAGS = dict(enumerate(["O", "person", "place"]))
ROWS = {
    "letters": ([0, 1, 1, 0, 1, 2, 0, 0, 3], LETTERS, '"AA7K" (blank at 4 of 9 places)'),
    "a space": ([1, 0, 4, 0, 0, 3], LETTERS, '"A K" (blank at 3 of 6 places)'),
    "tags": ([0, 0, 1, 0, 2, 0], TAGS, "person, place (O at 4 of 6 places)"),
    "numbers": ([0, 0, 4, 0, 2, 2], None, "class 4, class 2 (class 0 at 3 of 6 places)"),
    "nothing but one": ([0] * 4, TAGS, "O"),
    "one": ([0] * 4, None, "class 0"),
    "no filler": ([0, 1, 2, 3], None, "class 0, class 1, class 2, class 3"),
}


@pytest.mark.parametrize(("classes", "labels", "said"), ROWS.values(), ids=ROWS)
def test_runs_are_told_once_and_the_filler_apart(
    classes: list[int], labels: dict[int, str] | None, said: str
) -> None:
    y = np.eye(5 if labels is None else len(labels))[classes]
    for sample, axis in ((y, 1), (y.T, 0), (y[:, None], 2)):
        assert sequence_read(sample, axis, labels) == said
    if labels is not None:
        assert sequence_read(y, None, labels) == said


def test_a_long_one_is_cut() -> None:
    y = np.eye(60)[np.arange(50)]
    assert sequence_read(y, 1, None).endswith(", class 22, class 23…")


@pytest.mark.parametrize("y", [np.eye(3)[0], np.ones((2, 3, 3)), np.ones((4, 1))])
def test_what_is_no_sequence(y: np.ndarray) -> None:
    assert sequence_read(y, 0 if y.shape != (4, 1) else 1, None) == ""


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ((1, 1), 'the 1st "A" of "AA7K"'),  # the first of a run
        ((2, 1), 'the 1st "A" of "AA7K"'),  # and its last
        ((4, 1), 'the 2nd "A" of "AA7K"'),
        ((8, 3), 'the "K" of "AA7K"'),
        ((3, 0), ""),  # the blank between
        ((8, 1), ""),  # not what is read there
    ],
)
def test_a_letter_is_told_by_its_place_in_what_is_read(place: tuple[int, int], said: str) -> None:
    y = np.eye(5)[ROWS["letters"][0]]
    for sample, axis, at in (
        (y, 1, place),
        (y.T, 0, place[::-1]),
        (y[:, None], 2, (place[0], 0, place[1])),
    ):
        assert letter_at(sample, axis, at, LETTERS) == said
    assert letter_at(y, None, place, LETTERS) == said
    assert letter_at(y, 1, place, None) == ""


def test_a_blank_between_words_counts_as_no_letter() -> None:
    y = np.eye(5)[[1, 0, 4, 0, 3, 0, 4, 3]]  # A K K
    said = {place: letter_at(y, 1, place, LETTERS) for place in ((4, 3), (7, 3), (6, 4))}
    assert [text.removesuffix(' of "A K K"') for text in said.values()] == [
        'the 1st "K"', 'the 2nd "K"', "the 2nd blank"
    ]  # fmt: skip


@pytest.mark.parametrize(("rank", "said"), [(3, "3rd"), (11, "11th"), (13, "13th"), (22, "22nd")])
def test_letters_that_are_read_often_are_counted(rank: int, said: str) -> None:
    y = np.eye(5)[[1, 0, 0] * 24]
    assert letter_at(y, 1, (3 * rank - 3, 1), LETTERS).startswith(f'the {said} "A" of')


def test_explain_names_the_letter_and_its_probability() -> None:
    model = network("y = MatMul(x, w)", (1, 4, 3), w=np.eye(3, dtype=np.float32) * 8)
    x = np.eye(3, dtype=np.float32)[None, [1, 0, 2, 0]]
    named = {"labels": ["-", "A", "B"], "target": "2,2"}
    (by_gradient,) = lrp_onnx.explain(model, x, method="gradient", **named)._samples()
    assert by_gradient.headline == 'the "B" of "AB", 99.93%'
    (sample,) = lrp_onnx.explain(model, x, composite="epsilon", **named)._samples()
    assert sample.headline == 'the "B" of "AB", 99.93%'
    assert sample.subtitle("epsilon") == "entry 2,2 · epsilon · probabilities by softmax"


def test_explain_says_what_is_read_and_which_entry_has_no_name() -> None:
    model = network("y = MatMul(x, w)", (2, 4, 3), w=(3, 3))
    x = np.random.default_rng(0).standard_normal((2, 4, 3)).astype(np.float32)
    options = {"labels": ["a", "b", "c"], "composite": "epsilon"}
    why = lrp_onnx.explain(model, x, **options)
    y = why.outputs["y"]
    for own, told in zip(y, why.predictions, strict=True):
        assert told == f"predicted: {sequence_read(own, 1, dict(enumerate('abc')))}"
    why = lrp_onnx.explain(model, x, target="1,2", composite="epsilon")
    assert [s.headline for s in why._samples()] == [f"entry 1,2: {v:.5g}" for v in y[:, 1, 2]]
