"""`explain --target input=…` and `seed=FILE`: the value stands beside the name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from commands import run_command, write
from models import assert_close, network

import lrp_onnx

MODEL = network("h = Gemm(x, w)\n t = Tanh(h)\n y = Gemm(t, v)", (2, 4), (0,), w=(4, 6), v=(6, 3))
X = np.random.default_rng(0).standard_normal((2, 4)).astype(np.float32)
SEED = np.float32([[1, 0, -1], [0.5, 2, 0]])
GIVEN = {"input=1": 1, "input=0,2": [0, 2], "seed=seed.npy": SEED}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "model.onnx", MODEL)
    np.save("x.npy", X)
    np.save("seed.npy", SEED)
    np.save("narrow.npy", SEED[:, :2])
    (tmp_path / "many").mkdir()
    np.save("many/a.npy", X)
    return tmp_path


@pytest.mark.parametrize("start", ["logit", "one"])
@pytest.mark.parametrize("target", GIVEN)
def test_it_is_as_of_a_compiled_model(
    folder: Path, target: str, start: str, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = run_command(capsys, "explain", "model.onnx", "x.npy", "-o", "out.npz", "--target",
                          target, "--start", start, "--composite", "epsilon")  # fmt: skip
    assert (outcome.status, outcome.err) == (0, "")
    kind = target.partition("=")[0]
    compiled = lrp_onnx.compile(MODEL, "epsilon", target=kind, start=start)
    expected = lrp_onnx.Explainer(compiled)(X, GIVEN[target])
    assert_close(np.load("out.npz")["x_relevance"], expected.relevance["x"])
    if kind == "seed":  # what the option's text says
        r = SEED * (expected.outputs["y"] if start == "logit" else 1)
        assert_close(expected.relevance["x"].sum(1), r.sum(1).astype(np.float32), 1e-3)


@pytest.mark.parametrize(
    ("target", "fact"),
    [
        ("input", "--target input=3"),
        ("seed", "seed=FILE.npy"),
        ("input=", "its value is given too"),
        ("input=one", "not classes"),
        ("input=7", "has 3 classes"),
        ("seed=none.npy", "No such file"),
        ("seed=photo.png", "not an array"),
        ("seed=narrow.npy", "shape"),
    ],
)
def test_what_does_not_fit_is_said(
    folder: Path, target: str, fact: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("explain", "model.onnx", "x.npy", "-o", "out.npz", "--target", target)
    outcome = run_command(capsys, *asked)
    assert outcome.status == 2
    assert fact in outcome.err
    assert not Path("out.npz").exists()


def test_a_folder_has_none(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("explain", "model.onnx", "many", "-o", "why", "--target", "seed=seed.npy")
    outcome = run_command(capsys, *asked)
    assert outcome.status == 2
    assert "for one file" in outcome.err
