"""Composite auto beside every fixed one, by pixel flipping (SRG) on real models and data.

    python model_zoo_scripts/composites.py [--only WORD,...] [--results FILE.json] [--readme]

SRG is the area between the curves where the least and the most relevant is replaced first, with its
standard error over the samples (`lrp-onnx evaluate` says more). What `auto` takes was chosen on the
data marked so; the rest had no part in the choice. FILE.json keeps what was measured, row by row,
so that it can be measured in parts; with --readme the tables replace those of the README.
"""

from __future__ import annotations

import argparse
import datetime
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from composite_data import DATA, Data
from numpy.typing import NDArray

import lrp_onnx
from lrp_onnx.lrp.composite import load_composite
from lrp_onnx.lrp.library import library
from lrp_onnx.validate.evaluation import mean_and_error

__all__ = ["main", "measured"]

README = Path(__file__).with_name("README.md")
BEGIN, END = "<!-- composites -->", "<!-- /composites -->"
REFERENCES = ("random", "edges", "center")
NEED_RANGE = ("deep-taylor-bounded", "epsilon-gamma-box", "graded-box", "zbox")
COMMON = (
    *("epsilon-plus-flat", "epsilon-gamma-box", "gamma", "epsilon", "alpha2-beta1", "zplus"),
    *("epsilon-plus", "graded", "attnlrp", "attnlrp-gamma", "cp-lrp"),
)
"""Those that are compared where predictions are slow."""
OF_ONE_NETWORK = ("montavon-vgg16",)
"""Composites that count the layers of a network by name."""

Row = dict[str, Any]
"""What was measured on one model and its data: JSON."""


def fixed_composites() -> list[str]:
    """Every composite of the library that suits any network."""
    folder = library().joinpath("composites")
    names = sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name[-5:] == ".toml")
    return [n for n in names if n not in OF_ONE_NETWORK and not load_composite(n).base_only]


def measured(data: Data) -> Row:
    """The SRG of every sample: under `auto`, every fixed composite and every reference."""
    samples = data.samples()
    first = samples if isinstance(samples, Mapping) else samples[0]
    options = {key: value() if callable(value) else value for key, value in data.settings}
    options |= {"ranges": None if data.ends is None else dict.fromkeys(first, data.ends)}
    model, ranged = data.model(), data.ends is not None
    wanted = COMMON if data.slow else fixed_composites()
    names = [n for n in wanted if ranged or n not in NEED_RANGE]
    found = lrp_onnx.evaluate(model, samples, composites=[None, *names], redraw=0, **options)
    default = next(judged for judged in found.judged if judged.is_default)
    return {
        "auto": default.name.removeprefix("auto ").strip("()"),
        "chosen on it": data.chosen_on,
        "score": found.score,
        "whole": float(found.whole.mean()),
        "replaced": float(found.replaced.mean()),
        "srg": {j.name: j.srg.tolist() for j in found.judged if j is not default},
        "srg of auto": default.srg.tolist(),
    }


def compared(name: str, row: Row) -> list[str]:
    """A line of the first table: what `auto` took, beside the best fixed one and references."""
    auto, took = np.array(row["srg of auto"]), row["auto"]
    fixed = {n: np.array(v) for n, v in row["srg"].items() if n not in (*REFERENCES, took)}
    best = max(fixed, key=lambda n: fixed[n].mean())
    gain, error = mean_and_error(auto - fixed[best])
    others = ("epsilon-plus-flat", *REFERENCES)
    return [
        *(name, str(len(auto)), "yes" if row["chosen on it"] else "no"),
        f"{_worded(auto)} ({took})",
        f"{gain:+.3f} ± {error:.3f} ({best})",
        *(_worded(np.array(row["srg"][n])) if n in row["srg"] else "-" for n in others),
    ]


def _worded(values: NDArray[np.float64]) -> str:
    mean, error = mean_and_error(values)
    return f"{mean:.3f} ± {error:.3f}"


def tables(rows: dict[str, Row]) -> str:
    """Both tables: a line for each model and its data, then a line for each composite."""
    head = ["model and data", "n", "chosen on it", "auto", "less the best other one"]
    lines = [[*head, "epsilon-plus-flat", *REFERENCES]]
    lines += [compared(name, row) for name, row in rows.items()]
    names = [n for n in fixed_composites() if any(n in row["srg"] for row in rows.values())]
    every = [["composite", *(name.replace(", ", "<br>") for name in rows)]]
    for name in names:
        own = [r["srg of auto"] if r["auto"] == name else r["srg"].get(name) for r in rows.values()]
        every.append([name, *("-" if v is None else _worded(np.array(v)) for v in own)])
    return f"{_table(lines)}\n\n{_table(every)}"


def _table(lines: list[list[str]]) -> str:
    ruled = [lines[0], ["---"] * len(lines[0]), *lines[1:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in ruled)


def main() -> None:
    """Measure, print, and write the README's tables if asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="rows whose name holds one of these words")
    parser.add_argument("--results", type=Path, help="where what was measured is kept")
    parser.add_argument("--readme", action="store_true", help="write the tables into the README")
    arguments = parser.parse_args()
    words, file = [w for w in arguments.only.split(",") if w], arguments.results
    rows: dict[str, Row] = json.loads(file.read_text()) if file and file.exists() else {}
    for name, data in DATA.items():
        if not words or any(word in name for word in words):
            rows[name] = measured(data)
            print(" | ".join(compared(name, rows[name])), flush=True)
            if file:
                file.write_text(json.dumps(rows))
    rows = {name: rows[name] for name in DATA if name in rows}
    if arguments.readme:
        before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        made = f"{datetime.datetime.now(datetime.UTC).date()}, onnxruntime's CPU provider."
        text = f"{before}{BEGIN}\n{made}\n\n{tables(rows)}\n{END}{after}"
        README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
