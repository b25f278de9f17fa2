"""`explain` of a sentence and of text files."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from commands import run_command, text_net, write

from lrp_onnx.answer.inputs import Reader
from lrp_onnx.answer.sample_files import read_samples
from lrp_onnx.compiler.stages import load_any
from lrp_onnx.options import PictureOptions
from lrp_onnx.visual.plot import heatmap_page
from lrp_onnx.visual.words import colored_words, largest_words

Capture = pytest.CaptureFixture[str]
VOCABULARY = "[PAD] [UNK] [CLS] [SEP] [MASK] a film un ##for ##get , good"


@pytest.fixture
def texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model with its vocabulary, and texts."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "text.onnx", text_net())
    (tmp_path / "vocab.txt").write_text("\n".join(VOCABULARY.split()))
    (tmp_path / "review.txt").write_text("a good film\n")
    return tmp_path


def test_a_sentence_is_explained_word_by_word(texts: Path, capsys: Capture) -> None:
    outcome = run_command(capsys, "text.onnx", "A unforget film", "--format", "npz")
    assert (outcome.status, outcome.err) == (0, "warning: the text is longer than 6 tokens: the "
                                                "rest was cut off\n")  # fmt: skip
    with np.load("a-unforget-film.lrp.npz") as arrays:
        unforget = arrays["ids_relevance"][0, 2:5].sum()
        marks = arrays["ids_relevance"][0, [0, 5]].sum()
    assert f"unforget {unforget:+.3g}" in outcome.out
    assert f"; {marks:+.3g} at [CLS] and [SEP], which are no words" in outcome.out


@pytest.mark.parametrize("ending", ["png", "html"])
def test_a_file_of_text_has_a_picture(ending: str, texts: Path, capsys: Capture) -> None:
    outcome = run_command(capsys, "text.onnx", "review.txt", "--format", ending)
    assert (outcome.status, outcome.err) == (0, "")
    assert (texts / f"review.lrp.{ending}").stat().st_size > 1000


def test_a_page_has_the_text_as_words(texts: Path, capsys: Capture) -> None:
    run_command(capsys, "text.onnx", "a <film", "-o", "why.html")
    page = (texts / "why.html").read_text(encoding="utf-8")
    film = re.search(r'<span style="color: \w+; background: #(\w{6})" title="(.\d\S*)">film<', page)
    assert film is not None
    assert film[1] != "ffffff"
    assert "[CLS]</span>" not in page
    assert re.search(r'<p class="why">the words sum to \S+; and \S+ at \[CLS\], \[SEP\]', page)
    assert "<img" not in page
    assert "&lt;" in page
    assert "the word with the most" in page


def test_the_other_commands_take_texts_too(texts: Path, capsys: Capture) -> None:
    assert run_command(capsys, "verify", "text.onnx", "a good film", "--quiet").status == 0
    bench = run_command(capsys, "bench", "text.onnx", "review.txt", "--runs", "1", "--quiet")
    assert (bench.status, bench.out) == (0, "")
    model, reader = load_any("text.onnx").model, Reader(Path("text.onnx"))
    told: list[str | None] = []
    samples = read_samples(model, ["review.txt", "good"], None, told.append, reader)
    assert [sample.feeds["ids"].shape for sample in samples] == [(1, 6)] * 2
    assert samples[0].feeds["ids"].tolist() == [[2, 5, 11, 6, 3, 0]]
    assert told == []


def test_a_folder_of_texts(texts: Path, capsys: Capture) -> None:
    (texts / "reviews").mkdir()
    for name, words in {"a": "a good film", "b": "good"}.items():
        (texts / "reviews" / f"{name}.txt").write_text(words)
    outcome = run_command(capsys, "text.onnx", "reviews", "--format", "npz")
    assert (outcome.status, outcome.err) == (0, "")
    assert sorted(p.name for p in (texts / "reviews.lrp").glob("*.npz")) == ["a.npz", "b.npz"]


REFUSED = {
    "no tokenizer": (
        ["A film"],
        "beside 'text.onnx' there is no tokenizer.json or vocab.txt. Give",
    ),
    "a name without its quotes": (["A", "film"], "Put a sentence in quotes"),
    "a file's name": (["review.text"], "there is no file 'review.text'"),
    "another tokenizer": (["A film", "--tokenizer", "absent.json"], "no such file"),
}


@pytest.mark.parametrize(("given", "said"), REFUSED.values(), ids=REFUSED)
def test_what_is_missing_for_a_text_is_said(
    given: list[str], said: str, texts: Path, capsys: Capture
) -> None:
    if said.startswith("beside"):
        (texts / "vocab.txt").unlink()
    outcome = run_command(capsys, "text.onnx", *given)
    assert outcome.status == 2
    assert said in outcome.err
    assert outcome.err.count("\n") == 1


def test_words_in_a_terminal() -> None:
    words, values = ["great", ",", "not"], np.array([0.5, 0.0, -0.25])
    line = colored_words(words, [True, False, True], values)
    assert line.plain == "great, not"
    styles = {line.plain[span.start : span.end]: str(span.style) for span in line.spans}
    assert styles["great"].endswith("on #67000d")
    assert styles[","] == "black on #ffffff"
    assert largest_words(words, values) == "great +0.5, not -0.25, , +0"
    paler = colored_words(words, [True, False, True], values, limit=5.0)
    assert "#67000d" not in str(paler.spans)


def test_limits_of_a_picture_of_words() -> None:
    values, words = np.array([[0.5, -0.25]]), [["great", "not"]]
    grounds = []
    for limits in (None, 5.0):
        page = heatmap_page(values, tokens=words, options=PictureOptions(limits=limits))
        patch = page.texts[-2][0].get_bbox_patch()
        assert patch is not None
        grounds.append(sum(patch.get_facecolor()[:3]))
    assert grounds[1] > grounds[0] + 1


def test_a_damaged_sentencepiece_model_is_no_tokenizer(texts: Path, capsys: Capture) -> None:
    (texts / "vocab.txt").rename("spiece.model")
    beside = run_command(capsys, "text.onnx", "A film")
    named = run_command(capsys, "text.onnx", "A film", "--tokenizer", "spiece.model")
    for told in (beside, named):
        assert told.status == 2
        assert "spiece.model': " in told.err
        assert "save_pretrained('.')" in told.err
        assert told.err.count("\n") == 1
