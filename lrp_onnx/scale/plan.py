"""What is to be explained, cut into shards: what one worker does at a time, and what a run that was
killed does again.

The plan is written before the first shard is explained, so that a run which continues explains the
same shards, whatever became of a folder meanwhile.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image
from pyarrow import csv, parquet

from lrp_onnx.data.inputs import DAMAGED_ARRAY, check_claims, is_array_file
from lrp_onnx.errors import InputError
from lrp_onnx.graph.atomic_files import atomic
from lrp_onnx.graph.source_file import ordinary

__all__ = ["ARRAYS", "PICTURES", "TABLE", "TEXTS", "Shard", "read_plan", "shards_of", "write_plan"]

PICTURES, ARRAYS, TABLE, TEXTS = "pictures", "arrays", "table", "texts"
TABLES = (".parquet", ".csv")
OF_TEXTS = ".txt"
LIST = "@"
"""In front of a file that lists files."""
MOST_PIECES = 32
"""Of an .npz file or a row group: to read a piece may take reading what precedes it."""
ROWS_AT_ONCE = 4096
SCHEMA = pa.schema(
    {
        "number": pa.int64(),
        "kind": pa.string(),
        "files": pa.list_(pa.string()),
        "start": pa.int64(),
        "stop": pa.int64(),
        "of": pa.string(),
    }
)


@dataclass(frozen=True)
class Shard:
    """Inputs that are explained and written together."""

    number: int
    kind: str
    files: tuple[str, ...]
    """Pictures, or the one file of arrays, rows or lines."""
    start: int
    stop: int
    """Which samples of that file; of pictures 0 and how many."""
    of: str = ""
    """The file that the user knows, where a copy is read."""

    @property
    def rows(self) -> int:
        """How many inputs."""
        return self.stop - self.start


def shards_of(inputs: Sequence[str], size: int, folder: Path) -> Iterator[Shard]:
    """Cut files, folders and lists of files into shards of about `size` inputs.

    folder: where a CSV file is kept as Parquet, since only that can be read from the middle.
    Raises InputError for what is named on the command line and is not there.
    """
    pictures: list[str] = []
    number = 0
    for file in _files(inputs):
        if _kind(file) == PICTURES:
            pictures.append(file)
            if len(pictures) == size:
                yield Shard(number, PICTURES, tuple(pictures), 0, size)
                pictures, number = [], number + 1
            continue
        for shard in _pieces(file, size, folder, number):
            yield shard
            number = shard.number + 1
    if pictures:
        yield Shard(number, PICTURES, tuple(pictures), 0, len(pictures))


def _files(inputs: Sequence[str]) -> Iterator[str]:
    for text in inputs:
        if text.startswith(LIST) and not Path(text).exists():
            yield from _listed(Path(text[1:]))
        elif Path(text).is_dir():
            yield from _in_folder(text)
        elif Path(text).exists():
            yield text
        else:
            raise InputError(f"input '{text}': there is no such file or folder. Check the path.")


def _listed(file: Path) -> Iterator[str]:
    try:
        with ordinary(file).open(encoding="utf-8") as lines:
            yield from (line.rstrip("\r\n") for line in lines if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        fact = getattr(error, "strerror", None) or "not UTF-8 text"
        raise InputError(f"list '{file}': {fact}. Give a text file, one path a line.") from error


def _in_folder(folder: str) -> Iterator[str]:
    """Pictures, arrays, tables and texts of a folder and those in it, in a fixed order."""
    known = {*Image.registered_extensions(), *TABLES, OF_TEXTS}
    count = 0
    for place, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            path = Path(place, name)
            if name.startswith(".") or not (is_array_file(path) or path.suffix.lower() in known):
                continue
            count += 1
            yield str(path)
    if not count:
        raise InputError(
            f"folder '{folder}' holds no picture, .npy, .npz, .parquet, .csv or .txt. Name another."
        )


def _kind(file: str) -> str:
    suffix = Path(file).suffix.lower()
    by_suffix = {**dict.fromkeys(TABLES, TABLE), OF_TEXTS: TEXTS}
    return ARRAYS if is_array_file(file) else by_suffix.get(suffix, PICTURES)


def _pieces(file: str, size: int, folder: Path, number: int) -> Iterator[Shard]:
    """The shards of one file; one that cannot be read is a shard, which says so when it is read."""
    kind = _kind(file)
    source = file
    try:
        if Path(file).suffix.lower() == ".csv":
            source = str(_as_parquet(file, folder / f"{number:08}.parquet", size))
        groups = _groups(source) if kind == TABLE else [_samples(source)]
    except (InputError, MemoryError, *DAMAGED_ARRAY):
        yield Shard(number, kind, (file,), 0, 1)
        return
    start = 0
    for count in _joined(groups, size):
        mapped = file.lower().endswith(".npy")  # any place of it is read at once
        step = size if mapped else max(size, -(-count // MOST_PIECES))
        for first in range(start, start + count, step):
            stop = min(first + step, start + count)
            yield Shard(number, kind, (source,), first, stop, file)
            number += 1
        start += count


def _joined(groups: Iterable[int], size: int) -> Iterator[int]:
    """Small row groups as one."""
    total = 0
    for count in groups:
        if total and total + count > size:
            yield total
            total = 0
        total += count
    if total:
        yield total


def _groups(file: str) -> list[int]:
    about = parquet.read_metadata(ordinary(file))
    return [about.row_group(k).num_rows for k in range(about.num_row_groups)]


def _samples(file: str) -> int:
    """How many samples a file holds: its lines, or of arrays what the header says."""
    if _kind(file) == TEXTS:
        with open(file, "rb") as lines:
            return sum(1 for _ in lines)
    check_claims(Path(file))
    if file.lower().endswith(".npy"):
        with ordinary(file).open("rb") as stream:
            return _length(stream)
    with zipfile.ZipFile(ordinary(file)) as archive:
        counts = []
        for name in archive.namelist():
            if not name.endswith(".npy"):
                continue
            with archive.open(name) as stream:
                counts.append(_length(stream))
    if not counts:
        raise ValueError("no array in it")
    return max(counts)


def _length(stream: object) -> int:
    version = np.lib.format.read_magic(stream)  # type: ignore[arg-type]
    read = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    shape = read(stream)[0]  # type: ignore[arg-type]
    if any(size < 0 for size in shape):
        raise ValueError("a size below 0")
    return shape[0] if shape else 1


def _as_parquet(file: str, copy: Path, size: int) -> Path:
    """The rows of a CSV file as text: what is no number is told when its row is read."""
    copy.parent.mkdir(exist_ok=True)
    with csv.open_csv(ordinary(file)) as peek:
        names = peek.schema.names
    options = csv.ConvertOptions(
        column_types={name: pa.string() for name in names}, strings_can_be_null=True
    )
    with (
        csv.open_csv(file, convert_options=options) as rows,
        atomic(copy) as temporary,
        parquet.ParquetWriter(temporary, rows.schema) as writer,
    ):
        for batch in rows:
            writer.write_batch(batch, row_group_size=size)
    return copy


def write_plan(shards: Iterable[Shard], path: Path) -> tuple[int, int]:
    """Write the shards, a row each; returns how many there are, and how many inputs they hold."""
    count = rows = 0
    waiting: list[Shard] = []
    with atomic(path) as temporary, parquet.ParquetWriter(temporary, SCHEMA) as writer:

        def flush() -> None:
            rows = [asdict(shard) for shard in waiting]
            writer.write_table(pa.Table.from_pylist(rows, SCHEMA))
            waiting.clear()

        for shard in shards:
            waiting.append(shard)
            count, rows = count + 1, rows + shard.rows
            if len(waiting) == ROWS_AT_ONCE:
                flush()
        flush()
    return count, rows


def read_plan(path: Path) -> Iterator[Shard]:
    """The shards of a plan, in order."""
    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(ROWS_AT_ONCE):
            for row in batch.to_pylist():
                yield Shard(**{**row, "files": tuple(row["files"])})
