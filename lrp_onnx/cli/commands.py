"""The commands: each parses, calls one module and shows what came back."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from lrp_onnx.cli.options import Debug, Options, takes_options
from lrp_onnx.errors import OutputError

__all__ = ["DONE", "FAILED", "WRONG", "app", "note"]

DONE, FAILED, WRONG = 0, 1, 2
"""Exit statuses."""
Model = Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="The exported model.")]
Inputs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[[NAME=]FILE]…", help="Input: a picture, .npy, .npz [default: random numbers]."
    ),
]
Preprocessing = Annotated[
    str | None,
    typer.Option(
        metavar="imagenet|inception|unit|byte|FILE.toml",
        help="How the model wants its pictures.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="For machines.")]

app = typer.Typer(
    help="Compile an ONNX model into one that also computes its Layer-wise Relevance Propagation.",
    epilog="Exit status: 0 done, 1 a check did not hold or a file failed, 2 usage or model error.",
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def _no_command(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    if version:
        from lrp_onnx.version import version as own_version

        print(f"lrp-onnx {own_version()}")
        raise typer.Exit(DONE)
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(WRONG)


@app.command("compile")
@takes_options
def compile_(
    model: Model,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="OUT.onnx", help="File to write.")],
    options: Options,
) -> int:
    """Write the explanation graph: prediction and relevance."""
    from lrp_onnx.cli import tables
    from lrp_onnx.cli.explained import explained_rows
    from lrp_onnx.cli.progress import StageProgress
    from lrp_onnx.compiler.stages import compile_prepared, load_original, prepare

    _check_writable(out, model)
    with StageProgress(options) as progress:
        loaded = load_original(model, progress)
        original = {v.name for v in loaded.model.graph.outputs}
        compiled = compile_prepared(prepare(loaded, options.compile))
    _warn(*compiled.warnings)
    compiled.save(out)
    graph, size = compiled.graph.graph, tables.size(out.stat().st_size)
    rows = [
        *explained_rows(compiled),
        *(("adds", tables.signature(v)) for v in graph.outputs if v.name not in original),
        ("wrote", f"{out} ({size}, {len(graph)} nodes)"),
    ]
    tables.show(tables.facts(rows))
    return DONE


@app.command()
@takes_options
def explain(
    model: Model,
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME=]FILE…|FOLDER", help="Every input: a picture, .npy or .npz; or many."
        ),
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="OUT", help="File to write: .png, .html, .npz.")
    ],
    preprocess: Preprocessing = None,
    labels: Annotated[
        str | None, typer.Option(metavar="FILE", help="Class names, one a line or JSON.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Of a folder, how many run together.")] = 8,
    format_: Annotated[
        str, typer.Option("--format", metavar="png|html|npz", help="What a folder's files become.")
    ] = "png",
    *,
    options: Options,
) -> int:
    """Compile, run on files or a folder of them, write pictures or arrays."""
    from lrp_onnx.cli import tables
    from lrp_onnx.cli.explain import Request, explain_files
    from lrp_onnx.cli.explain_folder import explain_folder, is_folder

    request = Request(model, tuple(inputs), out, preprocess, labels)
    failed: list[str] = []
    if is_folder(request.inputs):
        rows, failed = explain_folder(request, options, batch, format_, _warn)
    else:
        _check_writable(out, model)
        rows = explain_files(request, options, _warn)
    tables.show(tables.facts(rows))
    for problem in failed:
        note(" ".join(problem.split()), "not explained: ")
    return FAILED if failed else DONE


@app.command("inspect")
@takes_options
def inspect_(
    model: Model,
    graph: Annotated[
        Path | None,
        typer.Option(metavar="F.svg", help="Draw the explanation path (.svg, .png, .pdf)."),
    ] = None,
    tensors: Annotated[
        bool,
        typer.Option("--tensors", help="The tensors of each node, as --condition takes them."),
    ] = False,
    json: Json = False,
    *,
    options: Options,
) -> int:
    """Every node: kind, rule, and why; what is not supported."""
    from lrp_onnx.cli import path_drawing, tables
    from lrp_onnx.cli.explained import by_what
    from lrp_onnx.cli.inspection import inspect_model

    if graph is not None:
        path_drawing.check_format(graph)
        _check_writable(graph, model)
    inspection = inspect_model(model, options, quiet=json)
    if json:
        tables.show_json(inspection.to_json())
    else:
        tables.show(*inspection.tables(tensors))
    _warn(*inspection.warnings)
    if inspection.error is not None:
        raise inspection.error
    if graph is not None:
        title = f"{model.name}: {by_what(options.compile)}"
        path_drawing.draw_path(graph, inspection.path, title)
        note(f"wrote {graph}")
    return DONE


@app.command()
@takes_options
def verify(
    model: Model,
    inputs: Inputs = None,
    preprocess: Preprocessing = None,
    json: Json = False,
    *,
    options: Options,
) -> int:
    """Forward unchanged? Relevance conserved, layer by layer? Finite?"""
    from lrp_onnx.cli import tables, verification
    from lrp_onnx.cli.inputs import read_inputs_if_any
    from lrp_onnx.cli.progress import StageProgress
    from lrp_onnx.compiler.stages import load_original
    from lrp_onnx.validate.verify import verify as verify_model

    with StageProgress(options, quiet=json) as progress:
        loaded = load_original(model, progress)
        read, chosen = read_inputs_if_any(loaded.model, inputs, preprocess, options.compile)
        verdict = verify_model(loaded, chosen, read.feeds or None, read.ranges)
    _warn(*verdict.warnings)
    if json:
        tables.show_json(verification.verdict_json(verdict))
    else:
        if verdict.lines:
            table = verification.verdict_table(verdict, tables.width())
            tables.show(table, verification.LEGEND)
        tables.show(tables.facts(verification.verdict_facts(verdict, random=not inputs)))
    for problem in verdict.problems:
        note(f"{problem}.", "does not hold: ")
    return FAILED if verdict.problems else DONE


@app.command()
@takes_options
def bench(
    model: Model,
    inputs: Inputs = None,
    preprocess: Preprocessing = None,
    runs: Annotated[int, typer.Option(min=1, help="Runs of each.")] = 20,
    batch: Annotated[
        int, typer.Option(min=1, help="Samples of a made-up input, where the model allows it.")
    ] = 1,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads for one operator [one per core].")
    ] = None,
    json: Json = False,
    *,
    options: Options,
) -> int:
    """Forward and explanation: time, ratio, images per second, peak memory."""
    from lrp_onnx.cli import benchmark, tables
    from lrp_onnx.cli.explained import explained_line
    from lrp_onnx.cli.inputs import read_inputs_if_any
    from lrp_onnx.cli.progress import StageProgress
    from lrp_onnx.compiler.stages import compile_prepared, load_original, prepare
    from lrp_onnx.validate.bench import bench as measure

    with StageProgress(options, quiet=json) as progress:
        loaded = load_original(model, progress)
        read, chosen = read_inputs_if_any(loaded.model, inputs, preprocess, options.compile)
        compiled = compile_prepared(prepare(loaded, chosen, read.ranges))
        _warn(*compiled.warnings)
        progress.begin("measure", runs)
        costs = measure(model, compiled, read.feeds or None, runs, progress.tick, batch, threads)
    if json:
        tables.show_json(benchmark.costs_json(costs))
    else:
        tables.show(*benchmark.costs_tables(costs, explained_line(compiled)))
    return DONE


@app.command()
def rules(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME|FILE.toml]", help="A rule or composite.")
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """The rules and composites, with formula, parameters and reference."""
    from lrp_onnx.cli import rule_library, tables

    if json:
        tables.show_json(rule_library.to_json(name))
    elif name is None:
        tables.show(*rule_library.overview())
    else:
        for entry in rule_library.find(name):
            tables.show(*rule_library.describe(entry), "")
    return DONE


@app.command()
def ops(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="An operator.")] = None,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """The operators: propagates, carries none, refused."""
    from lrp_onnx.analysis.operator_support import every_operator
    from lrp_onnx.cli import operators, tables

    listed = list(every_operator()) if name is None else operators.find(name)
    if json:
        tables.show_json(operators.to_json(listed))
    elif name is None:
        tables.show(*(operators.lines() if tables.in_pipe() else operators.overview()))
    else:
        for operator in listed:
            tables.show(operators.describe(operator), "")
    return DONE


@app.command()
def demo(
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="FOLDER", help="Where to write.")
    ] = Path(),
    debug: Debug = False,
) -> int:
    """The bundled digit model on bundled digits, end to end, offline."""
    from lrp_onnx.cli import tables
    from lrp_onnx.cli.demo import run_demo

    tables.show(*run_demo(out).tables())
    return DONE


def _check_writable(out: Path, model: Path) -> None:
    """Fail now and not after the work; the model itself is not overwritten."""
    from lrp_onnx.graph.atomic_files import atomic

    if out.exists() and model.exists() and out.samefile(model):
        raise OutputError(f"output '{out}': that is the model itself. Name another file.")
    with atomic(out):
        pass


def note(text: str, kind: str = "") -> None:
    """Print to stderr."""
    print(f"{kind}{text}", file=sys.stderr)


def _warn(*texts: str | None) -> None:
    for text in filter(None, texts):
        note(text, "warning: ")
