"""The result of a compilation: one ONNX model that computes the prediction and its relevance."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from pathlib import Path

import onnx
import onnx_ir as ir

from lrp_onnx.arguments import checked
from lrp_onnx.compiler.accounts import NodeAccount
from lrp_onnx.graph.annotations import stamp_of
from lrp_onnx.graph.atomic_files import atomic_group
from lrp_onnx.graph.map_outputs import serialized
from lrp_onnx.graph.model_file import LARGEST_FILE, read_weights
from lrp_onnx.lrp.report import NodeReport

__all__ = ["Compiled"]

DIGITS = 16
"""Of the digest in the name of a file of weights."""


@dataclass
class Compiled:
    """A compiled explanation graph and what was decided on the way."""

    graph: ir.Model = field(repr=False)
    """The graph in onnx-ir's form; its weights are those of the source, not copied."""
    report: list[NodeReport]
    """Per node of the canonized forward graph: name, op_type, kind, rule, reason."""
    warnings: tuple[str, ...] = ()
    accounts: tuple[NodeAccount, ...] = field(default=(), repr=False)
    """Which outputs say what became of relevance at a node; empty unless they were asked for."""

    @cached_property
    def model(self) -> onnx.ModelProto:
        """The compiled model as ModelProto, weights included."""
        return serialized(read_weights(self.graph))

    def weight_bytes(self) -> int:
        """The size of all initializers in bytes."""
        tensors = (v.const_value for v in self.graph.graph.initializers.values())
        return sum(t.nbytes for t in tensors if t is not None)

    def _repr_html_(self) -> str:
        """What is explained, and how many nodes got which rule, as a notebook shows it."""
        stamp = stamp_of(self.graph.metadata_props)
        counts = Counter(line.rule for line in self.report if line.rule)
        facts: list[tuple[str, str]] = [
            ("method", stamp["method"]),
            ("composite", stamp.get("composite", "none")),
            ("target", stamp["target"]),
            ("rules", ", ".join(f"{rule} ({count})" for rule, count in counts.most_common())),
            ("outputs", ", ".join(str(value.name) for value in self.graph.graph.outputs)),
            *(("warning", text) for text in self.warnings),
        ]
        rows = "".join(
            f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>\n" for name, text in facts
        )
        return f"<table>\n{rows}</table>"

    @checked
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model; beyond 2 GB its weights go to `<name>.<digest>.data` beside it.

        A failed run leaves no file and harms no older one.  The digest is that of the weights, so
        that a run which ends between the two files leaves the older pair; what is no longer read
        is removed.  Raises OutputError where the path cannot be written.
        """
        path = Path(os.path.realpath(path) if os.path.islink(path) else path)
        large = self.weight_bytes() >= LARGEST_FILE
        data = path.parent / f"{path.name}.{self._digest() if large else '-'}.data"
        with atomic_group(data, path) as (new_data, new_path):
            if large:
                ir.save(self.graph, new_path, external_data=new_data.name)
            else:
                new_path.write_bytes(self.model.SerializeToString())
        for older in path.parent.glob(f"{glob.escape(path.name)}.{'[0-9a-f]' * DIGITS}.data"):
            if older != data:
                with contextlib.suppress(OSError):  # then it stays, and is not read
                    older.unlink()

    def _digest(self) -> str:
        """That of the names and numbers of the weights."""
        digest = hashlib.sha256()
        for name, value in self.graph.graph.initializers.items():
            if value.const_value is not None:
                digest.update(name.encode())
                digest.update(value.const_value.tobytes())
        return digest.hexdigest()[:DIGITS]
