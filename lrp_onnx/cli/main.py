"""The command line: every command parses, calls one module and shows what came back."""

from __future__ import annotations

import contextlib
import logging
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from lrp_onnx.cli.options import Debug, Options, takes_options
from lrp_onnx.errors import CheckError, LrpError, OutputError

__all__ = ["main"]

DONE, FAILED, WRONG, INTERRUPTED = 0, 1, 2, 130
# typer's own, or click's in older releases of typer
UsageError: type[Exception] = next(
    c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException"
)

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
    from lrp_onnx.cli.inspection import explained_rows
    from lrp_onnx.cli.watch import Watch
    from lrp_onnx.compiler.stages import compile_prepared, load_original, prepare

    _writable(out, model)
    with Watch(options) as watch:
        loaded = load_original(model, watch)
        original = {v.name for v in loaded.model.graph.outputs}
        compiled = compile_prepared(prepare(loaded, options.compile))
    for warning in compiled.warnings:
        _note(warning)
    compiled.save(out)
    added = [v for v in compiled.graph.graph.outputs if v.name not in original]
    count = len(compiled.graph.graph)
    total = out.stat().st_size
    rows = [
        *explained_rows(compiled),
        *(("adds", tables.signature(value)) for value in added),
        ("wrote", f"{out} ({tables.size(total)}, {count} nodes)"),
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
    from lrp_onnx.cli.explain import Given, explain_files
    from lrp_onnx.cli.folder import explain_folder, is_folder
    from lrp_onnx.cli.watch import Watch

    given = Given(model, tuple(inputs), out, preprocess, labels)
    if not is_folder(given.inputs):
        _writable(out, model)
        rows = explain_files(given, options, _note)
        tables.show(tables.facts(rows))
        return DONE
    with contextlib.ExitStack() as stack:

        def progress(total: int) -> Callable[[], None]:
            watch = stack.enter_context(Watch(options))
            watch.begin("explain", total)
            return watch.tick

        rows, failed = explain_folder(given, options, batch, format_, _note, progress)
    tables.show(tables.facts(rows))
    for problem in failed:
        _note(" ".join(problem.split()), "not explained: ")
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
    from lrp_onnx.cli import drawing, inspection, tables

    if graph is not None:
        drawing.check_format(graph)
        _writable(graph, model)
    found = inspection.inspect_model(model, options, quiet=json)
    if json:
        tables.show_json(found.to_json())
    else:
        tables.show(*found.tables(tensors))
    for warning in found.warnings:
        _note(warning)
    if found.error is not None:
        raise found.error
    if graph is not None:
        drawing.draw_path(graph, found.path, f"{model.name}: {inspection.means(options.compile)}")
        _note(f"wrote {graph}", "")
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
    from lrp_onnx.cli import tables
    from lrp_onnx.cli.material import read_given
    from lrp_onnx.cli.watch import Watch
    from lrp_onnx.compiler.stages import load_original
    from lrp_onnx.validate.verify import verify as verify_model

    with Watch(options, quiet=json) as watch:
        loaded = load_original(model, watch)
        material, chosen = read_given(loaded.model, inputs, preprocess, options.compile)
        verdict = verify_model(loaded, chosen, material.feeds or None, material.ranges)
    for warning in verdict.warnings:
        _note(warning)
    if json:
        tables.show_json(tables.verdict_json(verdict))
    else:
        if verdict.lines:
            tables.show(tables.verify_table(verdict, tables.room()), tables.LEGEND)
        tables.show(tables.facts(tables.verdict_facts(verdict, random=not inputs)))
    for problem in verdict.problems:
        _note(f"{problem}.", "does not hold: ")
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
    from lrp_onnx.cli import tables
    from lrp_onnx.cli.inspection import explains
    from lrp_onnx.cli.material import read_given
    from lrp_onnx.cli.watch import Watch
    from lrp_onnx.compiler.stages import compile_prepared, load_original, prepare
    from lrp_onnx.validate.bench import bench as measure

    with Watch(options, quiet=json) as watch:
        loaded = load_original(model, watch)
        material, chosen = read_given(loaded.model, inputs, preprocess, options.compile)
        compiled = compile_prepared(prepare(loaded, chosen, material.ranges))
        for warning in compiled.warnings:
            _note(warning)
        watch.begin("measure", runs)
        feeds = material.feeds or None
        costs = measure(model, compiled, feeds, runs, watch.tick, batch, threads)
    if json:
        speeds = {
            f"{what}_samples_per_second": costs.samples / cost.median
            for what, cost in (("forward", costs.forward), ("explanation", costs.explanation))
        }
        tables.show_json({**asdict(costs), "ratio": costs.ratio, **speeds})
        return DONE
    shapes = ", ".join(f"{name} {list(shape)}" for name, shape in costs.shapes.items())
    about = [
        ("explains", explains(compiled)),
        ("input", shapes),
        ("ran on", f"{costs.provider}, {costs.runs} runs each, in turn"),
    ]
    tables.show(tables.bench_table(costs), tables.facts(about))
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
    from lrp_onnx.cli import catalogue, tables

    if name is None and json:
        rule_list = [catalogue.to_json(rule) for rule in catalogue.rules()]
        composite_list = [catalogue.to_json(composite) for composite in catalogue.composites()]
        tables.show_json({"rules": rule_list, "composites": composite_list})
    elif name is None:
        tables.show(*catalogue.overview())
    elif json:
        found = catalogue.find(name)
        tables.show_json({catalogue.kind_of(e): catalogue.to_json(e) for e in found})
    else:
        for entry in catalogue.find(name):
            tables.show(*catalogue.describe(entry), "")
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

    found = list(every_operator()) if name is None else operators.find(name)
    if json:
        tables.show_json(operators.to_json(found))
    elif name is None:
        tables.show(*(operators.lines() if tables.in_pipe() else operators.overview()))
    else:
        for operator in found:
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

    found = run_demo(out)
    headings = ["digit", "read as", "logit", "sum of relevance"]
    rows = [
        [str(d.label), str(d.prediction), f"{d.logit:.4f}", f"{d.relevance:.4f}"]
        for d in found.digits
    ]
    about = [("composite", found.composite), ("ran on", found.provider)]
    wrote = [(what, str(path)) for what, path in found.files.items()]
    tables.show(tables.table_of(headings, rows, numbers=4), tables.facts([*about, *wrote]))
    return DONE


def _writable(out: Path, model: Path) -> None:
    """Fail now and not after the work; the model itself is not overwritten."""
    from lrp_onnx.graph.atomic_files import atomic

    if out.exists() and model.exists() and out.samefile(model):
        raise OutputError(f"output '{out}': that is the model itself. Name another file.")
    with atomic(out):
        pass


def _note(text: str | None, kind: str = "warning: ") -> None:
    if text is not None:
        print(f"{kind}{text}", file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status; errors are one paragraph on stderr."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if "--debug" not in given:
        sys.excepthook = _bug
        # what it warns about comes again as an error, in our words
        logging.getLogger("onnx_ir").setLevel(logging.CRITICAL)
    try:
        command = typer.main.get_command(app)
        status = command.main(given, prog_name="lrp-onnx", standalone_mode=False)
    except (LrpError, UsageError) as e:
        if "--debug" in given:
            traceback.print_exc()
        _note(_paragraph(e), "lrp-onnx: ")
        return FAILED if isinstance(e, CheckError) else WRONG
    except OSError as e:
        where = e.filename or "standard output"
        _note(f"{where}: {e.strerror}. Check the disk and the permissions.", "lrp-onnx: ")
        return WRONG
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    if status == INTERRUPTED:
        _note("interrupted; nothing was written.", "lrp-onnx: ")
        return WRONG
    return status or DONE


def _paragraph(error: Exception) -> str:
    """The message in one line, and for a usage error where to read on."""
    if isinstance(error, LrpError):
        return " ".join(str(error).split())
    text = " ".join(error.format_message().split()).rstrip(".")  # type: ignore[attr-defined]
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "lrp-onnx"
    return f"{text}. See '{command} --help'."


def _bug(kind: type[BaseException], error: BaseException, trace: object) -> None:
    """What no error of ours foresaw: one paragraph too."""
    _note(
        f"{kind.__name__}: {error}. This is a bug of lrp-onnx. Run again with --debug and report "
        "what it prints.",
        "lrp-onnx: ",
    )
    raise SystemExit(WRONG)


if __name__ == "__main__":
    sys.exit(main())
