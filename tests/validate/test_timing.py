"""Calls are timed in turn, and what is not to be counted is not."""

from __future__ import annotations

import numpy as np
import pytest

from lrp_onnx.validate import timing


class Machine:
    """A clock that calls move on."""

    def __init__(self):
        self.now, self.done = 0.0, []

    def call(self, name, seconds):
        def run():
            self.done.append(name)
            self.now += seconds

        return run


@pytest.fixture
def machine(monkeypatch):
    made = Machine()
    monkeypatch.setattr(timing.time, "perf_counter", lambda: made.now)
    monkeypatch.setattr(timing.time, "sleep", lambda seconds: None)
    return made


def measured(machine, **options):
    calls = [machine.call("A", 1.0), machine.call("B", 3.0)]
    return timing.interleaved(calls, clock=lambda: machine.now, **options)


def test_calls_take_turns_after_warming_up(machine):
    ticks = []
    seconds = measured(machine, runs=4, warm_up=1, tick=lambda: ticks.append(len(machine.done)))
    assert machine.done == ["A", "B"] * 5
    assert ticks == [4, 6, 8, 10]
    np.testing.assert_array_equal(seconds, [[1, 3]] * 4)


def test_no_round_begins_when_the_time_is_up(machine):
    assert len(measured(machine, runs=100, longest=20.0)) == 6
    assert len(measured(machine, runs=100, longest=1.0)) == timing.FEWEST
    assert len(measured(machine, runs=2, longest=1.0)) == 2


def test_a_ratio_is_the_median_of_the_rounds_own():
    seconds = np.array([[1.0, 2.0], [1.0, 4.0], [2.0, 6.0]])
    found = timing.ratio(seconds, 1, 0)
    assert found.median == 3.0
    assert found.quartiles == (2.5, 3.5)
