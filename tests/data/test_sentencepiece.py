"""SentencePiece's .model: the ids that it gives, with the marks that its pieces tell."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from lrp_onnx.data.text import Tokenizer, find_tokenizer
from lrp_onnx.errors import InputError
from lrp_onnx.graph.arrays import Wanted

sentencepiece = pytest.importorskip("sentencepiece")
IDS = Wanted("input_ids", np.dtype("int64"), ("N", "tokens"))
LINES = ["a good film and a bad film", "the plot is thin, the acting wonderful", "never bored"] * 40
ALBERT = {"pad_id": 0, "unk_id": 1, "bos_id": -1, "control_symbols": ["[CLS]", "[SEP]"]}
T5 = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}
XLNET = {"control_symbols": ["<cls>", "<sep>"]}
AROUND = {
    "albert": (ALBERT, ["[CLS]"], ["[SEP]"]),
    "t5": (T5, [], ["</s>"]),
    "xlnet": (XLNET, [], ["<sep>", "<cls>"]),
}


def trained(path: Path, **options: object) -> Path:
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES), model_prefix=str(path), vocab_size=34,
        hard_vocab_limit=False, minloglevel=2, **options,
    )  # fmt: skip
    return path.with_suffix(".model")


@pytest.mark.parametrize("kind", AROUND)
def test_ids_are_those_of_sentencepiece_and_the_marks_of_the_model(
    kind: str, tmp_path: Path
) -> None:
    options, front, back = AROUND[kind]
    path = trained(tmp_path / "spiece", **options)
    own, read = sentencepiece.SentencePieceProcessor(model_file=str(path)), Tokenizer(path)
    for text in ("a wonderful film", "  The  plot, never bored! ", "Ünknown ﬁlm", "thin"):
        expected = [*map(own.piece_to_id, front), *own.encode(text), *map(own.piece_to_id, back)]
        made = read(text, [IDS])
        assert made.feeds["input_ids"].tolist() == [expected]
        assert [word.text for word in made.words] == text.split()
    assert find_tokenizer(tmp_path / "m.onnx") == path


REFUSED = {
    "llama": ({}, "does not say which ids a model has for its pieces. .*save_pretrained"),
    "bytes": ({"model_type": "bpe"}, "only its unigrams are read"),
}


@pytest.mark.parametrize(("options", "said"), REFUSED.values(), ids=REFUSED)
def test_what_its_pieces_do_not_tell_is_refused(
    options: dict[str, object], said: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as told:
        Tokenizer(trained(tmp_path / "m", **options))
    assert re.search(said, str(told.value))
