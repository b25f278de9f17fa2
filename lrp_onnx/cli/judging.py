"""The commands that judge and measure: each parses, calls one module and shows the result."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lrp_onnx.answer.destination import check_writable
from lrp_onnx.answer.explained import explained_line
from lrp_onnx.answer.inputs import Reader, read_inputs_if_any
from lrp_onnx.cli import (
    benchmark,
    evaluation,
    tables,
    verification,
)
from lrp_onnx.cli.app import (
    DONE,
    FAILED,
    Inputs,
    Json,
    Model,
    Preprocessing,
    Quiet,
    Rate,
    Row,
    Tokenizer,
    app,
    note,
    warn,
)
from lrp_onnx.cli.evaluate import EvaluateRequest, evaluate_files
from lrp_onnx.cli.options import Options, takes_options
from lrp_onnx.cli.progress import StageProgress
from lrp_onnx.compiler.stages import compile_prepared, load_original, prepare
from lrp_onnx.validate.bench import bench as measure
from lrp_onnx.validate.verify import verify as verify_model

__all__ = ["bench", "evaluate", "verify"]


@app.command()
@takes_options
def verify(
    model: Model,
    inputs: Inputs = None,
    preprocess: Preprocessing = None,
    tokenizer: Tokenizer = None,
    row: Row = None,
    rate: Rate = None,
    json: Json = False,
    quiet: Quiet = False,
    *,
    options: Options,
) -> int:
    """Check that prediction is unchanged and relevance conserved."""
    reader = Reader(model, tokenizer, row, rate)
    with StageProgress(options, quiet=json or quiet) as progress:
        loaded = load_original(model, progress)
        read, chosen = read_inputs_if_any(loaded.model, inputs, preprocess, options.compile, reader)
        verdict = verify_model(loaded, chosen, read.feeds or None, read.ranges)
    warn(*read.notices, *verdict.warnings)
    if json:
        tables.show_json(verification.verdict_json(verdict))
    elif not quiet:
        if verdict.lines:
            table = verification.verdict_table(verdict, tables.width())
            tables.show(table, verification.LEGEND)
        tables.show(tables.facts(verification.verdict_facts(verdict, random=not inputs)))
    for problem in verdict.problems:
        note(f"{problem}.", "does not hold: ")
    if verdict.ill_conditioned:
        warn(f"ill-conditioned: {verdict.ill_conditioned}")
    return DONE if verdict.holds_fully else FAILED


@app.command()
@takes_options
def evaluate(
    model: Model,
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME=]FILE…|FOLDER",
            help="What explain takes, or a folder of it; the more the better.",
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
        int,
        typer.Option(
            metavar="N", min=2, help="Points of a curve: in how many steps units are replaced."
        ),
    ] = 20,
    batch: Annotated[
        int, typer.Option(metavar="N", min=1, help="How many samples run together.")
    ] = 8,
    seed: Annotated[
        int, typer.Option(metavar="N", help="The seed of random numbers and of re-drawn weights.")
    ] = 0,
    redraw: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            help="In how many stages the weights are re-drawn at random, from the last layer on: a "
            "good map changes with them. 0 leaves it out.",
        ),
    ] = 3,
    tune: Annotated[
        Path | None,
        typer.Option(
            metavar="F.toml",
            help="Search a graded composite on half of the samples, write it, and compare it on "
            "the other half.",
        ),
    ] = None,
    tokenizer: Tokenizer = None,
    rate: Rate = None,
    json: Json = False,
    quiet: Quiet = False,
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
        reader=Reader(model, tokenizer, None, rate),
    )
    evaluated = evaluate_files(request, options, warn, quiet=json or quiet)
    if json:
        tables.show_json(evaluation.evaluation_json(evaluated))
    if json or quiet:
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
    tokenizer: Tokenizer = None,
    row: Row = None,
    rate: Rate = None,
    runs: Annotated[int, typer.Option(metavar="N", min=1, help="How many times each is run.")] = 20,
    batch: Annotated[
        str,
        typer.Option(
            metavar="N,…",
            help="How many samples a random input holds, where the model leaves that open. "
            "Several, such as 1,8,64, are run one after the other.",
        ),
    ] = "1",
    threads: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Threads for one operator [one per core]."),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
    *,
    options: Options,
) -> int:
    """Measure time and memory of prediction and explanation."""
    batches, reader = benchmark.batches_of(batch), Reader(model, tokenizer, row, rate)
    with StageProgress(options, quiet=json or quiet) as progress:
        loaded = load_original(model, progress)
        read, chosen = read_inputs_if_any(loaded.model, inputs, preprocess, options.compile, reader)
        compiled = compile_prepared(prepare(loaded, chosen, read.ranges))
        warn(*read.notices, *compiled.warnings)
        progress.begin("measure", runs * len(batches))
        feeds = read.feeds or None
        costs = [
            measure(model, compiled, feeds, runs, progress.tick, size, threads) for size in batches
        ]
    if json:
        tables.show_json(benchmark.costs_json(costs))
    elif not quiet:
        tables.show(*benchmark.costs_tables(costs, explained_line(compiled)))
    return DONE
