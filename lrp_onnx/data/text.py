"""A text as a model's inputs, by the tokenizer that the model was trained with: token ids, their
mask, types and positions; and which tokens a word is made of.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lrp_onnx.data.sentencepiece import read_pieces
from lrp_onnx.errors import InputError
from lrp_onnx.graph.arrays import Array, Wanted

__all__ = ["Text", "Tokenizer", "Word", "find_tokenizer", "no_tokenizer", "text_inputs"]

FILES = ("tokenizer.json", "vocab.txt", *(f"{n}.model" for n in ("spiece", "spm", "tokenizer")),
         "sentencepiece.bpe.model")  # fmt: skip
"""What a tokenizer's file is called beside a model, the one that says most first."""
MAKE_JSON = (
    "transformers makes tokenizer.json of the folder that the model was trained with: python -c "
    "\"from transformers import AutoTokenizer as T; T.from_pretrained('.').save_pretrained('.')\""
)
JOINTS = frozenset("'’-‐")
"""What stands inside of a word, though tokenizers part it there."""
PARTS = {"mask": "mask", "type": "types", "segment": "types", "position": "positions"}
"""Words in the name of an input, and what it is for; the other one takes the ids."""


@dataclass(frozen=True)
class Word:
    """A word of a text and the places of its tokens."""

    text: str
    start: int
    stop: int
    """The place behind its last token."""
    is_apart: bool = True
    """Whether a blank stands before it."""
    is_mark: bool = False
    """Whether it is no part of the text, as [CLS] and [SEP], which the tokenizer puts around it."""


@dataclass(frozen=True)
class Text:
    """A text in tokens."""

    feeds: Mapping[str, Array]
    """By input, [1, tokens]."""
    parts: Sequence[Word]
    """Its words and the marks around them, in order."""
    notice: str | None = None
    """What was cut off, in words."""

    @property
    def words(self) -> list[Word]:
        """Those of the text, without marks."""
        return [part for part in self.parts if not part.is_mark]

    def sums(self, relevance: Array, parts: Sequence[Word] | None = None) -> Array:
        """Relevance of the tokens, [1, tokens] or with further axes, as that of the words,
        [1, words], or of other parts.
        """
        each, parts = _of_tokens(relevance), self.words if parts is None else parts
        return np.array([[each[part.start : part.stop].sum() for part in parts]])

    def aside(self, relevance: Array) -> str:
        """What relevance is not that of a word, and where: `-0.08 at [CLS] and [SEP]`; empty where
        there is none.
        """
        each = _of_tokens(relevance)
        names = dict.fromkeys(part.text for part in self.parts if part.is_mark)
        if each[self.parts[-1].stop :].any():
            names["padding"] = None
        *first, last = names or [""]
        at = f"{', '.join(first)} and {last}" if first else last
        rest = each.sum() - self.sums(relevance).sum()
        return f"{rest:+.3g} at {at}, which {'are no words' if first else 'is no word'}" * bool(at)


def text_inputs(inputs: Sequence[Wanted]) -> dict[str, str]:
    """What each input of a text model is for, by its name: ids, mask, types or positions; nothing
    where the model takes no text.
    """
    whole = [w for w in inputs if w.dtype.kind in "iu" and w.dtype.itemsize > 1]
    rows = [w for w in whole if len(w.shape) == 2]
    roles = {w.name: _role(w.name) for w in rows}
    return roles if list(roles.values()).count("ids") == 1 else {}


def _role(name: str) -> str:
    plain = name.casefold()
    return next((role for part, role in PARTS.items() if part in plain), "ids")


def find_tokenizer(model: Path) -> Path | None:
    """The tokenizer's file beside a model, or above its folder `onnx`."""
    folder = model.absolute().parent
    folders = [folder, folder.parent] if folder.name == "onnx" else [folder]
    places = [place / name for place in folders for name in FILES]
    return next((place for place in places if place.is_file()), None)


def no_tokenizer(model: Path) -> str:
    """What is said of a text where no tokenizer lies beside the model."""
    return (
        f"a text is given, and beside '{model}' there is no tokenizer.json or vocab.txt. Give "
        "the one that the model was trained with: --tokenizer FILE."
    )


class Tokenizer:
    """What makes tokens of a text, from tokenizer.json, vocab.txt or SentencePiece's .model.

    Raises InputError where the file cannot be read, or the package tokenizers is not installed.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise InputError(f"tokenizer '{path}': there is no such file. Check the path.")
        try:
            import tokenizers
        except ModuleNotFoundError as error:
            raise InputError(
                "a text is made tokens by the package tokenizers, which is not installed. Install "
                "it: pip install 'lrp-onnx[text]'."
            ) from error
        try:
            self.tokenizer = _read(tokenizers, self.path)
        except (KeyboardInterrupt, SystemExit, InputError):
            raise
        except BaseException as error:  # for a file it cannot read plain ones, or Rust's panics
            fact = " ".join(str(error).split())
            raise InputError(
                f"tokenizer '{path}': {fact}. Give tokenizer.json or vocab.txt; of another kind "
                f"{MAKE_JSON}."
            ) from error
        padding = self.tokenizer.padding
        self.pad_id = int(padding["pad_id"]) if padding else 0
        self.tokenizer.no_padding()

    def __call__(self, text: str, inputs: Sequence[Wanted]) -> Text:
        """The text as arrays for the inputs that take it. Raises InputError where none is left."""
        roles = text_inputs(inputs)
        ids = next(w for w in inputs if roles.get(w.name) == "ids")
        length = ids.shape[1] if isinstance(ids.shape[1], int) and ids.shape[1] > 0 else None
        encoding = self._encoded(text, length)
        words = _words(encoding, text)
        if all(word.is_mark for word in words):
            raise InputError(f"the text {text!r} has no tokens. Write some words.")
        size = length or len(encoding.ids)
        values = {
            "ids": _padded(encoding.ids, size, self.pad_id),
            "mask": _padded(encoding.attention_mask, size, 0),
            "types": _padded(encoding.type_ids, size, 0),
            "positions": list(range(size)),
        }
        by_name = {w.name: w for w in inputs}
        feeds = {n: np.array([values[r]], by_name[n].dtype) for n, r in roles.items()}
        cut = sum(map(len, (part.ids for part in encoding.overflowing)))
        notice = f"the text is longer than {len(encoding.ids)} tokens: the rest was cut off"
        return Text(feeds, words, notice if cut else None)

    def _encoded(self, text: str, length: int | None) -> Any:
        try:
            if length is not None:
                self.tokenizer.enable_truncation(length)
            return self.tokenizer.encode(text)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # as of reading
            fact = " ".join(str(error).split())
            raise InputError(
                f"tokenizer '{self.path}': {fact}, of the text {text[:40]!r}. Give the tokenizer "
                "that the model was trained with."
            ) from error


def _of_tokens(relevance: Array) -> Array:
    """Of each token, [tokens]."""
    sums = relevance.reshape(*relevance.shape[:2], -1).sum(axis=(0, 2), dtype=np.float64)
    return np.asarray(sums)


def _padded(values: Sequence[int], size: int, filler: int) -> list[int]:
    return [*values, *[filler] * (size - len(values))]


def _read(tokenizers: Any, path: Path) -> Any:
    if path.suffix == ".model":
        return read_pieces(path)
    if path.suffix == ".json":
        return tokenizers.Tokenizer.from_file(str(path))
    lines = path.read_text(encoding="utf-8").splitlines()
    lower = not any(line != line.lower() for line in lines if not line.startswith("["))
    return tokenizers.BertWordPieceTokenizer(str(path), lowercase=lower)


def _words(encoding: Any, text: str) -> list[Word]:
    """The tokens in words; those that stand for no part of the text, such as [CLS], alone."""
    words: list[Word] = []
    last: tuple[int | None, int] = None, 0
    began = 0
    numbers = zip(encoding.word_ids, encoding.offsets, encoding.tokens, strict=True)
    for place, (number, (begin, end), token) in enumerate(numbers):
        if number is None:
            words.append(Word(token, place, place + 1, is_mark=True))
            last = None, 0
            continue
        piece, joined = text[begin:end], begin == last[1] and last[0] is not None
        inside = joined and bool({piece.strip()[:1], text[begin - 1 : begin]} & JOINTS)
        if last[0] is not None and (number == last[0] or inside):
            before, whole = words.pop(), text[began:end].strip() or token
            words.append(Word(whole, before.start, place + 1, before.is_apart))
        else:
            began = begin
            is_apart = not joined or piece[:1].isspace()
            words.append(Word(piece.strip() or token, place, place + 1, is_apart))
        last = number, end
    return words
