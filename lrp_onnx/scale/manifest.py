"""What a run was asked for and what it did; one that continues must ask the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lrp_onnx.errors import InputError, OutputError
from lrp_onnx.graph.atomic_files import atomic

__all__ = ["check_same", "read_manifest", "write_manifest"]


def read_manifest(path: Path) -> dict[str, Any] | None:
    """What is written there; None where no run began."""
    if not path.exists():
        return None
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OutputError(
            f"manifest '{path}': it cannot be read ({error}). Name another folder."
        ) from error
    return manifest


def write_manifest(path: Path, manifest: Mapping[str, Any]) -> None:
    """Write it, whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def check_same(path: Path, began: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Raise InputError where a run that continues asks for something else than when it began."""
    for key in {**began, **asked}:
        if began.get(key) != asked.get(key):
            raise InputError(
                f"--resume: {key.replace('_', ' ')} was {began.get(key)!r} when the run of "
                f"'{path.parent}' began, and is {asked.get(key)!r}. Give the same, or name another "
                "folder."
            )
