"""Many inputs are run in batches and come back one by one, each as if it had been alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from commands import picture_net, run_command
from models import assert_close, network
from PIL import Image

import lrp_onnx
from lrp_onnx import Explainer, InputError
from lrp_onnx.graph import session as runtime
from lrp_onnx.graph.session import Runtime

TWO_SIZES = network("c = Conv(x, w) y = ReduceMean<keepdims=0>(c, a)", (1, 1, 8, 8),
                    symbolic=(0, 2, 3), w=(3, 1, 3, 3), a=[2, 3])  # fmt: skip
FIXED = network("f = Flatten(x) y = MatMul(f, w)", (1, 2, 3), symbolic=(), w=(6, 4))


def pictures(*sizes):
    rng = np.random.default_rng(2)
    return [rng.standard_normal((1, 1, n, n)).astype(np.float32) for n in sizes]


@pytest.fixture
def runs(monkeypatch):
    """The batches that sessions of compiled models are run with."""
    seen, run = [], Runtime.run

    def recorded(self, feeds, names=None):
        if self.metadata:  # else it folds weights
            seen.append(next(iter(feeds.values())).shape[0])
        return run(self, feeds, names)

    monkeypatch.setattr(Runtime, "run", recorded)
    return seen


CASES = {
    "a rest": (picture_net(), pictures(*[8] * 7), 3, [3, 3, 1]),
    "several samples at once": (
        picture_net(),
        [np.repeat(x, 2, 0) for x in pictures(8, 8, 8)],
        5,
        [4, 2],
    ),
    "more than a batch": (picture_net(), [np.repeat(pictures(8)[0], 4, 0)], 2, [4]),
    "other sizes": (TWO_SIZES, pictures(8, 8, 9, 8), 4, [2, 1, 1]),
    "a fixed batch": (FIXED, [np.ones((1, 2, 3), np.float32)] * 3, 4, [1, 1, 1]),
    "nothing": (picture_net(), [], 4, []),
}


@pytest.mark.parametrize(("model", "inputs", "batch", "expected"), CASES.values(), ids=CASES)
def test_each_is_what_it_is_alone(model, inputs, batch, expected, runs):
    explainer = Explainer(lrp_onnx.compile(model, check=False))
    found = list(explainer.many(inputs, batch))
    assert runs == expected
    assert len(found) == len(inputs)
    for x, result in zip(inputs, found, strict=True):
        alone = explainer(x)
        for name, r in alone.relevance.items():
            assert_close(result.relevance[name], r)
        for name, y in alone.outputs.items():
            assert_close(result.outputs[name], y)


def test_inputs_are_taken_as_they_are_needed(runs):
    explainer = Explainer(lrp_onnx.compile(picture_net(), check=False))
    taken = []
    found = explainer.many((taken.append(k) or x for k, x in enumerate(pictures(*[8] * 9))), 2)
    next(found)
    assert len(taken) <= 3


WRONG = {
    "no batch axis": (1, np.zeros((1, 8, 8), np.float32), r"Add a batch axis with array\[None\]"),
    "another dtype": (0, np.zeros((1, 1, 8, 8)), "float64 .*astype"),
    "another size": (2, np.zeros((1, 1, 9, 8), np.float32), "8 along axis 2"),
    "another name": (2, {"picture": np.zeros((1, 1, 8, 8), np.float32)}, "no such input"),
}


@pytest.mark.parametrize(("place", "wrong", "fact"), WRONG.values(), ids=WRONG)
def test_a_wrong_one_is_named(place, wrong, fact):
    explainer = Explainer(lrp_onnx.compile(picture_net(), conditions="h", check=False))
    inputs = pictures(8, 8, 8)
    inputs[place] = wrong
    with pytest.raises(InputError, match=rf"^inputs\[{place}\] of many: input .*{fact}"):
        list(explainer.many(inputs))


def test_each_may_bring_its_own_mask():
    explainer = Explainer(lrp_onnx.compile(picture_net(), conditions="h", check=False))
    masks = np.eye(3, dtype=np.float32)
    feeds = [{"image": x, "h_condition": masks[k : k + 1]} for k, x in enumerate(pictures(8, 8, 8))]
    for x, result in zip(feeds, explainer.many(feeds, 2), strict=True):
        assert_close(result.relevance["image"], explainer(x).relevance["image"])


def test_a_target_is_that_of_every_sample():
    explainer = Explainer(lrp_onnx.compile(picture_net(), target="input", check=False))
    inputs = pictures(8, 8, 8)
    for x, result in zip(inputs, explainer.many(inputs, 2, target=1), strict=True):
        assert_close(result.relevance["image"], explainer(x, target=1).relevance["image"])


def test_threads_are_the_sessions():
    explainer = Explainer(lrp_onnx.compile(picture_net(), check=False), threads=2)
    options = explainer._runtime.session.get_session_options()
    assert options.intra_op_num_threads == 2


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model, and a folder of five pictures, one array and a file that is neither."""
    onnx.save(picture_net(3), tmp_path / "model.onnx")
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(4)
    for name in ("a.png", "b.jpg", "c.png", "d.png", "d.jpg"):
        pixels = rng.integers(0, 256, (12, 9, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / name)
    np.save(tmp_path / "photos" / "e.npy", np.ones((3, 8, 8), np.float32))
    (tmp_path / "photos" / "notes.txt").write_text("not a picture")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_explain_a_folder(folder: Path, capsys, runs):
    common = ["explain", "model.onnx", "photos", "--preprocess", "imagenet", "--no-check"]
    shown = run_command(capsys, *common, "-o", "why", "--batch", "4")
    assert (shown.status, shown.err.count("\n")) == (0, 1)
    assert "1 other file left out" in shown.err
    names = ["a.png", "b.png", "c.png", "d.jpg.png", "d.png.png", "e.png"]
    names += ["index.html", "predictions.csv", "predictions.json"]
    assert sorted(p.name for p in (folder / "why").glob("[!.]*")) == names
    assert runs == [4, 2]
    run_command(capsys, *common, "-o", "arrays", "--format", "npz")
    for picture, stem in (("b.jpg", "b"), ("d.png", "d.png")):
        alone = ["explain", "model.onnx", f"photos/{picture}", "--preprocess", "imagenet"]
        run_command(capsys, *alone, "-o", "alone.npz")
        with np.load("alone.npz") as one, np.load(f"arrays/{stem}.npz") as found:
            assert_close(found["image_relevance"], one["image_relevance"])
            assert_close(found["logits"], one["logits"])


def test_a_folder_opens_one_session(folder: Path, capsys, monkeypatch):
    opened, open_ = [], runtime._open
    monkeypatch.setattr(runtime, "_open", lambda *given: opened.append(given[1]) or open_(*given))
    arguments = ["model.onnx", "photos", "--preprocess", "imagenet", "--no-check", "-o", "why"]
    assert run_command(capsys, "explain", *arguments, "--fold", "never").status == 0
    assert len(opened) == 1


def test_a_compiled_file_is_opened_by_the_runtime_alone(folder: Path, monkeypatch):
    lrp_onnx.compile("model.onnx", check=False).save("compiled.onnx")
    opened, open_ = [], runtime._open
    monkeypatch.setattr(runtime, "_open", lambda *given: opened.append(given[1]) or open_(*given))
    explainer = Explainer("compiled.onnx")
    list(explainer.many([np.ones((1, 3, 8, 8), np.float32)] * 9, 2))
    assert opened == ["compiled.onnx"]


REFUSED = {
    "a file as output": (["photos", "-o", "model.onnx"], "results are written as"),
    "an unknown format": (
        ["photos", "-o", "why", "--format", "gif"],
        "not one of 'png', 'jpg', 'svg', 'pdf', 'html', 'npz', 'csv'",
    ),
    "nothing in it": (["empty", "-o", "why"], "no picture"),
    "other inputs beside it": (["photos", "photos/a.png", "-o", "why"], "Give a folder alone"),
    "pictures that are broken": (["broken", "-o", "why"], "broken/a.png"),
    "a file's name as output": (["photos", "-o", "why.png"], "-o why/ --format png"),
}


@pytest.mark.parametrize(("arguments", "fact"), REFUSED.values(), ids=REFUSED)
def test_a_folder_that_fails_leaves_nothing(arguments, fact, folder: Path, capsys):
    (folder / "empty").mkdir()
    (folder / "broken").mkdir()
    (folder / "broken" / "a.png").write_bytes(b"neither is this")
    (folder / "broken" / "b.png").write_bytes(b"not a picture")
    before = sorted(folder.rglob("*"))
    shown = run_command(capsys, "explain", "model.onnx", *arguments, "--preprocess", "imagenet")
    assert shown.status == 2
    assert fact in shown.err
    assert sorted(folder.rglob("*")) == before
