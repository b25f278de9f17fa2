"""Compile, run and check the real models of zoo.toml.

    python model_zoo_scripts/run_zoo.py [--composite NAME] [MODEL ...]

Each model is compiled with its composite (epsilon-plus-flat unless zoo.toml says otherwise) and run
on its real or seeded input, on the CPU. Checked: the prediction is the right one, the outputs are
the original's within 1e-5, relevance is finite, the file is no larger than 1.15 times the model and
300 bytes per emitted node. Printed: the sum of relevance over the value explained, which is 1 where
nothing is lost to biases, stabilisers and rules that leak.

Exit status 1 if fewer than 12 models ran (or, when models are named, not all), or one failed.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from feeds import Array, feed, prediction
from obtain import TABLE, Unavailable, model
from rich.console import Console
from rich.table import Table

import lrp_onnx

__all__ = ["main"]

ENOUGH = 12
TOLERANCE = 1e-5
WIDTH = 150  # of the table, also in a pipe, where the console would be 80 wide
MOVES = {"Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"}
HEADS = {"Softmax", "LogSoftmax", "Sigmoid"}


class CheckFailed(Exception):
    """A model does not do what it should; the message says what."""


@dataclass
class Reference:
    """What the original model says of its feed, before anything is compiled."""

    outputs: dict[str, Array]
    output: str  # the explained one
    explained: Array  # per sample: the logit, or the output itself where no Softmax ends the model
    nodes: int
    size: int  # bytes, external data included


def explained_output(graph: onnx.GraphProto) -> str:
    """Return the first float output; a class label beside it is an integer."""
    kinds = {value.name: value.type.tensor_type.elem_type for value in graph.output}
    names: list[str] = [name for name, kind in kinds.items() if kind == onnx.TensorProto.FLOAT]
    return names[0]


def start_of_relevance(graph: onnx.GraphProto, output: str) -> str:
    """Return the tensor where relevance starts: before a final Softmax or Sigmoid."""
    makers, name = {name: node for node in graph.node for name in node.output}, output
    while name in makers and makers[name].op_type in MOVES:
        name = makers[name].input[0]
    ends = name in makers and makers[name].op_type in HEADS
    return makers[name].input[0] if ends else output


def refer(original: onnx.ModelProto, x: Array) -> Reference:
    """Run the original, its logits made an output beside its own."""
    names, size = [value.name for value in original.graph.output], original.ByteSize()
    output = explained_output(original.graph)
    start = start_of_relevance(original.graph, output)
    if start not in names:
        value = onnx.helper.make_tensor_value_info(start, onnx.TensorProto.FLOAT, None)
        original.graph.output.append(value)
    session = onnxruntime.InferenceSession(
        original.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    values = session.run([*names, start], {session.get_inputs()[0].name: x})
    explained = values[-1].max(axis=1).reshape(len(values[-1]), -1).sum(axis=1)
    outputs = dict(zip(names, values, strict=False))
    return Reference(outputs, output, explained, len(original.graph.node), size)


def difference(reference: Reference, outputs: dict[str, Array]) -> float:
    """Return the largest difference of an output, relative to its largest value."""
    worst = 0.0
    for name, wanted in reference.outputs.items():
        scale = max(float(np.abs(wanted).max()), float(np.finfo(np.float32).tiny))
        worst = max(worst, float(np.abs(outputs[name] - wanted).max()) / scale)
    return worst


def input_shape(original: onnx.ModelProto) -> list[int]:
    """Return the shape of the model's only true input, 1 where it is symbolic."""
    weights = {tensor.name for tensor in original.graph.initializer}
    value = next(value for value in original.graph.input if value.name not in weights)
    return [max(axis.dim_value, 1) for axis in value.type.tensor_type.shape.dim]


def run(name: str, composite: str | None) -> list[str]:
    """Return a model's line of the table. Raises CheckFailed, LrpError or Unavailable."""
    source = model(name)
    original = onnx.load(source) if isinstance(source, Path) else source
    x = feed(name, input_shape(original))
    composite = composite or TABLE["models"][name].get("composite", "epsilon-plus-flat")
    begun = time.perf_counter()
    compiled = lrp_onnx.compile(source, composite=composite)
    seconds = time.perf_counter() - begun
    reference = refer(original, x)
    del original, source  # up to 548 MiB each
    begun = time.perf_counter()
    result = lrp_onnx.Explainer(compiled, providers=["CPUExecutionProvider"])(x)
    explaining = time.perf_counter() - begun
    said = prediction(name, result.outputs[reference.output])
    moved = difference(reference, result.outputs)
    if moved > TOLERANCE:
        raise CheckFailed(f"forward differs by {moved:.1e}, more than {TOLERANCE:.0e}")
    (relevance,) = result.relevance.values()
    if not np.isfinite(relevance).all():
        raise CheckFailed(f"{np.count_nonzero(~np.isfinite(relevance))} values are not finite")
    nodes, size = len(compiled.model.graph.node), compiled.model.ByteSize()
    allowed = 1.15 * reference.size + 300 * (nodes - reference.nodes)
    if size > allowed:
        raise CheckFailed(f"{size} bytes, more than the {allowed:.0f} allowed")
    kept = relevance.reshape(len(relevance), -1).sum(axis=1) / reference.explained
    return [
        composite,
        said,
        f"{moved:.0e}",
        f"{kept.min():.3g} … {kept.max():.3g}" if len(kept) > 1 else f"{kept[0]:.3g}",
        f"{seconds:.1f}",
        f"{explaining:.1f}",
        f"{reference.nodes} → {nodes}",
        f"{size / reference.size:.2f}",
    ]


def main() -> int:
    """Run the models named, or all; print a line for each and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", metavar="MODEL", help="default: every model")
    parser.add_argument("--composite", help="use it for every model")
    options = parser.parse_args()
    if unknown := set(options.models) - set(TABLE["models"]):
        parser.error(f"no such model: {', '.join(sorted(unknown))}")
    names = options.models or list(TABLE["models"])
    columns = ("composite", "prediction", "|Δ forward|", "ΣR / explained", "compile s", "run s")
    table, console = Table("model", *columns, "nodes", "size"), Console()
    console.width = max(console.width, WIDTH)
    ran = failed = 0
    for name in names:
        try:
            with console.status(name):
                table.add_row(name, *run(name, options.composite))
            ran += 1
        except Unavailable as error:
            console.print(f"{name}: skipped: {error}", markup=False)
        except (CheckFailed, lrp_onnx.LrpError, ValueError) as error:
            console.print(f"{name}: FAILED: {error}", markup=False)
            failed += 1
    console.print(table)
    needed, skipped = min(ENOUGH, len(names)), len(names) - ran - failed
    console.print(f"{ran} ran, {failed} failed, {skipped} skipped; {needed} must run")
    return int(failed > 0 or ran < needed)


if __name__ == "__main__":
    sys.exit(main())
