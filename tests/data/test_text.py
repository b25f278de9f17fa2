"""Texts as inputs of a model: tokens, their words, and the tokenizer that lies beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lrp_onnx.data.text import Text, Tokenizer, Word, find_tokenizer, text_inputs
from lrp_onnx.errors import InputError
from lrp_onnx.graph.arrays import Wanted

I64 = np.dtype("int64")
VOCABULARY = (
    "[PAD] [UNK] [CLS] [SEP] [MASK] a film un ##for ##get ##table , did ##n ' t good - made !"
)
IDS = Wanted("input_ids", I64, ("N", "tokens"))
MASK = Wanted("attention_mask", I64, ("N", "tokens"))


@pytest.fixture
def vocabulary(tmp_path: Path) -> Path:
    (tmp_path / "vocab.txt").write_text("\n".join(VOCABULARY.split()))
    return tmp_path / "vocab.txt"


WORDS = {
    "Unforgettable film": ["Unforgettable", " film"],
    "a film, good!": ["a", " film", ",", " good", "!"],
    "didn't good-made": ["didn't", " good-made"],
    "nowhere film": ["nowhere", " film"],
}


@pytest.mark.parametrize("text", WORDS)
def test_tokens_are_merged_into_words(text: str, vocabulary: Path) -> None:
    made = Tokenizer(vocabulary)(text, [IDS])
    apart = [" " * (word.is_apart and word.start > 1) + word.text for word in made.words]
    assert apart == WORDS[text]
    assert [made.parts[k].text for k in (0, -1)] == ["[CLS]", "[SEP]"]
    ends = [(part.start, part.stop) for part in made.parts]
    assert [start for start, _ in ends] == [0, *(stop for _, stop in ends[:-1])]
    assert ends[-1][1] == made.feeds["input_ids"].shape[1]


def test_relevance_of_a_word_is_that_of_its_tokens(vocabulary: Path) -> None:
    made = Tokenizer(vocabulary)("unforgettable film", [IDS])
    relevance = np.arange(7.0)[None]
    np.testing.assert_array_equal(made.sums(relevance), [[1 + 2 + 3 + 4, 5]])
    np.testing.assert_array_equal(made.sums(relevance, made.parts), [[0, 1 + 2 + 3 + 4, 5, 6]])
    deep = np.stack([relevance, relevance], 2)
    np.testing.assert_array_equal(made.sums(deep), 2 * made.sums(relevance))


def test_what_is_at_marks_and_padding_is_told_apart(vocabulary: Path) -> None:
    made = Tokenizer(vocabulary)("a film", [Wanted("ids", I64, (1, 6))])
    relevance = np.array([[0.5, 2.0, 3.0, -1.0, 0.0, 0.0]])
    assert made.aside(relevance) == "-0.5 at [CLS] and [SEP], which are no words"
    relevance[0, 5] = 0.25
    assert made.aside(relevance) == "-0.25 at [CLS], [SEP] and padding, which are no words"
    plain = Text({}, [Word("a", 0, 1), Word("film", 1, 2)])
    assert plain.aside(np.ones((1, 2))) == ""
    assert plain.aside(np.ones((1, 3))) == "+1 at padding, which is no word"


def test_every_input_is_filled(vocabulary: Path) -> None:
    names = ["token_type_ids", "attention_mask", "input_ids", "position_ids"]
    inputs = [Wanted(name, np.dtype("int32"), (1, 8)) for name in names]
    feeds = Tokenizer(vocabulary)("a film!", inputs).feeds
    assert feeds["input_ids"].tolist() == [[2, 5, 6, 19, 3, 0, 0, 0]]
    assert feeds["attention_mask"].tolist() == [[1, 1, 1, 1, 1, 0, 0, 0]]
    assert feeds["token_type_ids"].tolist() == [[0] * 8]
    assert feeds["position_ids"].tolist() == [[*range(8)]]
    assert {x.dtype for x in feeds.values()} == {np.dtype("int32")}


def test_a_text_that_is_too_long_is_cut_and_that_is_told(vocabulary: Path) -> None:
    short = Wanted("ids", I64, (1, 4))
    made = Tokenizer(vocabulary)("a film a film a film", [short])
    assert made.feeds["ids"].tolist() == [[2, 5, 6, 3]]
    assert made.notice == "the text is longer than 4 tokens: the rest was cut off"
    assert Tokenizer(vocabulary)("a film", [short]).notice is None


@pytest.mark.parametrize(
    ("inputs", "roles"),
    [
        ([IDS, MASK], {"input_ids": "ids", "attention_mask": "mask"}),
        ([Wanted("x", np.dtype("float32"), ("N", 4))], {}),
        ([Wanted("x", np.dtype("uint8"), ("N", 4))], {}),
        ([Wanted("a", I64, ("N", 4)), Wanted("b", I64, ("N", 4))], {}),
        ([IDS, Wanted("length", I64, ("N",))], {"input_ids": "ids"}),
    ],
)
def test_what_a_text_model_wants(inputs: list[Wanted], roles: dict[str, str]) -> None:
    assert text_inputs(inputs) == roles


def test_the_tokenizer_beside_the_model(vocabulary: Path) -> None:
    folder = vocabulary.parent
    (folder / "onnx").mkdir()
    (folder / "other").mkdir()
    assert find_tokenizer(folder / "model.onnx") == vocabulary
    assert find_tokenizer(folder / "onnx" / "model.onnx") == vocabulary
    assert find_tokenizer(folder / "other" / "model.onnx") is None


def test_what_is_no_tokenizer_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    for name in ("tokenizer.json", "absent.json"):
        with pytest.raises(InputError, match=f"tokenizer '.*{name}'"):
            Tokenizer(tmp_path / name)
