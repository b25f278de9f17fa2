"""What all commands share: the application, exit statuses, common arguments, what is printed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from lrp_onnx.cli import tables
from lrp_onnx.errors import plain
from lrp_onnx.version import version as own_version

__all__ = [
    "DONE",
    "FAILED",
    "WRONG",
    "Inputs",
    "Json",
    "Model",
    "Preprocessing",
    "Quiet",
    "Rate",
    "Row",
    "Tokenizer",
    "app",
    "note",
    "tell",
    "warn",
]

DONE, FAILED, WRONG = 0, 1, 2
"""Exit statuses."""
Model = Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="The exported model.")]
Inputs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[[NAME=]FILE]…",
        help="What explain takes: a picture, .npy, .csv, .wav, a sentence … [random numbers].",
    ),
]
Preprocessing = Annotated[
    str | None,
    typer.Option(
        metavar="imagenet|inception|unit|byte|FILE.toml",
        help="How pictures are scaled and normalized for the model.",
    ),
]
Tokenizer = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="What cuts a text into tokens: tokenizer.json, vocab.txt or SentencePiece's .model "
        "[the one beside the model].",
    ),
]
Row = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Which row of a table, counted from 1 [all]."),
]
Rate = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="HZ",
        help="How many samples a second of sound the model wants [as its metadata say].",
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


def tell(rows: Sequence[tuple[str, str]], json: bool, quiet: bool) -> None:
    """Names and values as lines or as JSON, where they are wanted."""
    if json:
        tables.show_json(tables.facts_json(rows))
    elif not quiet:
        tables.show(tables.facts(rows))


def note(text: str, kind: str = "") -> None:
    """Print to stderr."""
    print(plain(f"{kind}{text}"), file=sys.stderr)


def warn(*texts: str | None) -> None:
    """Print the warnings among them to stderr."""
    for text in filter(None, texts):
        note(text, "warning: ")
