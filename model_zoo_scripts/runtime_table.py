"""What the runs in other runtimes came to: which cells hold, why others do not, and the table."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

__all__ = ["holds", "known", "loads", "shown", "write_readme"]

README = Path(__file__).parent / "README.md"
BEGIN, END = "<!-- runtimes -->", "<!-- /runtimes -->"
MOST, TIMES = 1e-3, 5
"""A difference that is none: so much, or so many times what ONNX Runtime differs from itself."""
LOAD_TIMES, LOAD_SECONDS = 5, 0.3
"""Opening a compiled file may take so many times the original's time, or so long."""
KNOWN = {
    ("OpenCV 5.0.0", "silero_vad_sequence"): "it has no Scan, which the explanation of an LSTM of "
    "any length is",
    ("onnx.reference", "digits_float16"): "it adds in float16, where ONNX Runtime's CPU provider "
    "does in float32: its prediction is off by 4e-4, which epsilon-alpha2-beta1 amplifies",
    ("OpenVINO 2026.4.1", "ddddocr_old_int8"): "its int8 rounds otherwise, its prediction of the "
    "original is off by 5e-3 too; in ONNX Runtime noise of 1e-4 on the input moves the prediction "
    "by 0.03 and the relevance by 0.33",
    ("OpenVINO 2026.4.1", "integrated-gradients"): "it converts no Scan in a Scan, in which the "
    "points of a recurrent network are taken; `compile` says so",
    ("tract 0.23.9", "integrated-gradients"): "a Scan in a Scan goes on from where it ended "
    "in the step before: right with one point, wrong with two; `compile` says so",
    ("OpenCV 5.0.0", "integrated-gradients"): "it has no Scan",
    ("tract 0.23.9", "minilm_l6_fp32_legacy"): "it multiplies no sizes with names, as the model's "
    "own Flatten needs; compiled with `--shape` it runs",
    ("onnx.reference", "silero_vad_sequence"): "its Scan reads in one direction only",
    ("web WebGPU", "silero_vad_sequence"): "its prediction of the original is as far off (on the "
    "software adapter of headless Chromium)",
    ("web WebGPU", "float16"): "the software adapter of headless Chromium has no `shader-f16` and "
    "refuses the file; a GPU with it is needed, and was not at hand",
}
"""(runtime, what the name of the row holds: a model or a precision): why nothing helps."""


def holds(cell: Any, unoptimized: float) -> bool:
    """Whether a runtime that runs the original runs the compiled file, and rightly."""
    if cell["original"]["refused"]:
        return True
    return not cell["refused"] and cell["off"] <= max(MOST, TIMES * unoptimized)


def shown(cell: Any, unoptimized: float) -> str:
    """A cell of the table."""
    original = cell["original"]
    if original["refused"] and cell["refused"]:
        return f"original not either: {original['refused']}"
    said = f"refused: {cell['refused']}" if cell["refused"] else f"{cell['off']:.0e}"
    if original["refused"]:
        return f"{said} (original refused: {original['refused']})"
    if not cell["refused"] and original["off"] > MOST:
        said += f" (prediction {original['off']:.0e})"
    return said if holds(cell, unoptimized) else f"**{said}**"


def reasons(results: Any) -> list[str]:
    """Why what does not hold does not, of the cells in the table."""
    broken = {
        known(name, row["model"], row["how"])
        for row in results.values()
        for name, cell in row["cells"].items()
        if not holds(cell, row["unoptimized"])
    }
    return [f"- {r}, {m}: {why}." for (r, m), why in KNOWN.items() if (r, m) in broken]


def known(runtime: str, model: str, how: str) -> tuple[str, str] | None:
    """The entry of KNOWN that a cell has."""
    words = (model, *how.split())
    return next(((r, word) for r, word in KNOWN if r == runtime and word in words), None)


def slow_to_open(cell: Any) -> bool:
    """Whether opening takes too long."""
    if cell["refused"] or cell["original"]["refused"]:
        return False
    return bool(cell["open"] > max(LOAD_TIMES * cell["original"]["open"], LOAD_SECONDS))


def table(results: Any, runtimes: Sequence[str]) -> list[str]:
    """The lines of the README's table."""
    names = [name for name in runtimes if any(name in row["cells"] for row in results.values())]
    head = ["model", "composite", "unoptimized", *names]
    lines = [head, ["---"] * len(head)]
    for row in results.values():
        cells = [row["cells"].get(name) for name in names]
        off = row["unoptimized"]
        said = ["" if cell is None else shown(cell, off) for cell in cells]
        lines.append([row["model"], row["how"], f"{off:.0e}", *said])
    return [" | ".join(("", *line, "")).strip() for line in lines]


def loads(results: Any) -> list[str]:
    """How long files take to open, slowest first, where that is too long."""
    slow = [
        (cell["open"], row["model"], row["how"], name, cell["original"]["open"])
        for row in results.values()
        for name, cell in row["cells"].items()
        if slow_to_open(cell)
    ]
    return [
        f"{model} {how} takes {name} {mine:.2f} s to open, its original {own:.2f} s"
        for mine, model, how, name, own in sorted(slow, reverse=True)
    ]


def write_readme(results: Any, runtimes: Sequence[str]) -> None:
    """Put the table between the marks of the README."""
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    made = f"{date.today()}, CPU; node and web are onnxruntime-node and onnxruntime-web 1.30.0."
    lines = "\n".join([*table(results, runtimes), "", *reasons(results)])
    whole = f"{before}{BEGIN}\n{made}\n\n{lines}\n{END}{rest.split(END)[1]}"
    README.write_text(whole, encoding="utf-8")
