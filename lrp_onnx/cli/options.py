"""The options that compile, explain, inspect, verify and bench share: those of a compilation, and
how it is watched.  Here their texts become values.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, fields
from typing import Annotated, Any

import typer

from lrp_onnx.compiler.signature import text_of
from lrp_onnx.compiler.stages import STAGES
from lrp_onnx.errors import RuleError
from lrp_onnx.graph.expression import parse
from lrp_onnx.lrp.composite import Override
from lrp_onnx.options import CompileOptions, PictureOptions

__all__ = ["Debug", "Options", "takes_options"]

Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


@dataclass(frozen=True)
class Options:
    """What to compile and how to watch it."""

    compile: CompileOptions
    print_after: tuple[str, ...] = ()
    time_stages: bool = False


def _watched(
    print_after: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STAGE",
            help=f"Print the result of a stage: {', '.join(STAGES)}. Repeatable.",
        ),
    ] = None,
    time_stages: Annotated[
        bool, typer.Option("--time-stages", help="Print how many seconds each stage takes.")
    ] = False,
    debug: Debug = False,
) -> dict[str, Any]:
    for stage in print_after or []:
        if stage not in STAGES:
            raise typer.BadParameter(
                f"--print-after {stage!r} is unknown. Choose one of {', '.join(STAGES)}"
            )
    return {"print_after": tuple(print_after or ()), "time_stages": time_stages}


def takes_options(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command the shared options; it receives them as one argument `options`. Those that it
    has parameters of its own for it gets as these. One that draws has an argument `picture` too.
    """
    own = inspect.signature(command, eval_str=True).parameters
    made = ("options", "picture")
    named = [p.replace(kind=p.KEYWORD_ONLY) for p in own.values() if p.name not in made]
    drawing = [_parameter_of(field) for field in fields(PictureOptions) if "picture" in own]
    shared = [field for field in fields(CompileOptions) if field.name not in own]
    compiling = [_parameter_of(field) for field in shared]
    watched = inspect.signature(_watched, eval_str=True).parameters.values()

    @functools.wraps(command)
    def wrapper(**values: Any) -> int:
        watching = _watched(**{p.name: values.pop(p.name) for p in watched})
        chosen = {p.name: values.pop(p.name) for p in compiling}
        if "picture" in own:
            drawn = {p.name: values.pop(p.name) for p in drawing}
            values["picture"] = PictureOptions(**drawn)
        return command(options=Options(_compile_options(chosen), **watching), **values)

    watching = [p.replace(kind=p.KEYWORD_ONLY) for p in watched]
    signature = inspect.Signature([*named, *drawing, *compiling, *watching])
    wrapper.__signature__ = signature  # type: ignore[attr-defined]  # read by typer
    wrapper.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
    return wrapper


def _parameter_of(field: Field[Any]) -> inspect.Parameter:
    """A field as a parameter that typer reads."""
    flag = field.metadata["flag"] or f"--{field.name.replace('_', '-')}"
    text, shown = text_of(field), field.metadata["shown"]
    kind: Any = str
    for number in (int, float):
        kind = number if str(field.type) in (f"{number.__name__} | None", number.__name__) else kind
    default = field.default
    if field.metadata["repeatable"]:
        kind, default, text = list[str] | None, None, f"{text} Repeatable."
    elif isinstance(default, bool):
        kind, flag, shown = bool, f"{flag}/--no-{field.name}", None
    elif default is None:
        kind = kind | None
    option = typer.Option(flag, metavar=shown, help=text)
    return inspect.Parameter(
        field.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[kind, option],
    )


def _compile_options(values: Mapping[str, Any]) -> CompileOptions:
    """The options of a compilation from what the command line holds; lists left out stay open."""
    chosen = {name: value for name, value in values.items() if value not in (None, [])}
    for name, read in READERS.items():
        chosen[name] = dict(read(text) for text in chosen.get(name, ()))
    return CompileOptions(**chosen)


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
    name, value = name.strip(), value.strip()
    with contextlib.suppress(ValueError):
        numbers = [float(part) for part in value.split(",")]
        return name, numbers if len(numbers) > 1 else numbers[0]
    if "," in value:
        raise typer.BadParameter(f"--set {text!r}: not a list of numbers. Write NAME=1,2,3")
    try:
        parse(value, frozenset("z"))
    except RuleError as e:
        example = "such as 0.25 or 0.25*rms(z)"
        raise typer.BadParameter(
            f"--set {text!r}: {value!r} is neither a number nor an expression of z, {example}"
        ) from e
    return name, value


def _shape(text: str) -> tuple[str, list[int]]:
    match = re.fullmatch(r"(.+)=(\d+(?:,\d+)*)", text)
    if match is None:
        raise typer.BadParameter(f"--shape {text!r}: write INPUT=SIZE,SIZE…, such as x=1,3,224,224")
    return match[1], [int(size) for size in match[2].split(",")]


READERS: dict[str, Callable[[str], tuple[str, Any]]] = {
    "rules": _rule,
    "parameters": _parameter,
    "shape": _shape,
}
"""Options that are dictionaries: what reads one of their entries."""
