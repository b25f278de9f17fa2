"""Many inputs are run in batches and come back one by one, each as if it had been alone."""

from __future__ import annotations

import numpy as np
import pytest
from commands import picture_net
from models import assert_close, network

import lrp_onnx
from lrp_onnx import Explainer
from lrp_onnx.runtime import Runtime

TWO_SIZES = network("c = Conv(x, w) y = ReduceMean<keepdims=0>(c, a)", (1, 1, 8, 8),
                    symbolic=(0, 2, 3), w=(3, 1, 3, 3), a=[2, 3])  # fmt: skip
FIXED = network("f = Flatten(x) y = MatMul(f, w)", (1, 2, 3), symbolic=(), w=(6, 4))


def pictures(*sizes):
    rng = np.random.default_rng(2)
    return [rng.standard_normal((1, 1, n, n)).astype(np.float32) for n in sizes]


@pytest.fixture
def runs(monkeypatch):
    """The shapes that sessions are run with."""
    seen, run = [], Runtime.run

    def recorded(self, feeds, names=None):
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


def test_a_target_is_that_of_every_sample():
    explainer = Explainer(lrp_onnx.compile(picture_net(), target="input", check=False))
    inputs = pictures(8, 8, 8)
    for x, result in zip(inputs, explainer.many(inputs, 2, target=1), strict=True):
        assert_close(result.relevance["image"], explainer(x, target=1).relevance["image"])


def test_threads_are_the_sessions():
    explainer = Explainer(lrp_onnx.compile(picture_net(), check=False), threads=1)
    options = explainer._runtime.session.get_session_options()
    assert options.intra_op_num_threads == 1
