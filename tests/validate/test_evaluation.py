"""What an evaluation says: other classes, the conclusion, its cost, how the command shows it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from commands import run_command
from models import network
from PIL import Image

from lrp_onnx import Explainer, compile, digits
from lrp_onnx.errors import InputError, RuleError
from lrp_onnx.validate import evaluate as module
from lrp_onnx.validate.evaluate import evaluate
from lrp_onnx.validate.evaluation import Judged, conclusion, mean_and_error
from lrp_onnx.validate.flipping import Curve, Flipped
from lrp_onnx.validate.map_statistics import complexity
from lrp_onnx.validate.question import Candidate

Capture = pytest.CaptureFixture[str]
MODEL, IMAGES, _ = digits.load()
X = (IMAGES[:, None] / 255).astype(np.float32)


def judged(name: str, gains: list[float], kind: str = "lrp", default: bool = False) -> Judged:
    ends = np.array([0.0, 1])
    flipped = [Flipped(Curve(ends, ends * 0), Curve(ends, np.full(2, gain))) for gain in gains]
    return Judged(name, kind, flipped, np.zeros(len(gains)), is_default=default)


RANDOM = judged("random", [0, 0.01, -0.01], "reference")
CONCLUSIONS = {
    "the best": (
        [judged("a", [0.5, 0.6, 0.7]), judged("b", [0.3, 0.4, 0.5], default=True), RANDOM],
        "Take a: SRG 0.600 ± 0.058 on 3 samples, 0.200 ± 0.000 above b.",
    ),
    "the default among equals": (
        [judged("a", [0.5, 0.6, 0.7]), judged("b", [0.7, 0.5, 0.55], default=True), RANDOM],
        "Take b: SRG 0.583 ± 0.060 on 3 samples; a is within one standard error of it.",
    ),
    "a difference of nothing": (
        [judged("a", [0.5, 0.6, 0.7]), judged("b", [0.499, 0.599, 0.699]), RANDOM],
        "Take a: SRG 0.600 ± 0.058 on 3 samples; b is within one standard error of it.",
    ),
    "none": (
        [judged("a", [0, 0, -0.1]), RANDOM],
        "a comes out first, and does no better than random, which knows nothing of the model (SRG "
        "-0.033 ± 0.033 and 0.000 ± 0.006 on 3 samples): trust none.",
    ),
    "too few": (
        [judged("a", [0.3, -0.2, 0.1]), RANDOM],
        "a comes out first, and not surely ahead of random, which knows nothing of the model (SRG "
        "0.067 ± 0.145 and 0.000 ± 0.006 on 3 samples): give more samples before you trust it.",
    ),
    "one alone": (
        [judged("a", [0.5, 0.6, 0.7]), RANDOM],
        "Take a: SRG 0.600 ± 0.058 on 3 samples, and 0.600 ± 0.061 above random.",
    ),
    "one sample": (
        [judged("a", [0.5]), judged("b", [0.1]), judged("random", [0.0], "reference")],
        "One sample tells little: on it a comes out first (SRG 0.500). Give ten or more to choose "
        "by.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CONCLUSIONS)
def test_the_conclusion_is_honest(name: str) -> None:
    found, text = CONCLUSIONS[name]
    assert conclusion(found, len(found[0].flipped)) == text


def test_the_standard_error() -> None:
    mean, error = mean_and_error(np.array([1.0, 2, 3, np.nan]))
    assert (mean, error) == (2, pytest.approx(1 / 3**0.5))
    assert np.isnan(mean_and_error(np.array([1.0]))[1])
    assert np.isnan(mean_and_error(np.array([np.nan]))[0])


WEIGHTS = np.float32([[3, 1, 0.1, 0.2], [1, 2, 1, 1.5], [0.1, 0.2, 3, 1]]).T
CLASSES = network("y = MatMul(x, w)", ("N", 4), w=WEIGHTS)
THREE = np.float32([[4, 3, 1, 1]])  # logits 15.3, 12.5, 5


def test_a_map_that_does_not_know_the_class_is_seen() -> None:
    found = evaluate(CLASSES, THREE, ["epsilon"], replacement="zero")
    assert found.other_class == "the third largest class"
    assert np.allclose(found["epsilon"].other_class, -1)
    alike = evaluate(
        network("y = MatMul(x, w)", ("N", 4), w=WEIGHTS[:, :1] * [1, 2, 3]), THREE, ["epsilon"]
    )
    assert np.allclose(alike["epsilon"].other_class, 1)
    two = evaluate(network("y = MatMul(x, w)", ("N", 4), w=WEIGHTS[:, :2]), THREE, ["epsilon"])
    assert two.other_class == "the other class"
    one = evaluate(network("y = MatMul(x, w)", ("N", 4), w=WEIGHTS[:, :1]), THREE, ["epsilon"])
    assert one.other_class == ""
    assert one["epsilon"].other_class is None


def test_the_other_class_is_never_the_explained_one() -> None:
    for target in range(3):
        found = evaluate(CLASSES, THREE, ["epsilon"], target=target)
        assert found["epsilon"].other_class[0] < 1


def test_what_is_not_asked_for_may_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = [Candidate(), Candidate("zbox"), Candidate("epsilon")]
    monkeypatch.setattr(module, "_usual", lambda question, original: usual)
    found = evaluate(MODEL, X[:1], points=2, redraw=0)
    assert [j.name for j in found.judged if j.kind == "lrp"] == ["graded", "epsilon"]
    assert any("zbox is left out: rule 'zbox'" in text for text in found.warnings)
    with pytest.raises(RuleError, match="zbox"):
        evaluate(MODEL, X[:1], ["zbox"])


def test_what_is_compared_where_nobody_says() -> None:
    found = evaluate(MODEL, X[:2], points=2, redraw=0)
    assert not found.warnings
    ranged = evaluate(MODEL, X[:1], points=2, redraw=0, ranges={"image": ([0], [1])})
    assert {j.name for j in ranged.judged} - {j.name for j in found.judged} == {
        *("graded-box", "epsilon-gamma-box")
    }
    names = [j.name for j in found.judged]
    assert len(set(names)) == len(names)
    assert [j.name for j in found.judged if j.kind == "reference"] == ["random", "edges", "center"]
    assert [j.is_default for j in found.judged][:2] == [True, False]


def test_what_is_replaced_has_to_matter() -> None:
    model = network("h = Mul(x, s) g = Add(h, b) y = MatMul(g, w)", ("N", 4),
                    s=np.float32(0.01), b=np.float32(3), w=np.ones((4, 1)))  # fmt: skip
    x = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    found = evaluate(model, x, ["epsilon"], replacement="zero")
    assert "replacing them hardly matters" in found.warnings[-1]
    assert not evaluate(MODEL, X[:2], ["epsilon"], points=2, redraw=0).warnings


def test_one_number_for_all_rows_is_one_sample() -> None:
    model = network("y = Det(x)", (4, 4))
    x = np.random.default_rng(0).standard_normal((4, 4)).astype(np.float32)
    found = evaluate(model, x, ["epsilon"], points=2, redraw=0)
    assert found.samples == 1


def test_what_is_not_finite_is_said() -> None:
    model = network("l = Log(x) y = MatMul(l, w)", ("N", 4), w=(4, 1))
    x = np.float32([[1, 2, 3, 4]])
    with pytest.raises(InputError, match="sample 0: its score is not finite when units"):
        evaluate(model, x, ["epsilon"], replacement="zero")
    with pytest.raises(InputError, match="sample 1: its score is"):
        evaluate(model, np.concatenate([x, -x]), ["epsilon"])
    with pytest.raises(InputError, match="there is no sample"):
        evaluate(model, [], ["epsilon"])


def test_a_file_without_a_score_is_named_and_left_out(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "digits.onnx").write_bytes(MODEL)
    for name in "abcdef":
        np.save(tmp_path / f"{name}.npy", X[:1])
    np.save(tmp_path / "b.npy", np.full_like(X[:1], np.nan))
    np.save(tmp_path / "d.npy", np.concatenate([X[1:2], np.full_like(X[:1], np.nan)]))
    options = ("--composite", "epsilon", "--points", "2", "--redraw", "0", "--json")
    files = [str(tmp_path / f"{name}.npy") for name in "abcdef"]
    for tune in ((), ("--tune", str(tmp_path / "mine.toml"))):
        outcome = run_command(
            capsys, "evaluate", str(tmp_path / "digits.onnx"), *files, *options, *tune
        )
        assert outcome.status == 0, outcome.err
        assert json.loads(outcome.out)["samples"] == (2 if tune else 5)
        assert f"left out: '{tmp_path}/b.npy': its score is nan." in outcome.err
        assert f"left out: '{tmp_path}/d.npy', sample 1: its score is nan." in outcome.err
    alone = run_command(capsys, "evaluate", str(tmp_path / "digits.onnx"), files[1], *options)
    assert alone.status == 2
    assert f"'{tmp_path}/b.npy': its score is nan. Leave it out" in alone.err


SOFTMAX = network("z = MatMul(x, w) y = Softmax(z)", ("N", 4), w=WEIGHTS)


@pytest.mark.parametrize("start", ["logit", "contrast", "one", None])
@pytest.mark.parametrize("model", [CLASSES, SOFTMAX], ids=["logits", "probabilities"])
def test_the_maps_are_those_of_explain(model: onnx.ModelProto, start: str | None) -> None:
    x = np.concatenate([THREE, THREE[:, ::-1]])
    found = evaluate(model, x, ["epsilon"], start=start, redraw=0)
    compiled = compile(model, composite="epsilon", start=start)
    maps = Explainer(compiled)(x).relevance["x"]
    assert np.allclose(found["epsilon"].complexity, [complexity({"x": r}) for r in maps], rtol=1e-5)


def test_the_default_is_known_by_what_it_chooses() -> None:
    for composites in (["auto", "graded"], ["graded", "auto"], [None], ["graded", None, "auto"]):
        found = evaluate(MODEL, X[:1], composites, points=2, redraw=0)
        assert [(j.name, j.is_default) for j in found.judged if j.kind == "lrp"] == [
            ("graded", True)
        ]


def test_options_reach_those_that_take_them() -> None:
    found = evaluate(
        MODEL, X[:2], ["epsilon-gamma-box", "epsilon"], ["integrated-gradients"], points=2,
        redraw=0, parameters={"low": 0, "high": 1}, steps=3,
    )  # fmt: skip
    again = evaluate(MODEL, X[:2], ["epsilon"], points=2, redraw=0)
    names = ["epsilon-gamma-box", "epsilon", "integrated-gradients"]
    assert [j.name for j in found.judged][:3] == names
    assert np.array_equal(found["epsilon"].complexity, again["epsilon"].complexity)


def test_passes_are_counted_and_none_is_run_twice() -> None:
    steps, count = 5, 3
    found = evaluate(MODEL, X[:count], ["epsilon"], points=steps)
    inner = 2 * (steps - 1) * len(found.judged)
    # as it is, all replaced; two samples alone and together, to see that they may be stacked
    assert found.clock.forward == count * (inner + 2) + 4
    assert found.clock.compiled == 2  # the composite, all stages
    assert found.clock.explained == count * (2 + 3)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The digit model, digits as pictures and as arrays."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits.onnx").write_bytes(MODEL)
    (tmp_path / "pictures").mkdir()
    for k, image in enumerate(IMAGES[:3]):
        Image.fromarray(image).save(f"pictures/{k}.png")
    np.save("digits.npy", X[:3])
    return tmp_path


COMPOSITES = ("--composite", "epsilon,epsilon-plus", "--composite", "gamma")


def test_the_command(folder: Path, capsys: Capture) -> None:
    asked = ("digits.onnx", "pictures", "--preprocess", "unit", *COMPOSITES, "--points", "4")
    outcome = run_command(capsys, "evaluate", *asked, "-o", "curves.png", "--method", "saliency")
    assert outcome.status == 0, outcome.err
    for text in ("gamma", "epsilon-plus", "saliency", "random", "edges", "center", "SRG"):
        assert text in outcome.out
    assert "3 samples" in outcome.out.splitlines()[-1]
    assert "196 patches of 2x2, replaced by blur" in outcome.out
    with Image.open(folder / "curves.png") as picture:
        assert picture.size[0] > 1000
        assert picture.text["conclusion"] in outcome.out


def test_pictures_one_by_one_and_arrays_are_the_same_samples(folder: Path, capsys: Capture) -> None:
    pictures = [str(p) for p in sorted((folder / "pictures").iterdir())]
    results = []
    for files in (["digits.npy"], ["image=digits.npy"], [*pictures, "--preprocess", "unit"]):
        outcome = run_command(
            capsys, "evaluate", "digits.onnx", *files, "--composite", "epsilon", "--points", "4",
            "--json", "--replace", "zero", "--unit", "4",
        )  # fmt: skip
        assert outcome.status == 0, outcome.err
        results.append(json.loads(outcome.out))
    for result in results:
        assert result["samples"] == 3
        assert result["units"] == "49 patches of 4x4"
        (first, *_) = result["explanations"]
        srg = results[0]["explanations"][0]["srg"]["samples"]
        assert np.allclose(first["srg"]["samples"], srg, atol=1e-6)
        assert first["insertion"]["mean_curve"] == first["lerf"]["mean_curve"][::-1]
        assert len(first["morf"]["mean_curve"]) == len(result["replaced_share"])
        assert list(first["redrawn"]) == ["1", "3", "5"]


def test_a_class_is_named_by_its_label(folder: Path, capsys: Capture) -> None:
    names = "zero one two three four five six seven eight nine"
    (folder / "names.txt").write_text(names.replace(" ", "\n"))
    asked = ("digits.onnx", "digits.npy", "--points", "2", "--redraw", "0", "--json")
    both = []
    for target in (("3",), ("three", "--labels", "names.txt")):
        asking = (*asked, "--composite", "epsilon", "--target", *target)
        outcome = run_command(capsys, "evaluate", *asking)
        assert outcome.status == 0, outcome.err
        both.append(json.loads(outcome.out)["explanations"][0]["srg"])
    assert both[0] == both[1]


WRONG = {
    "curves as text": (("-o", "curves.txt"), "drawn as .png"),
    "the model": (("-o", "digits.onnx"), "that is the model itself"),
    "a unit": (("--unit", "big"), "--unit 'big': give a size such as 16, or 4x64"),
    "a unit of two sizes": (("--unit", "2x2x2"), "places along 2 axes"),
    "a composite": (("--composite", "best"), "composite 'best'"),
    "a target": (("--target", "top-3"), "maps of one quantity"),
    "a replacement": (("--replace", "nothing.npy"), "there is no file 'nothing.npy'"),
    "classes": (("--target", "input=1"), "1 classes for 3 samples"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said(name: str, folder: Path, capsys: Capture) -> None:
    options, text = WRONG[name]
    outcome = run_command(capsys, "evaluate", "digits.onnx", "digits.npy", *options)
    assert outcome.status == 2
    assert text in outcome.err
    assert outcome.out == ""
