"""The parts of a run, one a shard: which are there, and what they hold together."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
from pyarrow import compute, dataset

from lrp_onnx.graph.temporary import PREFIX
from lrp_onnx.scale.plan import Shard, read_plan
from lrp_onnx.scale.worker import part_of

__all__ = ["count_rows", "missing_shards", "remove_torn"]


def remove_torn(folder: Path) -> None:
    """Remove what a worker had begun to write when it was killed."""
    for torn in folder.glob(f"{PREFIX}*"):
        shutil.rmtree(torn)


def missing_shards(plan: Path, folder: Path) -> tuple[list[Shard], int]:
    """The shards without a part, and how many inputs the others hold."""
    there = {path.name for path in folder.glob("part-*.parquet")}
    missing, rows = [], 0
    for shard in read_plan(plan):
        if part_of(folder, shard.number).name in there:
            rows += shard.rows
        else:
            missing.append(shard)
    return missing, rows


def count_rows(folder: Path) -> tuple[int, int]:
    """How many rows all parts hold, and how many of them failed."""
    files = sorted(map(str, folder.glob("part-*.parquet")))
    parts = dataset.dataset(files, schema=pa.schema({"error": pa.string()}))
    return parts.count_rows(), parts.count_rows(filter=compute.field("error").is_valid())
