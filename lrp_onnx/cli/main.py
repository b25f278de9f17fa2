"""The command line from arguments to exit status; every error is one paragraph."""

from __future__ import annotations

import io
import logging
import os
import sys
import traceback
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import typer

from lrp_onnx.cli import commands, judging, listing, production  # noqa: F401  # they join the app
from lrp_onnx.cli.app import DONE, FAILED, WRONG, app, note
from lrp_onnx.errors import CheckError, LrpError, paragraph

__all__ = ["app", "main"]

INTERRUPTED = 130
# typer's own, or click's in older releases of typer
UsageError: type[Exception] = next(
    c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status; errors are one paragraph on stderr."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    _mend_streams()
    if "--debug" not in words:
        sys.excepthook = _bug
        # what it warns about comes again as an error, in our words
        for library in ("onnx_ir", "PIL", "matplotlib"):  # the last where no folder is its own
            logging.getLogger(library).setLevel(logging.CRITICAL)
    try:
        command = typer.main.get_command(app)
        _name_arguments(command)
        if words and _is_model(words[0], command.commands):  # type: ignore[attr-defined]
            words.insert(0, "explain")
        status = command.main(words, prog_name="lrp-onnx", standalone_mode=False)
        sys.stdout.flush()
    except (LrpError, UsageError) as e:
        if "--debug" in words:
            traceback.print_exc()
        _say(_paragraph(e))
        return FAILED if isinstance(e, CheckError) else WRONG
    except OSError as e:
        where = e.filename or "standard output"
        _say(f"{where}: {e.strerror}. Check the disk and the permissions.")
        return WRONG
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    if status == INTERRUPTED:
        _say("interrupted; nothing was written.")
        return WRONG
    return status or DONE


def _name_arguments(command: Any) -> None:
    """Let help texts call arguments by their metavar alone, not by Python's types too."""
    for inner in getattr(command, "commands", {}).values():
        _name_arguments(inner)
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            parameter.display_type_rich = lambda ctx: ""  # what newer releases of typer call


def _is_model(word: str, known: Collection[str]) -> bool:
    """Whether a model stands where a command could: then it is explained."""
    return word not in known and (word.endswith(".onnx") or Path(word).is_file())


def _mend_streams() -> None:
    """Let everything be printed: what a stream's encoding lacks as an escape, and what goes to a
    closed one nowhere.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  # until the end
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _say(text: str) -> None:
    note(text, "lrp-onnx: ")


def _paragraph(error: Exception) -> str:
    """The message in one line, and for a usage error where to read on."""
    if isinstance(error, LrpError):
        return " ".join(str(error).split())
    text = " ".join(error.format_message().split()).rstrip(".")  # type: ignore[attr-defined]
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "lrp-onnx"
    return f"{text}{'' if text.endswith('?') else '.'} See '{command} --help'."


def _bug(kind: type[BaseException], error: BaseException, trace: object) -> None:
    """What no error of ours foresaw: one paragraph too."""
    if issubclass(kind, KeyboardInterrupt):
        _say("interrupted; nothing was written.")
        raise SystemExit(WRONG)
    _say(
        paragraph(
            f"{kind.__name__}: {paragraph(str(error))}. This is a bug of lrp-onnx. Run again with "
            "--debug and report what it prints."
        )
    )
    raise SystemExit(WRONG)
