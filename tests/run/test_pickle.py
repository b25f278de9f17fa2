"""An explainer goes to other processes: pickled, it opens there by its path or with its model."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from pathlib import Path

import numpy as np
import pytest
from commands import picture_net
from models import assert_close

import lrp_onnx
from lrp_onnx import Explainer, ModelError
from lrp_onnx.graph import session

X = np.random.default_rng(3).standard_normal((3, 1, 8, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def compiled() -> lrp_onnx.Compiled:
    return lrp_onnx.compile(picture_net(), check=False)


@pytest.mark.parametrize("form", ["compiled", "path", "bytes", "proto"])
def test_what_arrives_explains_alike(form, compiled, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    compiled.save("c.onnx")
    sources = {
        "compiled": compiled,
        "path": "c.onnx",
        "bytes": compiled.model.SerializeToString(),
        "proto": compiled.model,
    }
    explainer = Explainer(sources[form], providers=["CPUExecutionProvider"], threads=3)
    sent = pickle.dumps(explainer)
    assert (len(sent) < 2000) == (form == "path")
    monkeypatch.chdir("/")
    arrived = pickle.loads(sent)
    assert arrived.metadata == explainer.metadata
    assert arrived._runtime.session.get_session_options().intra_op_num_threads == 3
    assert_close(arrived(X).relevance["image"], explainer(X).relevance["image"], 0)
    assert len(pickle.dumps(arrived)) == len(sent)


def test_another_process_explains(compiled):
    explainer = Explainer(compiled, threads=1)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        relevance = pool.map(explainer, [X])[0].relevance["image"]
    assert_close(relevance, explainer(X).relevance["image"], 0)


def test_a_copy_has_the_same_session(compiled):
    explainer = Explainer(compiled)
    assert copy.copy(explainer)._runtime is explainer._runtime


def test_a_file_that_changed_is_told(compiled, tmp_path: Path):
    compiled.save(tmp_path / "c.onnx")
    sent = pickle.dumps(Explainer(tmp_path / "c.onnx"))
    lrp_onnx.compile(picture_net(), composite="epsilon", check=False).save(tmp_path / "c.onnx")
    with pytest.raises(ModelError, match=r"c\.onnx': it was compiled anew.*Pickle it again"):
        pickle.loads(sent)


def test_a_model_that_is_too_large_is_told(compiled, monkeypatch):
    explainer = Explainer(compiled)
    monkeypatch.setattr(session, "LARGEST_FILE", 10)
    with pytest.raises(ModelError, match=r"beyond 2 GB.*compiled\.save\(PATH\)"):
        pickle.dumps(explainer)
