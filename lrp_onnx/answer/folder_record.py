"""Which files of a folder are explained: a run that was ended goes on where it was.

The record lies beside the answers. Its first line tells what they depend on beside their inputs;
each other line is one file's, written when its answer is there, with what is said of it. A line
that was cut off, an input that has changed since and an answer that is gone count as not explained.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import onnx_ir as ir

from lrp_onnx.answer.open_model import Request
from lrp_onnx.answer.samples import Sample, Written
from lrp_onnx.errors import OutputError
from lrp_onnx.graph.model_file import sha256_of
from lrp_onnx.options import CompileOptions
from lrp_onnx.run.explainer import Explainer
from lrp_onnx.version import version

__all__ = ["FolderRecord", "answers_depend_on"]

NAME = ".lrp-onnx.jsonl"


def answers_depend_on(request: Request, options: CompileOptions, model: ir.Model) -> str:
    """A hash of all that decides answers beside their inputs: model, options and their files."""
    tensors = (value.const_value for value in model.graph.initializers.values())
    weights = {str(t.path) for t in tensors if isinstance(t, ir.ExternalTensor)}
    parts = [
        version(),
        sha256_of(request.model),
        sorted(f"{file} {_state(Path(file))}" for file in weights),
        _named(asdict(options)),
        _named([request.preprocess, request.tokenizer, request.row, request.rate]),
        asdict(request.picture),
        str(request.out.kind),
    ]
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _named(value: Any) -> Any:
    """The same, with the hash of each file that is named beside its name."""
    if isinstance(value, dict):
        return {key: _named(own) for key, own in value.items()}
    if isinstance(value, list | tuple):
        return [_named(own) for own in value]
    if isinstance(value, str) and os.path.isfile(value):
        return value, sha256_of(value)
    return value


def _state(file: Path) -> list[int]:
    """What changes when the file does."""
    stat = file.stat()
    return [stat.st_size, stat.st_mtime_ns]


class FolderRecord:
    """The record of one folder of answers. depends: as `answers_depend_on` says; what was made
    otherwise is forgotten.
    """

    def __init__(self, folder: Path, depends: str) -> None:
        self.path, self.depends = folder / NAME, depends
        self.lines: dict[str, dict[str, Any]] = {}
        with contextlib.suppress(FileNotFoundError):
            head, *lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines()
            if _line(head).get("depends") == depends:
                self.lines = {line["file"]: line for text in lines if (line := _line(text))}
        self.is_new = not self.lines

    def told(
        self, file: Path, answers: Sequence[Path], explainers: Sequence[Explainer]
    ) -> list[Written] | None:
        """What was said of a file; None where it is not explained."""
        line = self.lines.get(file.name)
        if line is None or line["state"] != _state(file):
            return None
        if not all(answer.is_file() for answer in answers):
            return None
        return [
            Written(
                explainer,
                part["about"],
                [Sample(**sample) for sample in part["samples"]],
                part["drawn"],
                base64.b64decode(part["thumbnail"]),
                part["rows"],
            )
            for explainer, part in zip(explainers, line["parts"], strict=True)
        ]

    def add(self, file: Path, parts: Sequence[Written]) -> None:
        """Note that a file's answers are written. Raises OutputError where that fails."""
        told = [
            {
                "about": part.about,
                # a box is in the picture already
                "samples": [asdict(replace(sample, detection=None)) for sample in part.samples],
                "drawn": part.drawn,
                "thumbnail": base64.b64encode(part.thumbnail).decode("ascii"),
                "rows": list(part.rows),
            }
            for part in parts
        ]
        lines = [{"file": file.name, "state": _state(file), "parts": told}]
        lines = [{"depends": self.depends}, *lines] if self.is_new else lines
        try:
            with self.path.open("w" if self.is_new else "a", encoding="utf-8") as record:
                # a line that was cut off ends here
                record.writelines(f"{'' if self.is_new else chr(10)}{json.dumps(line)}\n"
                                  for line in lines)  # fmt: skip
        except OSError as error:
            raise OutputError(
                f"output '{self.path}': {error.strerror}. Choose a folder in which you may write."
            ) from error
        self.is_new = False


def _line(text: str) -> dict[str, Any]:
    """What a line holds; nothing where it was cut off."""
    try:
        line = json.loads(text)
    except ValueError:
        return {}
    return line if isinstance(line, dict) else {}
