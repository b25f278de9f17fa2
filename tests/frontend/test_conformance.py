"""onnx's own operator tests, compiled under `gradient` and compared with differences in float64.

Wrong in silence: none. Crashed: none. Right: at least 95 % of what is differentiable.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path

import pytest
from conformance import Verdict, judge
from conformance_cases import MODULES, cases

PARTS = {"attention": 6, "linear_attention": 2}
"""Modules that take long are judged in parts, which the workers share."""
ROWS = [(module, part) for module in MODULES for part in range(PARTS.get(module, 1))]


@cache
def judged(module: str, part: int, folder: Path) -> list[Verdict]:
    """The verdicts on a module's cases; whichever worker is first leaves them in the folder."""
    file = folder / f"conformance_{module}_{part}.json"
    if file.exists():
        return [Verdict(**fields) for fields in json.loads(file.read_text())]
    found, parts = cases(module), PARTS.get(module, 1)
    here = slice(len(found) * part // parts, len(found) * (part + 1) // parts)
    verdicts = [judge(case) for case in found[here]]
    written = file.with_suffix(f".{os.getpid()}")
    written.write_text(json.dumps([asdict(v) for v in verdicts]))
    written.rename(file)
    return verdicts


@pytest.mark.parametrize(("module", "part"), ROWS)
def test_every_case_is_right_or_refused(module: str, part: int, folder_of_the_run: Path) -> None:
    failed = [v for v in judged(module, part, folder_of_the_run)
              if v.outcome not in ("right", "refused", "none")]  # fmt: skip
    assert not failed


@pytest.mark.of_the_rest
def test_at_least_95_percent_are_right(
    folder_of_the_run: Path, record_property: Callable[[str, object], None]
) -> None:
    verdicts = [v for row in reversed(ROWS) for v in judged(*row, folder_of_the_run)]
    counts = Counter(v.outcome for v in verdicts)
    record_property("summary", summary(verdicts))
    assert len(verdicts) > 1800
    assert counts["right"] >= 0.95 * (counts.total() - counts["none"]), summary(verdicts)


def summary(verdicts: list[Verdict]) -> str:
    """The figures in one line, and which operators are refused how often."""
    counts = Counter(v.outcome for v in verdicts)
    differentiable = counts.total() - counts["none"]
    refused = Counter(name for v in verdicts for name in v.refused)
    listed = ", ".join(f"{name} {n}" for name, n in refused.most_common())
    return (
        f"conformance: {counts.total()} cases, {differentiable} differentiable, "
        f"{counts['right']} right ({counts['right'] / max(differentiable, 1):.1%}), "
        f"{counts['refused']} refused by name{': ' * bool(listed)}{listed}, "
        f"{counts['wrong']} wrong, {counts['crashed']} crashed"
    )
