"""The options that compile, explain, inspect, verify and bench share, written once."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from lrp_onnx.compiler.stages import STAGES
from lrp_onnx.errors import RuleError
from lrp_onnx.graph.builder import RUNTIMES
from lrp_onnx.lrp.assignment import Request
from lrp_onnx.lrp.composite import Override
from lrp_onnx.lrp.expression import parse
from lrp_onnx.lrp.methods import METHODS, settled
from lrp_onnx.lrp.start import STARTS

__all__ = ["Options", "takes_options"]


@dataclass(frozen=True)
class Options:
    """What to compile and how to watch it."""

    request: Request
    opset: int | None
    check: bool
    print_after: tuple[str, ...]
    time_stages: bool
    account: bool = False
    """Whether integrated gradients also say what their steps alone sum to."""


def _read(
    method: Annotated[
        str, typer.Option(metavar="NAME", help=f"How it is explained: {', '.join(METHODS)}.")
    ] = "lrp",
    composite: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE.toml", help="Which rule each layer gets [epsilon-plus-flat]."
        ),
    ] = None,
    rule: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN=RULE",
            help="A rule for nodes by name (* matches) or operator type. Repeatable.",
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="[RULE.]NAME=VALUE[,VALUE…]",
            help="A parameter: a number, one per channel, or an expression of z. Repeatable.",
        ),
    ] = None,
    output: Annotated[
        str | None, typer.Option(metavar="NAME", help="Explained output [only float one].")
    ] = None,
    explain: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Explained input [every float one]. Repeatable."),
    ] = None,
    target: Annotated[
        str,
        typer.Option(
            metavar="argmax|INDEX|A-B|top-K|all|max|input|seed", help="What of the output."
        ),
    ] = "argmax",
    class_axis: Annotated[
        int | None,
        typer.Option(metavar="N", help="Class axis [1; for rank 3 the last; 0 without a batch]."),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(metavar="logit|one", help="Relevance sums to the logit, or to 1 [logit]."),
    ] = None,
    relevance_at: Annotated[
        list[str] | None,
        typer.Option(metavar="TENSOR", help="An inner tensor's relevance too. Repeatable."),
    ] = None,
    condition: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TENSOR",
            help="An input TENSOR_condition that masks its relevance's channels. Repeatable.",
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(metavar="N", help="Points of integrated-gradients [32].")
    ] = None,
    baseline: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]zero|mean|FILE",
            help="Where integrated-gradients begin [zero]. Repeatable.",
        ),
    ] = None,
    runtime: Annotated[
        str,
        typer.Option(metavar="NAME", help=f"What it is made for: {', '.join(RUNTIMES)}."),
    ] = RUNTIMES[0],
    no_optimize: Annotated[
        bool, typer.Option("--no-optimize", help="Every rule as its file says, for comparison.")
    ] = False,
    opset: Annotated[
        int | None, typer.Option(metavar="N", help="Opset of the compiled model, 18 to 21.")
    ] = None,
    no_check: Annotated[
        bool, typer.Option("--no-check", help="Do not compare with the original's forward.")
    ] = False,
    print_after: Annotated[
        list[str] | None,
        typer.Option(metavar="STAGE", help=f"Print the result of a stage: {', '.join(STAGES)}."),
    ] = None,
    time_stages: Annotated[
        bool, typer.Option("--time-stages", help="Print the seconds of each stage.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback with errors.")] = False,
) -> Options:
    for stage in print_after or []:
        _one_of(stage, STAGES, "--print-after")
    _one_of(method, METHODS, "--method")
    _one_of(runtime, RUNTIMES, "--runtime")
    if start is not None:
        _one_of(start, STARTS, "--start")
    rules = dict(_rule(text) for text in rule or [])
    parameters = dict(_parameter(text) for text in set_ or [])
    composite, start, points = settled(
        method,
        composite,
        rules,
        parameters,
        start,
        steps,
        baseline,
        condition or (),
        relevance_at or (),
    )
    request = Request(
        composite=composite,
        parameters=parameters,
        rules=rules,
        output=output,
        explain=explain or None,
        target=target,
        class_axis=class_axis,
        start=start,
        relevance_at=tuple(relevance_at or ()),
        method=method,
        steps=points,
        baseline=baseline or None,
        conditions=tuple(condition or ()),
        runtime=runtime,
        optimize=not no_optimize,
    )
    return Options(request, opset, not no_check, tuple(print_after or ()), time_stages)


def takes_options(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command the shared options; it receives them as one argument `options`."""
    shared = inspect.signature(_read, eval_str=True).parameters
    own = inspect.signature(command, eval_str=True).parameters
    named = [p.replace(kind=p.KEYWORD_ONLY) for p in own.values() if p.name != "options"]

    @functools.wraps(command)
    def wrapper(**given: Any) -> int:
        options = _read(**{name: given.pop(name) for name in shared})
        return command(options=options, **given)

    signature = inspect.Signature(
        [*named, *(p.replace(kind=p.KEYWORD_ONLY) for p in shared.values())]
    )
    wrapper.__signature__ = signature  # type: ignore[attr-defined]  # read by typer
    wrapper.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
    return wrapper


def _one_of(value: str, choices: tuple[str, ...], option: str) -> None:
    if value not in choices:
        raise typer.BadParameter(
            f"{option} {value!r} is unknown. Choose one of {', '.join(choices)}"
        )


def _rule(text: str) -> tuple[str, str]:
    pattern, _, rule = text.rpartition("=")
    if not pattern or not rule:
        raise typer.BadParameter(f"--rule {text!r}: write PATTERN=RULE, such as 'conv1*=gamma'")
    return pattern, rule


def _parameter(text: str) -> tuple[str, Override]:
    name, equals, value = text.partition("=")
    if not name.strip() or not equals or not value.strip():
        example = "gamma=0.1 or low=-1,-2,-1"
        raise typer.BadParameter(f"--set {text!r}: write NAME=VALUE, such as {example}")
    numbers = [_number(part) for part in value.split(",")]
    if None not in numbers:
        known = [n for n in numbers if n is not None]
        return name.strip(), known if len(known) > 1 else known[0]
    if "," in value:
        raise typer.BadParameter(f"--set {text!r}: not a list of numbers. Write NAME=1,2,3")
    _check_expression(text, value.strip())
    return name.strip(), value.strip()


def _check_expression(text: str, value: str) -> None:
    try:
        parse(value, frozenset("z"))
    except RuleError as e:
        example = "such as 0.25 or 0.25*rms(z)"
        raise typer.BadParameter(
            f"--set {text!r}: {value!r} is neither a number nor an expression of z, {example}"
        ) from e


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
