"""The commands that need no model: what rules, composites and operators there are, and the demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lrp_onnx.cli import operators, rule_library, tables
from lrp_onnx.cli.app import DONE, Json, Quiet, app
from lrp_onnx.cli.demo import run_demo
from lrp_onnx.cli.options import Debug

__all__ = ["composites", "demo", "ops", "rules"]


@app.command()
def rules(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME|FILE.toml]", help="Show this rule or composite.")
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """List rules and composites, or show one with its formula."""
    if json:
        tables.show_json(rule_library.to_json(name))
    elif name is None:
        tables.show(*rule_library.overview())
    else:
        for entry in rule_library.find(name):
            tables.show(*rule_library.describe(entry), "")
    return DONE


@app.command()
def composites(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME|FILE.toml]", help="Show this composite.")
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """List composites, or show one with its layers."""
    entries = rule_library.composites() if name is None else rule_library.find_composite(name)
    if json:
        tables.show_json(rule_library.composites_json(entries))
    elif name is None:
        tables.show(*rule_library.composite_overview())
    else:
        for entry in entries:
            tables.show(*rule_library.describe(entry), "")
    return DONE


@app.command()
def ops(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Show this operator.")
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """List operators: which pass relevance on, which are refused."""
    listed = operators.find(name)
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
        Path, typer.Option("-o", "--out", metavar="FOLDER", help="An existing folder to write to.")
    ] = Path(),
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> int:
    """Explain bundled digits with the bundled model, offline."""
    done = run_demo(out)
    if json:
        tables.show_json(done.to_json())
    elif not quiet:
        tables.show(*done.tables())
    return DONE
