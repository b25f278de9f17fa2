"""The commands: each parses, calls one module and shows what came back."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from lrp_onnx.cli import (
    benchmark,
    evaluation,
    path_drawing,
    tables,
    verification,
)
from lrp_onnx.cli.concepts import find_concepts
from lrp_onnx.cli.destination import Destination, check_writable
from lrp_onnx.cli.evaluate import EvaluateRequest, evaluate_files
from lrp_onnx.cli.explain_inputs import explain_inputs
from lrp_onnx.cli.explained import by_what, explained_line, explained_rows
from lrp_onnx.cli.inputs import read_inputs_if_any
from lrp_onnx.cli.inspection import inspect_model
from lrp_onnx.cli.open_model import Request
from lrp_onnx.cli.options import Format, Options, takes_options
from lrp_onnx.cli.progress import StageProgress
from lrp_onnx.compiler.stages import compile_prepared, load_original, prepare
from lrp_onnx.options import PictureOptions
from lrp_onnx.plain import plain
from lrp_onnx.validate.bench import bench as measure
from lrp_onnx.validate.verify import verify as verify_model
from lrp_onnx.version import version as own_version

__all__ = ["DONE", "FAILED", "WRONG", "Json", "app", "note"]

DONE, FAILED, WRONG = 0, 1, 2
"""Exit statuses."""
EACH_INPUT = "A picture, .npy or .npz file for each input"
Model = Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="The exported model.")]
Inputs = Annotated[
    list[str] | None,
    typer.Argument(metavar="[[NAME=]FILE]…", help=f"{EACH_INPUT} [random numbers]."),
]
Preprocessing = Annotated[
    str | None,
    typer.Option(
        metavar="imagenet|inception|unit|byte|FILE.toml",
        help="How pictures are scaled and normalized for the model.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print warnings and errors only.")]

app = typer.Typer(
    help="Compile an ONNX model into one that also computes its Layer-wise Relevance Propagation.",
    epilog="Exit status: 0 done, 1 a check did not hold or a file failed, 2 usage or model error.",
    rich_markup_mode=None,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def _no_command(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    if version:
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
    json: Json = False,
    quiet: Quiet = False,
    *,
    options: Options,
) -> int:
    """Write a model that computes prediction and relevance."""
    check_writable(out, model)
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
    _tell(rows, json, quiet)
    return DONE


@app.command()
@takes_options
def explain(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL.onnx", help="The exported model, or a compiled one.")
    ],
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME=]FILE…|FOLDER",
            help="A picture, .wav, .npy, .npz, .csv, .parquet, .txt or a sentence in quotes; "
            "several files or a folder are a sample each. A model of several inputs takes a file "
            "for each, or an .npz with all by name.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--out",
            metavar="OUT",
            help="A .png, .jpg, .svg, .pdf, .html, .npz or .csv file, or a folder [beside the "
            "input: photo.lrp.png].",
        ),
    ] = None,
    preprocess: Preprocessing = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Of a text model: tokenizer.json or vocab.txt [the one beside the model].",
        ),
    ] = None,
    row: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Of a table the row to explain, from 1 [all]."),
    ] = None,
    rate: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="HZ",
            help="Of sound the samples a second that the model wants [what its metadata name].",
        ),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="How many files run together.")] = 8,
    format_: Annotated[
        Format | None,
        typer.Option("--format", help="What is written, where -o names no file [png]."),
    ] = None,
    show: Annotated[
        bool, typer.Option("--show", help="Open the answer when it is written.")
    ] = False,
    composite: Annotated[
        list[str] | None,
        typer.Option(
            metavar="auto|NAME|FILE.toml",
            help="Which rule each layer gets: a composite by name or file; auto chooses by what "
            "the network is made of [auto]. Repeatable: several side by side in one picture.",
        ),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
    *,
    picture: PictureOptions,
    options: Options,
) -> int:
    """Explain a file, several or a folder: write pictures or arrays."""
    place, several = Destination(out, format_), tuple(composite or ())
    if len(several) == 1:
        options = replace(options, compile=replace(options.compile, composite=several[0]))
    request = Request(
        model,
        tuple(inputs or ()),
        place,
        preprocess,
        tokenizer,
        row,
        rate,
        picture,
        several if len(several) > 1 else (),
    )
    answer = explain_inputs(request, options, batch, _warn)
    _tell(answer.rows, json, quiet)
    if answer.words and not (json or quiet or tables.in_pipe()):
        tables.show("", *answer.words)
    for problem in answer.failed:
        note(" ".join(problem.split()), "not explained: ")
    if show and typer.launch(str(answer.place)):
        _warn(f"--show: nothing here opens '{answer.place}'. Open it yourself")
    return FAILED if answer.failed else DONE


@app.command()
@takes_options
def concepts(
    model: Model,
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="FOLDER|FILE…", help="Pictures, the more the better."),
    ],
    at: Annotated[
        str,
        typer.Option(
            metavar="TENSOR",
            help="The layer, by its tensor: lrp-onnx inspect MODEL --tensors lists them.",
        ),
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="F.png", help="The picture to write.")
    ] = Path("concepts.png"),
    preprocess: Preprocessing = None,
    channels: Annotated[int, typer.Option(min=1, help="How many channels are shown.")] = 5,
    examples: Annotated[int, typer.Option(min=1, help="How many inputs of each.")] = 6,
    json: Json = False,
    *,
    picture: PictureOptions,
    options: Options,
) -> int:
    """Show what a layer's channels stand for: the inputs that maximize their relevance."""
    place = Destination(str(out), None)
    request = Request(model, tuple(inputs), place, preprocess, picture=picture)
    told = find_concepts(request, options, at, channels, examples, out, _warn, quiet=json)
    if json:
        tables.show_json(told.to_json())
    else:
        tables.show(tables.facts(told.rows()))
    for problem in told.failed:
        note(" ".join(problem.split()), "not explained: ")
    return FAILED if told.failed else DONE


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
        typer.Option("--tensors", help="List each node's tensors, as --condition takes them."),
    ] = False,
    json: Json = False,
    *,
    options: Options,
) -> int:
    """List every node: its kind, its rule and why, or why it has none."""
    if graph is not None:
        path_drawing.check_format(graph)
        check_writable(graph, model)
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
    """Check that prediction is unchanged and relevance conserved."""
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
    if verdict.ill_conditioned:
        _warn(f"ill-conditioned: {verdict.ill_conditioned}")
    return DONE if verdict.holds_fully else FAILED


@app.command()
@takes_options
def evaluate(
    model: Model,
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME=]FILE…|FOLDER",
            help="Pictures or arrays, or a folder of them; the more the better.",
        ),
    ],
    composite: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|FILE.toml[,…]",
            help="Composites to compare [the default and a few others]. Repeatable.",
        ),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME[,…]", help="Other methods to compare. Repeatable."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="F.png", help="Draw the curves.")
    ] = None,
    preprocess: Preprocessing = None,
    replacement: Annotated[
        str | None,
        typer.Option(
            "--replace",
            metavar="blur|mean|zero|ID|FILE",
            help="What units are replaced by [pictures blur, features mean, tokens 0, else zero].",
        ),
    ] = None,
    unit: Annotated[
        str | None,
        typer.Option(
            metavar="N|NxM",
            help="Size of a unit: side of a patch, length of a frame [about 200 units; features "
            "and tokens 1].",
        ),
    ] = None,
    points: Annotated[
        int, typer.Option(min=2, help="Points of a curve: in how many steps units are replaced.")
    ] = 20,
    batch: Annotated[int, typer.Option(min=1, help="How many samples run together.")] = 8,
    seed: Annotated[int, typer.Option(help="Of random numbers and re-drawn weights.")] = 0,
    redraw: Annotated[
        int, typer.Option(min=0, help="In how many stages weights are re-drawn; 0 leaves it out.")
    ] = 3,
    tune: Annotated[
        Path | None,
        typer.Option(
            metavar="F.toml",
            help="Search a graded composite on half of the samples, write it, and compare it on "
            "the other half.",
        ),
    ] = None,
    json: Json = False,
    *,
    options: Options,
) -> int:
    """Compare how faithful explanations are on your data."""
    for file in filter(None, (out, tune)):
        check_writable(file, model)
    request = EvaluateRequest(
        model=model,
        inputs=tuple(inputs),
        out=out,
        composites=tuple(composite or ()),
        methods=tuple(method or ()),
        preprocess=preprocess,
        replacement=replacement,
        unit=unit,
        points=points,
        batch=batch,
        seed=seed,
        redraw=redraw,
        tune=tune,
    )
    evaluated = evaluate_files(request, options, _warn, quiet=json)
    if json:
        tables.show_json(evaluation.evaluation_json(evaluated))
        return DONE
    tables.show(evaluation.evaluation_table(evaluated), evaluation.LEGEND, "")
    rows = evaluation.evaluation_facts(evaluated)
    wrote = [("wrote", str(file)) for file in filter(None, (tune, out))]
    tables.show(tables.facts([*rows[:-1], *wrote, rows[-1]]))
    return DONE


@app.command()
@takes_options
def bench(
    model: Model,
    inputs: Inputs = None,
    preprocess: Preprocessing = None,
    runs: Annotated[int, typer.Option(min=1, help="How many times each is run.")] = 20,
    batch: Annotated[
        str,
        typer.Option(
            metavar="N,…",
            help="Samples of a random input, where the batch size is open; several: 1,8,64.",
        ),
    ] = "1",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads for one operator [one per core].")
    ] = None,
    json: Json = False,
    *,
    options: Options,
) -> int:
    """Measure time and memory of prediction and explanation."""
    batches = benchmark.batches_of(batch)
    with StageProgress(options, quiet=json) as progress:
        loaded = load_original(model, progress)
        read, chosen = read_inputs_if_any(loaded.model, inputs, preprocess, options.compile)
        compiled = compile_prepared(prepare(loaded, chosen, read.ranges))
        _warn(*compiled.warnings)
        progress.begin("measure", runs * len(batches))
        feeds = read.feeds or None
        costs = [
            measure(model, compiled, feeds, runs, progress.tick, size, threads) for size in batches
        ]
    if json:
        tables.show_json(benchmark.costs_json(costs))
    else:
        tables.show(*benchmark.costs_tables(costs, explained_line(compiled)))
    return DONE


def _tell(rows: Sequence[tuple[str, str]], json: bool, quiet: bool) -> None:
    """Names and values as lines or as JSON, where they are wanted."""
    if json:
        tables.show_json(tables.facts_json(rows))
    elif not quiet:
        tables.show(tables.facts(rows))


def note(text: str, kind: str = "") -> None:
    """Print to stderr."""
    print(plain(f"{kind}{text}"), file=sys.stderr)


def _warn(*texts: str | None) -> None:
    for text in filter(None, texts):
        note(text, "warning: ")
