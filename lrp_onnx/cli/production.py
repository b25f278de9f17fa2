"""The commands for production: `batch` explains any number of inputs, `export` what serves them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from lrp_onnx.cli.app import (
    DONE,
    FAILED,
    Json,
    Model,
    Preprocessing,
    Quiet,
    Tokenizer,
    app,
    tell,
    warn,
)
from lrp_onnx.cli.batch import BatchRequest, explain_batch
from lrp_onnx.cli.export_triton import TritonRequest, export_repository
from lrp_onnx.cli.export_web import WebRequest, export_page
from lrp_onnx.cli.options import Options, takes_options

__all__ = ["batch", "export_triton", "export_web"]

export = typer.Typer(help="Write what serves explanations.", rich_markup_mode=None)
app.add_typer(export, name="export")

Stored = StrEnum("Stored", {"FLOAT32": "float32", "FLOAT16": "float16", "INT8": "int8"})
"""What relevance is stored as."""
WhichOutputs = StrEnum("WhichOutputs", ["EXPLAINED", "ALL", "NONE"])
"""Which outputs are stored."""


@app.command()
@takes_options
def batch(
    model: Model,
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT…",
            help="Pictures, .npy, .npz, .parquet or .csv files, .txt of one text a line, folders "
            "of them, or @FILE that lists them.",
        ),
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="FOLDER", help="Folder for the Parquet files.")
    ],
    preprocess: Preprocessing = None,
    tokenizer: Tokenizer = None,
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,…", help="The columns of a table that are the features [its numbers]."
        ),
    ] = None,
    relevance: Annotated[
        Stored,
        typer.Option(
            help="How relevance is stored. float16 and int8 have a column NAME.scale beside them: "
            "relevance is the number times its scale."
        ),
    ] = Stored.FLOAT16,
    pool: Annotated[
        str | None,
        typer.Option(metavar="N|NxM", help="Sum relevance over channels and a grid of cells."),
    ] = None,
    outputs: Annotated[
        WhichOutputs, typer.Option(help="Which of the model's outputs are stored.")
    ] = WhichOutputs.EXPLAINED,
    batch: Annotated[
        int, typer.Option(metavar="N", min=1, help="How many inputs run together.")
    ] = 8,
    workers: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Worker processes [cores / threads].")
    ] = None,
    threads: Annotated[int, typer.Option(metavar="N", min=1, help="Threads of each worker.")] = 1,
    gpus: Annotated[float, typer.Option(metavar="N", min=0, help="GPUs of each worker.")] = 0,
    address: Annotated[
        str | None, typer.Option(metavar="HOST:PORT|auto", help="A Ray cluster [this machine].")
    ] = None,
    shard: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            help="Inputs in one Parquet file. A worker that is killed loses at most so many.",
        ),
    ] = 1024,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue a run that was stopped or killed.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
    *,
    options: Options,
) -> int:
    """Explain any number of inputs, here or on a cluster, into Parquet."""
    request = BatchRequest(
        model=model,
        inputs=tuple(inputs),
        out=out,
        preprocess=preprocess,
        tokenizer=tokenizer,
        batch=batch,
        workers=workers,
        threads=threads,
        gpus=gpus,
        address=address,
        relevance=str(relevance),
        pool=pool,
        outputs=str(outputs),
        columns=columns,
        shard=shard,
        resume=resume,
    )
    rows, failed = explain_batch(request, options, warn)
    tell(rows, json, quiet)
    return FAILED if failed else DONE


@export.command("triton")
@takes_options
def export_triton(
    model: Model,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FOLDER", help="The repository.")],
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="The model's name there [the file's].")
    ] = None,
    preprocess: Preprocessing = None,
    batch: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, help="The largest batch, where the model leaves its size open."
        ),
    ] = 32,
    json: Json = False,
    quiet: Quiet = False,
    *,
    options: Options,
) -> int:
    """Write a model repository for Triton; with --preprocess an ensemble that takes pixels too."""
    request = TritonRequest(model, out, name or model.stem, preprocess, batch)
    tell(export_repository(request, options, warn), json, quiet)
    return DONE


@export.command("web")
@takes_options
def export_web(
    model: Model,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FOLDER", help="Folder to write.")],
    preprocess: Preprocessing = None,
    composite: Annotated[
        list[str] | None,
        typer.Option(
            metavar="auto|NAME|FILE.toml",
            help="Which rule each layer gets; of several the page offers a choice. Repeatable.",
        ),
    ] = None,
    runtime_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Where browsers load onnxruntime-web from."),
    ] = None,
    runtime_files: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="The npm package onnxruntime-web, to copy [node_modules/onnxruntime-web].",
        ),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
    *,
    options: Options,
) -> int:
    """Write a static page that explains pictures in the browser."""
    request = WebRequest(
        model, out, preprocess, tuple(composite or ("auto",)), runtime_url, runtime_files
    )
    tell(export_page(request, options, warn), json, quiet)
    return DONE
