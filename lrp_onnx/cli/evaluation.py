"""What `evaluate` found, as a table, facts line by line and for machines."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from rich.table import Table

from lrp_onnx.cli.tables import table_of
from lrp_onnx.validate.evaluation import Evaluation, Float, Judged, mean_and_error

__all__ = ["LEGEND", "evaluation_facts", "evaluation_json", "evaluation_table"]

LEGEND = """SRG: LeRF less MoRF, 0 by chance, the higher the better; ± its standard error.
MoRF, LeRF: the mean score while the most, the least relevant units are replaced.
other class: how alike the map of another class is; re-drawn: how alike the map is when the weights
of so many layers are drawn anew (rank correlations: 1 alike, 0 not; low is right).
complexity: the entropy of the shares of relevance; low is concentrated."""
POINTS = 21
"""Of a curve in JSON."""


def evaluation_table(evaluation: Evaluation) -> Table:
    """One line an explanation, the best first, then the references."""
    redrawn = sorted({count for j in evaluation.judged for count in j.redrawn})
    headings = ["explanation", "SRG", "±", "MoRF", "LeRF"]
    headings += ["other class"] if evaluation.other_class else []
    headings += [f"{count} re-drawn" for count in redrawn] + ["complexity"]
    rows = []
    for judged in evaluation.ranked:
        mean, error = mean_and_error(judged.srg)
        row = [_name(judged), f"{mean:.3f}", _number(error, 3)]
        row += [_number(_mean(values), 3) for values in (judged.morf, judged.lerf)]
        row += [_number(_mean(judged.other_class))] if evaluation.other_class else []
        row += [_number(_mean(judged.redrawn.get(count))) for count in redrawn]
        rows.append([*row, _number(_mean(judged.complexity))])
    return table_of(headings, rows, numbers=len(headings) - 1)


def evaluation_facts(evaluation: Evaluation) -> list[tuple[str, str]]:
    """What was compared, how, and what to conclude."""
    whole, replaced = _mean(evaluation.whole), _mean(evaluation.replaced)
    clock, count = evaluation.clock, evaluation.samples
    rows = [
        ("samples", str(count)),
        ("scored", evaluation.score),
        ("", f"{whole:.3g} as they are, {replaced:.3g} with all units replaced"),
        ("units", f"{evaluation.units}, replaced by {evaluation.replacement}"),
    ]
    if evaluation.other_class:
        rows.append(("other class", evaluation.other_class))
    rows.append(
        (
            "time",
            f"{clock.seconds:.1f} s: {clock.forward} forward passes {clock.forward_seconds:.1f} s, "
            f"{clock.explained} explanations {clock.explained_seconds:.1f} s, "
            f"{clock.compiled} compilations {clock.compiled_seconds:.1f} s",
        )
    )
    return [*rows, ("conclusion", evaluation.conclusion)]


def evaluation_json(evaluation: Evaluation) -> dict[str, Any]:
    """The same for machines, sample by sample; curves at equal shares of replaced units."""
    share = np.linspace(0, 1, POINTS)
    return {
        "samples": evaluation.samples,
        "score": evaluation.score,
        "units": evaluation.units,
        "replacement": evaluation.replacement,
        "whole": evaluation.whole.tolist(),
        "replaced": evaluation.replaced.tolist(),
        "other_class": evaluation.other_class,
        "replaced_share": share.tolist(),
        "explanations": [_judged_json(j, share) for j in evaluation.ranked],
        "time": asdict(evaluation.clock),
        "warnings": evaluation.warnings,
        "conclusion": evaluation.conclusion,
    }


def _judged_json(judged: Judged, share: Float) -> dict[str, Any]:
    mean, error = mean_and_error(judged.srg)
    morf = np.array([f.morf.at(share) for f in judged.flipped])
    lerf = np.array([f.lerf.at(share) for f in judged.flipped])
    return {
        "name": judged.name,
        "kind": judged.kind,
        "srg": {"mean": mean, "standard_error": error, "samples": judged.srg.tolist()},
        "morf": {"areas": judged.morf.tolist(), "mean_curve": morf.mean(0).tolist()},
        "lerf": {"areas": judged.lerf.tolist(), "mean_curve": lerf.mean(0).tolist()},
        "insertion": {
            "areas": judged.lerf.tolist(),
            "mean_curve": lerf.mean(0)[::-1].tolist(),
        },
        "other_class": None if judged.other_class is None else judged.other_class.tolist(),
        "redrawn": {str(count): values.tolist() for count, values in judged.redrawn.items()},
        "complexity": judged.complexity.tolist(),
    }


def _name(judged: Judged) -> str:
    return f"{judged.name} (auto)" if judged.is_default else judged.name


def _mean(values: Float | None) -> float:
    return float("nan") if values is None else mean_and_error(values)[0]


def _number(value: float, digits: int = 2) -> str:
    return f"{value:.{digits}f}" if np.isfinite(value) else "-"
