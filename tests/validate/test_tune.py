"""A composite tuned on the user's samples: what is found, how it is judged, what is written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from commands import run_command
from models import network

import lrp_onnx
from lrp_onnx import digits
from lrp_onnx.compiler.comparison import Comparison
from lrp_onnx.errors import InputError
from lrp_onnx.validate import tune as module
from lrp_onnx.validate.evaluate import evaluate
from lrp_onnx.validate.question import Nobody, Question
from lrp_onnx.validate.tune import CHOICES, Graded, Tuning, tune

Capture = pytest.CaptureFixture[str]
MODEL, IMAGES, _ = digits.load()
X = (IMAGES[:, None] / 255).astype(np.float32)
RANGE = {"image": ([0.0], [1.0])}


def question(count: int = 6, **more: object) -> Question:
    return Question(MODEL, [{"image": X[:count]}], points=4, **more)


def tuned(asked: Question) -> Tuning:
    return tune(asked, Nobody(), Comparison(asked.source, asked.options))


def test_the_best_of_what_was_tried_is_kept() -> None:
    tuning = tuned(question())
    gains = {graded: values.mean() for graded, values in tuning.tried.items()}
    assert gains[tuning.best] == max(gains.values())
    assert Graded() in gains
    assert len(gains) == 1 + 2 + 1 + 2
    assert {graded.first for graded in gains} == {"flat"}


def test_it_is_judged_on_other_samples() -> None:
    tuning = tuned(question(6, classes=range(6)))
    others = np.concatenate([feeds["image"] for feeds in tuning.question.inputs])
    assert np.array_equal(others, X[1:6:2])
    assert tuning.question.classes == range(1, 6, 2)
    assert {len(values) for values in tuning.tried.values()} == {3}


def test_the_first_layer_varies_where_the_range_is_known() -> None:
    tuning = tuned(question(ranges=RANGE))
    assert {graded.first for graded in tuning.tried} == {"flat", "zbox"}


def test_without_convolutions_only_epsilon_varies() -> None:
    model = network("y = MatMul(x, w)", ("N", 4), w=(4, 3))
    x = np.random.default_rng(0).standard_normal((4, 4)).astype(np.float32)
    tuning = tuned(Question(model, [{"x": x}], points=4))
    assert [graded.epsilon for graded in tuning.tried] == list(CHOICES["epsilon"])


@pytest.mark.parametrize(
    "graded",
    [Graded(), Graded("zbox", "zplus", 0.1, 0.5)],
    ids=str,
)
def test_what_is_written_is_what_was_meant(graded: Graded, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    tuning = module.Tuning(graded, {graded: np.array([0.1, 0.3])}, question())
    tuning.save(file)
    parameters = {"low": 0, "high": 1} if graded.first == "zbox" else {}
    written = lrp_onnx.compile(MODEL, composite=str(file), parameters=parameters)
    rules = {line.name: line.rule for line in written.report}
    assert rules["conv1"] == graded.first
    assert rules["conv2"] == graded.lower
    assert (rules["conv3"], rules["dense5"]) == ("gamma", "epsilon")
    assert "SRG 0.200 ± 0.100 on the 2 samples it was chosen on" in file.read_text()
    if graded == Graded():
        own = lrp_onnx.Explainer(written)(X[:2]).relevance["image"]
        named = lrp_onnx.compile(MODEL, composite="graded")
        assert np.array_equal(own, lrp_onnx.Explainer(named)(X[:2]).relevance["image"])


def test_evaluate_compares_it_with_the_default(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    found = evaluate(MODEL, X[:6], tune=file, points=4, redraw=0)
    assert found.samples == 3
    assert [j.is_default for j in found.judged][:1] == [True]
    assert str(file) in [j.name for j in found.judged]


def test_few_samples_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="3 samples, and one half chooses"):
        evaluate(MODEL, X[:3], tune=tmp_path / "mine.toml")
    assert not list(tmp_path.iterdir())


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.chdir(tmp_path)
    Path("digits.onnx").write_bytes(MODEL)
    np.save("digits.npy", X[:4])
    asked = ("digits.onnx", "digits.npy", "--points", "3", "--redraw", "0", "--tune")
    outcome = run_command(capsys, "evaluate", *asked, "mine.toml")
    assert outcome.status == 0, outcome.err
    assert "mine.toml" in outcome.out
    assert "on 2 samples" in outcome.out.splitlines()[-1]
    outcome = run_command(capsys, "evaluate", *asked, "mine.txt")
    assert "composites are written as .toml" in outcome.err
