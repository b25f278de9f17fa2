"""What `explain` writes: pictures, pages and arrays, their numbers and their notes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from commands import Capture, picture_net, run_command, size_and_text, text_net, write
from models import assert_close

import lrp_onnx
from lrp_onnx.answer.samples import Sample, note_on
from lrp_onnx.errors import InputError


def _relevance(path: str) -> np.ndarray:
    with np.load(path) as arrays:
        return arrays["image_relevance"]


@pytest.mark.parametrize("name", ["heat.png", "heat.html", "heat.npz"])
def test_explain_writes_every_format(name: str, folder: Path, capsys: Capture) -> None:
    (folder / "names.txt").write_text("cat\ndog\nbird\nfish\n")
    outcome = run_command(
        capsys, "explain", "soft.onnx", "photo.png", "-o", name, "--preprocess", "imagenet",
        "--labels", "names.txt",
    )  # fmt: skip
    assert (outcome.status, outcome.err) == (0, "")
    assert re.search(r"predicted: (cat|dog|bird|fish) \(\d\), \d+%", outcome.out)
    assert "imagenet (scale" in outcome.out
    written = (folder / name).read_bytes()
    if name.endswith(".png"):
        kept = size_and_text(name)[1]
        assert kept["composite"] == "graded-box"
        assert kept["preprocess"].startswith("imagenet (")
        assert kept["model"] == "soft.onnx"
    elif name.endswith(".html"):
        assert re.search(rb"<h2>(cat|dog|bird|fish) \(\d\), \d+", written)
        assert b"imagenet (scale" in written
    else:
        with np.load(name) as arrays:
            assert sorted(arrays.files) == ["image_relevance", "logits", "metadata"]
            assert arrays["image_relevance"].shape == (1, 3, 8, 8)


def test_explain_an_array_and_another_class(folder: Path, capsys: Capture) -> None:
    arguments = ["-o", "r.npz", "--target", "0-1", "--relevance-at", "h"]
    outcome = run_command(capsys, "explain", "model.onnx", "image=x.npy", *arguments)
    assert outcome.status == 0
    assert "sample 1" in outcome.out
    assert "explained: class 0" in outcome.out
    assert "against class 1" in outcome.out
    compiled = lrp_onnx.compile("model.onnx", target="0-1", relevance_at=["h"])
    expected = lrp_onnx.Explainer(compiled)(np.load("x.npy"))
    with np.load("r.npz") as arrays:
        assert_close(arrays["image_relevance"], expected.relevance["image"])
        assert_close(arrays["h_relevance"], expected.relevance["h"])


@pytest.mark.parametrize("where", ["x.npy", "in"])
@pytest.mark.parametrize(
    ("names", "said"), [("cat", "1 name for 4"), ("a b c d e", "5 names for 4")]
)
def test_explain_wants_a_name_for_each_class(
    names: str, said: str, where: str, folder: Path, capsys: Capture
) -> None:
    (folder / "names.txt").write_text("\n".join(names.split()))
    (folder / "in").mkdir()
    np.save("in/x.npy", np.load("x.npy"))
    arguments = ["model.onnx", where, "-o", "r/", "--labels", "names.txt"]
    outcome = run_command(capsys, "explain", *arguments)
    assert (outcome.status, outcome.out) == (2, "")
    assert f"labels: {said} classes of output 'logits'" in outcome.err
    assert not (folder / "r").exists()
    two = ["model.onnx", "x.npy", "--composite", "epsilon", "--composite", "zplus"]
    told = run_command(capsys, *two, "--labels", "names.txt").err
    with pytest.raises(InputError) as caught:
        lrp_onnx.explain("model.onnx", "x.npy", labels="names.txt")
    for text in (told, str(caught.value)):
        assert f"labels: {said} classes of output 'logits'" in text


NOTES = {
    "most arrived": (Sample("", "", 2.0, 1.9), ""),
    "a little arrived": (Sample("", "", 2.0, 0.1), "absorbed 95 %"),
    "the sign changed": (Sample("", "", 2.0, -1.0), "sums to -1 where 2 is explained: its sign"),
    "a little of another sign": (Sample("", "", 2.0, -0.1), "absorbed 105 %"),
    "none arrived": (Sample("", "", 2.0, 0.0), "the map is 0 everywhere"),
    "all negative": (Sample("", "", -2.0, -1.9), ""),
    "nothing to explain": (Sample("", "", 0.0, 0.1), ""),
    "a gradient": (Sample("", "", 2.0, -1.0, conserving=False), ""),
}


@pytest.mark.parametrize("name", NOTES)
def test_relevance_that_hardly_arrives_has_a_note(name: str) -> None:
    sample, said = NOTES[name]
    assert said in note_on([sample])
    assert bool(said) == bool(note_on([sample]))


@pytest.mark.parametrize("composite", ["epsilon", "gradient"])
def test_the_note_is_shown_and_in_the_page(composite: str, folder: Path, capsys: Capture) -> None:
    model = picture_net()
    bias = next(w for w in model.graph.initializer if w.name == "c")
    bias.CopyFrom(onnx.numpy_helper.from_array(np.full(4, 1e4, np.float32), "c"))
    write(folder / "biased.onnx", model)
    arguments = ["biased.onnx", "x.npy", "-o", "h.html", "--composite", composite]
    shown = run_command(capsys, "explain", *arguments).out
    page = (folder / "h.html").read_text(encoding="utf-8")
    for text in (shown, page):
        assert ("absorbed 100 % of the relevance" in text) == (composite == "epsilon")


def test_preprocess_implies_the_bounds_of_zbox(folder: Path, capsys: Capture) -> None:
    arguments = ["explain", "soft.onnx", "photo.png", "--preprocess", "imagenet", "-o", "r.npz"]
    outcome = run_command(capsys, *arguments, "--composite", "epsilon-gamma-box")
    assert outcome.status == 0
    implied = _relevance("r.npz")
    low, high = [-2.117904, -2.035714, -1.804444], [2.248908, 2.428571, 2.64]
    sets = [f"low={','.join(map(str, low))}", f"high={','.join(map(str, high))}"]
    given = [f"--set={text}" for text in sets]
    assert run_command(capsys, *arguments, "--composite", "epsilon-gamma-box", *given).status == 0
    assert_close(_relevance("r.npz"), implied)
    halved = [f"--set=low={-2}", "--set=high=2"]
    assert run_command(capsys, *arguments, "--composite", "epsilon-gamma-box", *halved).status == 0
    assert np.abs(_relevance("r.npz") - implied).max() > 1e-3 * implied.max()


def normalizing_net() -> onnx.ModelProto:
    """Pixels 0 to 255 in: the model's first nodes normalize."""
    model = picture_net(channels=3)
    model.graph.node[0].input[0] = "normalized"
    for k, (op, name, value) in enumerate(
        [("Div", "deviation", [58.4, 57.1, 57.4]), ("Sub", "mean", [123.7, 116.3, 103.5])]
    ):
        array = np.float32(value).reshape(1, 3, 1, 1)
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
        ends = (["centered", name], ["normalized"]) if k == 0 else (["image", name], ["centered"])
        model.graph.node.insert(0, onnx.helper.make_node(op, *ends, name))
    return model


def test_a_model_that_normalizes_needs_no_preprocess(folder: Path, capsys: Capture) -> None:
    write(folder / "normalizing.onnx", normalizing_net())
    arguments = ["explain", "normalizing.onnx", "photo.png", "-o", "r.npz"]
    outcome = run_command(capsys, *arguments, "--composite", "epsilon-gamma-box")
    assert (outcome.status, outcome.err) == (0, "")
    assert "byte, implied by the model's node" in outcome.out
    parameters = re.search(r"parameters +zbox.low=\[(\S+), .* zbox.high=\[(\S+), ", outcome.out)
    assert parameters is not None
    # the range at the first layer, behind the model's own normalization
    assert float(parameters[1]) == pytest.approx(-123.7 / 58.4)
    assert float(parameters[2]) == pytest.approx((255 - 123.7) / 58.4)


def test_explain_a_text(folder: Path, capsys: Capture) -> None:
    write(folder / "text.onnx", text_net())
    np.save("ids.npy", np.arange(6)[None])
    outcome = run_command(
        capsys, "explain", "text.onnx", "ids.npy", "-o", "t.png", "--composite", "epsilon"
    )
    assert (outcome.status, outcome.err) == (0, "")
    assert size_and_text("t.png")[0][0] > 100
