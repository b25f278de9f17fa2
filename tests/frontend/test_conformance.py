"""onnx's own operator tests, compiled under `gradient` and compared with differences in float64.

Wrong in silence: none. Crashed: none. Right: at least 95 % of what is differentiable.
"""

from __future__ import annotations

import warnings
from collections import Counter

import pytest
from conformance import Verdict, judge

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the cases overflow and divide by zero on purpose
    from onnx.backend.test.case.node import collect_testcases

    CASES = list(collect_testcases(None))

VERDICTS: dict[str, Verdict] = {}


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_case_is_right_or_refused(case):
    verdict = VERDICTS[case.name] = judge(case)
    assert verdict.outcome in ("right", "refused", "none"), verdict.why


def test_at_least_95_percent_are_right():
    if len(VERDICTS) < len(CASES):
        pytest.fail("only some of the cases ran: run the whole file")
    counts = Counter(v.outcome for v in VERDICTS.values())
    assert counts["right"] >= 0.95 * (counts.total() - counts["none"]), summary()


def summary() -> str:
    """The figures in one line, and which operators are refused how often."""
    counts = Counter(v.outcome for v in VERDICTS.values())
    differentiable = counts.total() - counts["none"]
    refused = Counter(name for v in VERDICTS.values() for name in v.refused)
    listed = ", ".join(f"{name} {n}" for name, n in refused.most_common())
    return (
        f"conformance: {counts.total()} cases, {differentiable} differentiable, "
        f"{counts['right']} right ({counts['right'] / max(differentiable, 1):.1%}), "
        f"{counts['refused']} refused by name{': ' * bool(listed)}{listed}, "
        f"{counts['wrong']} wrong, {counts['crashed']} crashed"
    )
