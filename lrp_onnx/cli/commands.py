"""The commands that compile and explain: each parses, calls one module and shows the result."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from lrp_onnx.answer.destination import Destination, Format, check_writable
from lrp_onnx.answer.explain_composites import explain_composites
from lrp_onnx.answer.explain_folder import explain_many
from lrp_onnx.answer.explain_one import Answer, explain_one
from lrp_onnx.answer.explained import by_what, explained_rows
from lrp_onnx.answer.open_model import Request
from lrp_onnx.answer.sample_files import check_given, sample_files
from lrp_onnx.cli import (
    path_drawing,
    tables,
)
from lrp_onnx.cli.app import (
    DONE,
    FAILED,
    Json,
    Model,
    Preprocessing,
    Quiet,
    Rate,
    Row,
    Tokenizer,
    app,
    note,
    tell,
    warn,
)
from lrp_onnx.cli.concepts import find_concepts
from lrp_onnx.cli.inspection import inspect_model
from lrp_onnx.cli.options import Options, takes_options
from lrp_onnx.cli.progress import StageProgress
from lrp_onnx.compiler.stages import (
    Loaded,
    compile_prepared,
    load_any,
    load_original,
    prepare,
)
from lrp_onnx.options import CompileOptions, PictureOptions
from lrp_onnx.validate.question import Watch

__all__ = ["compile_", "concepts", "explain", "inspect_"]


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
    warn(*compiled.warnings)
    compiled.save(out)
    graph, size = compiled.graph.graph, tables.size(out.stat().st_size)
    rows = [
        *explained_rows(compiled),
        *(("adds", tables.signature(v)) for v in graph.outputs if v.name not in original),
        ("wrote", f"{out} ({size}, {len(graph)} nodes)"),
    ]
    tell(rows, json, quiet)
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
    tokenizer: Tokenizer = None,
    row: Row = None,
    rate: Rate = None,
    batch: Annotated[
        int, typer.Option(metavar="N", min=1, help="How many files are run at once.")
    ] = 8,
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
    with StageProgress(options) as progress:
        loaded = load_any(model, progress)
        answer = _explained(request, options.compile, loaded, batch, progress)
    tell(answer.rows, json, quiet)
    if answer.words and not (json or quiet or tables.in_pipe()):
        tables.show("", *answer.words)
    for problem in answer.failed:
        note(" ".join(problem.split()), "not explained: ")
    if show and typer.launch(str(answer.place)):
        warn(f"--show: nothing here opens '{answer.place}'. Open it yourself")
    return FAILED if answer.failed else DONE


def _explained(
    request: Request, options: CompileOptions, loaded: Loaded, batch: int, watch: Watch
) -> Answer:
    """One sample, or many, or one under several composites."""
    check_given(loaded.model, request.inputs, request.model)
    sources = sample_files(loaded.model, request.inputs, warn)
    if request.composites:
        return explain_composites(request, options, loaded, sources, warn)
    if sources is None:
        return explain_one(request, options, loaded, warn)
    return explain_many(request, options, loaded, sources, batch, watch, warn)


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
    channels: Annotated[
        int, typer.Option(metavar="N", min=1, help="How many channels are shown.")
    ] = 5,
    examples: Annotated[
        int, typer.Option(metavar="N", min=1, help="How many inputs are shown for each channel.")
    ] = 6,
    prototypes: Annotated[
        int | None,
        typer.Option(
            metavar="K",
            min=2,
            help="Also put the inputs of one class, given with --target, into K groups.",
        ),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
    *,
    picture: PictureOptions,
    options: Options,
) -> int:
    """Show what a layer's channels stand for: the inputs that maximize their relevance."""
    place = Destination(str(out), None)
    request = Request(model, tuple(inputs), place, preprocess, picture=picture)
    hushed = json or quiet
    told = find_concepts(
        request, options, at, channels, examples, out, warn, hushed, prototypes or 0
    )
    if json:
        tables.show_json(told.to_json())
    elif not quiet:
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
    preprocess: Preprocessing = None,
    json: Json = False,
    quiet: Quiet = False,
    *,
    options: Options,
) -> int:
    """List every node: its kind, its rule and why, or why it has none."""
    if graph is not None:
        path_drawing.check_format(graph)
        check_writable(graph, model)
    inspection = inspect_model(model, options, json or quiet, preprocess)
    if json:
        tables.show_json(inspection.to_json())
    elif not quiet:
        tables.show(*inspection.tables(tensors))
    warn(*inspection.warnings)
    if inspection.error is not None:
        raise inspection.error
    if graph is not None:
        title = f"{model.name}: {by_what(options.compile)}"
        path_drawing.draw_path(graph, inspection.path, title)
        note(f"wrote {graph}")
    return DONE
