"""What a newcomer types first: a model, files, and hardly an option."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import typer
from commands import picture_net, run_command, write

import lrp_onnx
from lrp_onnx.answer.sample_files import read_samples
from lrp_onnx.compiler.stages import load_any
from lrp_onnx.errors import InputError

Capture = pytest.CaptureFixture[str]

TWO = onnx.parser.parse_model(
    """<ir_version: 10, opset_import: ["" : 18]>
    g (float[1,4] a, float[1,4] b) => (float[1,4] y) { y = Mul(a, b) }"""
)


DESTINATIONS = {
    "explain model.onnx photo.png": ["photo.lrp.png"],
    "model.onnx photo.png": ["photo.lrp.png"],
    "model.onnx photo.png --format html": ["photo.lrp.html"],
    "model.onnx photo.png -o why/": ["why/photo.png"],
    "model.onnx photo.png -o why": ["why/photo.png"],
    "model.onnx photo.png -o .": ["photo.lrp.png"],
    "model.onnx photo.png -o deep/er/why/ --format html": ["deep/er/why/photo.html"],
    "model.onnx photo.png x.npy": ["photo.lrp.png", "x.lrp.png"],
    "model.onnx photo.png x.npy -o why/": ["why/photo.png", "why/x.png"],
    "model.onnx pictures": ["pictures.lrp/photo.png"],
    "model.onnx pictures/ -o why": ["why/photo.png"],
}


@pytest.mark.parametrize("words", DESTINATIONS)
def test_an_answer_has_a_place_without_being_told(
    words: str, folder: Path, capsys: Capture
) -> None:
    (folder / "pictures").mkdir()
    shutil.copy("photo.png", "pictures/photo.png")
    outcome = run_command(capsys, *words.split(), "--preprocess", "unit")
    assert (outcome.status, outcome.err) == (0, "")
    expected = DESTINATIONS[words]
    made = {p for p in folder.rglob("*") if p.suffix in (".png", ".html")}
    made -= {folder / "photo.png", folder / "pictures" / "photo.png"}
    answers = {p for p in made if p.name != "index.html"}  # which leads to those of a folder
    assert sorted(str(p.relative_to(folder)) for p in answers) == expected


def test_earlier_answers_are_no_inputs(folder: Path, capsys: Capture) -> None:
    given = ["model.onnx", "photo.png", "x.npy", "--preprocess", "unit"]
    run_command(capsys, *given)
    again = run_command(capsys, *given, "photo.lrp.png", "x.lrp.png")
    assert again.err == "warning: 2 earlier answers left out\n"
    assert "2 files into ." in again.out
    assert not (folder / "photo.lrp.lrp.png").exists()


REFUSED = {
    "model.onnx": "no input is given, and the model wants 'image' float32 [",
    "two.onnx": "Give it: lrp-onnx explain two.onnx a=FILE b=FILE",
    "model.onnx x.npy -o why.html --format png": "Leave one of both out",
    "model.onnx photo.png x.npy -o why.png --preprocess unit": "-o why/ --format png",
    "model.onnx x.npy pictures/x.npy": "of several folders",
    "model.onnx x.npy -o x.npz --format npz --preprocess nothing": "unknown",
    "model.onnx all.npz -o all.npz": "the input itself",
    "model.onnx x.npy -o model.onnx": "results are written as .png",
    "two.onnx a.npz": "no file is given for input 'b'. Give 'b=FILE', or all inputs by name",
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_is_missing_is_asked_for(words: str, folder: Path, capsys: Capture) -> None:
    write(folder / "two.onnx", TWO)
    (folder / "pictures").mkdir()
    shutil.copy("x.npy", "pictures/x.npy")
    np.savez("all.npz", image=np.load("x.npy"))
    np.savez("a.npz", a=np.ones((1, 4), np.float32), c=np.ones(3))
    outcome = run_command(capsys, *words.split())
    assert outcome.status == 2
    assert REFUSED[words] in outcome.err
    assert outcome.err.count("\n") == 1


def test_one_file_holds_every_input_by_name(folder: Path, capsys: Capture) -> None:
    write(folder / "two.onnx", TWO)
    a, b = np.float32([[1, 2, 3, 4]]), np.float32([[-1, 0, 2, 5]])
    np.savez("both.npz", b=b, a=a, other=b)
    assert run_command(capsys, "two.onnx", "both.npz", "--format", "npz").status == 0
    with np.load("both.lrp.npz") as arrays:
        expected = lrp_onnx.Explainer(lrp_onnx.compile("two.onnx"))({"a": a, "b": b})
        for name in ("a", "b"):
            np.testing.assert_array_equal(arrays[f"{name}_relevance"], expected.relevance[name])


def test_a_compiled_model_is_run(folder: Path, capsys: Capture) -> None:
    lrp_onnx.compile("model.onnx", composite="zplus", target=2).save("compiled.onnx")
    outcome = run_command(capsys, "compiled.onnx", "x.npy", "--format", "npz")
    assert (outcome.status, outcome.err) == (0, "")
    assert "2 of logits" in outcome.out
    with np.load("x.lrp.npz") as arrays:
        result = lrp_onnx.Explainer("compiled.onnx")(np.load("x.npy"))
        np.testing.assert_array_equal(arrays["image_relevance"], result.relevance["image"])
    (folder / "mixed").mkdir()
    shutil.copy("photo.png", "mixed")
    shutil.copy("x.npy", "mixed")
    many = run_command(capsys, "compiled.onnx", "mixed", "--preprocess", "unit")
    assert (many.status, many.err) == (0, "")
    assert "2 files into mixed.lrp" in many.out


DECIDED = {
    "--composite epsilon": "is compiled already, and --composite was decided then",
    "--set epsilon=1": "and --set was decided then",
    "--target 1": None,
    "--no-check": "and --check was decided then",
    "": "is compiled for target input. Say which: --target input=CLASS",
    "--target input=1": None,
    "--target input=1 --condition h=1": "not compiled for it",
}


@pytest.mark.parametrize("words", DECIDED)
def test_a_compiled_model_is_told_what_it_leaves_open(
    words: str, folder: Path, capsys: Capture
) -> None:
    lrp_onnx.compile("model.onnx", target="input").save("compiled.onnx")
    outcome = run_command(capsys, "compiled.onnx", "x.npy", *words.split())
    if words == "--target input=1":
        assert (outcome.status, outcome.err) == (0, "")
        return
    assert outcome.status == 2
    assert (DECIDED[words] or "Say which") in outcome.err


@pytest.mark.parametrize("opens", [True, False])
def test_the_answer_is_opened(
    opens: bool, folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    monkeypatch.setattr(typer, "launch", lambda place: shown.append(place) or int(not opens))
    outcome = run_command(capsys, "model.onnx", "x.npy", "--show")
    assert shown == ["x.lrp.png"]
    assert (outcome.status, bool(outcome.err)) == (0, not opens)


def test_a_folder_is_no_model_and_no_command(folder: Path, capsys: Capture) -> None:
    assert "No such command" in run_command(capsys, "photos", "model.onnx").err
    write(folder / "inspect", picture_net())  # a command all the same
    assert "MODEL.onnx" in run_command(capsys, "inspect").err


def test_a_page_asks_for_all_that_it_needs_at_once(folder: Path, capsys: Capture) -> None:
    told = run_command(capsys, "export", "web", "model.onnx", "-o", "page")
    assert told.status == 2
    assert "npm install onnxruntime-web" in told.err
    assert "Besides, how the model's pictures were normalized" in told.err
    alone = ["--runtime-url", "https://example.org"]
    assert "npm" not in run_command(capsys, "export", "web", "model.onnx", "-o", "p", *alone).err


def test_a_sentence_for_a_model_of_pictures(folder: Path, capsys: Capture) -> None:
    told = run_command(capsys, "model.onnx", "a cat in the grass")
    assert "the model takes no text: it wants float32 [" in told.err


def test_a_model_that_takes_texts_as_they_are(folder: Path, capsys: Capture) -> None:
    """scikit-learn's vectorizer and classifier in one file: which words count is no gradient's."""
    text = """<ir_version: 10, opset_import: ["" : 21]>
    g (string[1,n] text) => (float[1,3] y) { t = TfIdfVectorizer<mode="TF",
    max_gram_length=1, max_skip_count=0, min_gram_length=1, ngram_counts=[0], ngram_indexes=[0,1,2],
    pool_strings=["a","good","film"]>(text) y = Relu(t) }"""
    onnx.save(onnx.parser.parse_model(text), folder / "words.onnx")
    for arguments in (("words.onnx", "a good film"), ("inspect", "words.onnx")):
        told = run_command(capsys, *arguments)
        assert told.status == 2
        assert "takes texts as they are" in told.err
        assert "pipe[1:]" in told.err


def test_inspect_knows_the_range_that_preprocess_tells(folder: Path, capsys: Capture) -> None:
    assert "graded-box" not in run_command(capsys, "inspect", "model.onnx").out
    given = ["inspect", "model.onnx", "--preprocess", "unit", "--json"]
    assert json.loads(run_command(capsys, *given).out)["chosen_because"].count("range is known")
    assert run_command(capsys, "inspect", "model.onnx", "--quiet").out == ""


def test_one_bad_file_among_the_samples_to_compare_on_is_left_out(folder: Path) -> None:
    model, samples = load_any("model.onnx").model, folder / "samples"
    samples.mkdir()
    shutil.copy("x.npy", samples / "a.npy")
    (samples / "b.npy").write_bytes(b"no array")
    told: list[str] = []
    assert len(read_samples(model, ["samples"], None, lambda text: told.append(str(text)))) == 1
    (line,) = told
    assert line.startswith("left out: 'samples/b.npy': not an array file")
    (samples / "a.npy").unlink()
    with pytest.raises(InputError, match="not an array file"):
        read_samples(model, ["samples"], None, lambda text: None)
