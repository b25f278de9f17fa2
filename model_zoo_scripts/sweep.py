"""Compile, run and check the real models of zoo.toml.

    python model_zoo_scripts/sweep.py [--composite NAME] [--readme] [MODEL ...]

Each model is obtained, compiled with composite auto, as users do who name none, and run on its real
or seeded input, on the CPU. Checked: the prediction is the right one; the outputs are the
original's within 1e-6 or what optimizing the original changes, whichever is more, and where the
runtime optimizes neither within the latter: nearly all bit for bit, but a weight that is folded may
be packed for another kernel; relevance is finite, and that of a detector lies in the box of its
detection; the weights take no more than `--fold auto` allows, 3 times the model or 200 MB, and 300
bytes per emitted node.
Printed: the sum of relevance over the value explained, which is 1 where nothing is lost to biases,
stabilizers and rules that leak. With --readme the table replaces that of the README.

A row of zoo.toml with `open` names what is still refused: the model must be refused, and the key
goes when it no longer is.

Exit status 1 if a model failed or, when models are named, was skipped.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
import sys
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from feeds import feed, prediction, share_in_box
from numpy.typing import NDArray
from obtain import TABLE, Unavailable, model
from rich.console import Console
from rich.table import Table

import lrp_onnx

__all__ = ["main"]

Array = NDArray[Any]

TOLERANCE = 1e-6
WIDTH = 150  # of the table, also in a pipe, where the console would be 80 wide
CPU = ["CPUExecutionProvider"]
COLUMNS = (
    *("model", "composite", "prediction", "forward differs, plain", "ΣR / explained", "compile s"),
    *("run s", "nodes"),
)
README = Path(__file__).with_name("README.md")
BEGIN, END = "<!-- sweep -->", "<!-- /sweep -->"


class CheckFailed(Exception):
    """A model does not do what it should; the message says what."""


def explained_output(graph: onnx.GraphProto, row: dict[str, Any]) -> str:
    """Return the output of zoo.toml, else the first of a float type."""
    kinds = {value.name: value.type.tensor_type.elem_type for value in graph.output}
    names: list[str] = [name for name, kind in kinds.items() if kind == onnx.TensorProto.FLOAT]
    return str(row.get("output", names[0]))


def outputs_of(source: Path | onnx.ModelProto, feeds: Any, plain: bool, names: Any = ()) -> Any:
    """Return outputs by name, all by default."""
    quiet = onnxruntime.SessionOptions()
    quiet.log_severity_level = 3  # a model may declare wrong shapes; lrp-onnx says so itself
    if plain:
        quiet.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    given = str(source) if isinstance(source, Path) else source.SerializeToString()
    session = onnxruntime.InferenceSession(given, quiet, providers=CPU)
    names = names or [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def difference(wanted: dict[str, Array], found: dict[str, Array]) -> float:
    """Return the largest difference of an output, relative to its largest value."""
    worst = 0.0
    for name, value in wanted.items():
        scale = max(float(np.abs(value).max()), float(np.finfo(np.float32).tiny))
        gap = np.abs(found[name].astype(np.float64) - value.astype(np.float64))
        worst = max(worst, float(gap.max()) / scale)
    return worst


def nodes_of(graph: onnx.GraphProto) -> int:
    """Count the nodes, those in bodies included."""
    return sum(1 + sum(nodes_of(body) for body in bodies(node)) for node in graph.node)


def weights_of(graph: onnx.GraphProto) -> int:
    """Count the bytes of the constants, those in Constant nodes and in bodies included."""
    stored: int = sum(tensor.ByteSize() for tensor in graph.initializer)
    for node in graph.node:
        if node.op_type == "Constant":
            stored += node.ByteSize()
        stored += sum(weights_of(body) for body in bodies(node))
    return stored


def bodies(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """Yield the graphs inside a node."""
    yield from (attribute.g for attribute in node.attribute if attribute.HasField("g"))


def run(name: str, composite: str | None) -> list[str]:
    """Return a model's line of the table. Raises CheckFailed, LrpError or Unavailable."""
    source, row = model(name), TABLE["models"][name]
    original = onnx.load(source) if isinstance(source, Path) else source
    feeds, output = feed(name, original), explained_output(original.graph, row)
    begun = time.perf_counter()
    compiled = lrp_onnx.compile(
        source,
        composite=composite,
        output=output,
        explain=row.get("explain"),
        target=row.get("target", "argmax"),
        class_axis=row.get("class_axis"),
        relevance_at=output,
    )
    seconds = time.perf_counter() - begun
    wanted, plain = (outputs_of(source, feeds, plain) for plain in (False, True))
    size = weights_of(original.graph)
    before = nodes_of(original.graph)
    del original, source  # up to 548 MiB each
    begun = time.perf_counter()
    result = lrp_onnx.Explainer(compiled, providers=CPU)(feeds)
    explaining = time.perf_counter() - begun
    said = prediction(name, result.outputs[output])
    moved = difference(wanted, result.outputs)
    unoptimized = difference(plain, outputs_of(compiled.model, feeds, True, list(plain)))
    own = difference(plain, wanted)
    if moved > max(TOLERANCE, own) or unoptimized > own:
        raise CheckFailed(f"forward differs by {moved:.1e}, not optimized by {unoptimized:.1e}")
    explained = result.relevance.pop(output)
    if broken := sum(int((~np.isfinite(r)).sum()) for r in result.relevance.values()):
        raise CheckFailed(f"{broken} values of relevance are not finite")
    if least := row.get("expect_in_box"):
        (relevance,) = result.relevance.values()
        share = share_in_box(result.outputs[output], relevance)
        if share < least:
            raise CheckFailed(f"{share:.0%} of |R| lies in the box, less than {least:.0%}")
    after, bytes_after = nodes_of(compiled.model.graph), weights_of(compiled.model.graph)
    most = max(3 * size, 200 << 20) + 300 * (after - before)
    if bytes_after > most:
        raise CheckFailed(f"{bytes_after} bytes of weights, more than the {most} that are allowed")
    kept = sum(float(r.sum()) for r in result.relevance.values()) / float(explained.sum())
    differs = f"{moved:.0e}, {f'{unoptimized:.0e}' if unoptimized else 'no bit'}"
    cells = (said, differs, f"{kept:.3g}", f"{seconds:.1f}", f"{explaining:.1f}")
    taken = next(p.value for p in compiled.model.metadata_props if p.key == "lrp.composite")
    return [name, taken, *cells, f"{before} → {after}"]


def refused_as_told(name: str, composite: str | None) -> bool:
    """Whether the model is one that zoo.toml lists as open, and is refused. Raises CheckFailed if
    it runs.
    """
    if "open" not in TABLE["models"][name]:
        return False
    try:
        run(name, composite)
    except lrp_onnx.UnsupportedError:
        return True
    raise CheckFailed("it is listed as open and runs: delete the key `open`")


def write_readme(rows: list[list[str]], summary: str) -> None:
    """Put the table between the marks of the README."""
    versions = ", ".join(
        f"{p} {importlib.metadata.version(p)}" for p in ("onnx", "onnxruntime-gpu")
    )
    lines = [" | ".join(("", *line, "")).strip() for line in (COLUMNS, ["---"] * len(COLUMNS))]
    lines += [" | ".join(("", *line, "")).strip() for line in rows]
    machine = f"Python {platform.python_version()}, {versions}, CPU"
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    table = "\n".join(lines)
    made = f"{date.today()}, {machine}: {summary}."
    after = rest.split(END)[1]
    README.write_text(f"{before}{BEGIN}\n{made}\n\n{table}\n{END}{after}", encoding="utf-8")


def main() -> int:
    """Run the models named, or all; print a line for each and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", metavar="MODEL", help="default: every model")
    parser.add_argument("--composite", help="use it for every model [auto]")
    parser.add_argument("--readme", action="store_true", help="write the table into the README")
    options = parser.parse_args()
    if unknown := set(options.models) - set(TABLE["models"]):
        parser.error(f"no such model: {', '.join(sorted(unknown))}")
    console, rows, failed, skipped, refused = Console(), [], 0, 0, 0
    console.width = max(console.width, WIDTH)
    for name in options.models or list(TABLE["models"]):
        try:
            with console.status(name):
                if refused_as_told(name, options.composite):
                    console.print(f"{name}: refused: {TABLE['models'][name]['open']}", markup=False)
                    refused += 1
                else:
                    rows.append(run(name, options.composite))
        except Unavailable as error:
            console.print(f"{name}: skipped: {error}", markup=False)
            skipped += 1
        except (CheckFailed, lrp_onnx.LrpError, ValueError) as error:
            console.print(f"{name}: FAILED: {error}", markup=False)
            failed += 1
    table = Table(*COLUMNS)
    for row in rows:
        table.add_row(*row)
    console.print(table)
    summary = f"{len(rows)} models ran, {failed} failed, {refused} refused, {skipped} skipped"
    console.print(summary)
    if options.readme:
        write_readme(rows, summary)
    return int(failed > 0 or (skipped > 0 and bool(options.models)))


if __name__ == "__main__":
    sys.exit(main())
