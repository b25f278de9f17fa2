"""Where the answers of `explain` go: the file or folder that is named, else beside the input."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path

from lrp_onnx.errors import OutputError
from lrp_onnx.graph.atomic_files import atomic

__all__ = ["FORMATS", "Destination", "Format", "check_writable", "is_answer", "made_folder"]

Format = StrEnum("Format", ["PNG", "JPG", "SVG", "PDF", "HTML", "NPZ", "CSV"])
"""What results are written as."""
FORMATS = tuple(f".{name}" for name in Format)
MARK = ".lrp"
"""Between the name of an input and the ending of an answer beside it."""


class Destination:
    """What -o and --format name.

    Raises OutputError for a name that ends in no format, or in another than the one asked for.
    """

    def __init__(self, out: str | None, kind: Format | None) -> None:
        self.out, self.kind = out, kind or Format.PNG
        if out is None or self.is_folder:
            return
        ending = Path(out).suffix.lower().replace(".jpeg", ".jpg")
        if ending not in FORMATS:
            raise OutputError(
                f"output '{out}': results are written as {', '.join(FORMATS)}. Choose one of these "
                "endings, or end the name of a folder with '/'."
            )
        if kind is not None and ending != f".{kind}":
            raise OutputError(f"output '{out}': --format asks for .{kind}. Leave one of both out.")

    @property
    def is_folder(self) -> bool:
        """Whether -o names a folder: one that is there, or a name without an ending."""
        out = self.out
        return out is not None and (
            out.endswith(("/", "\\")) or os.path.isdir(out) or not Path(out).suffix
        )

    def of_one(self, source: Path) -> Path:
        """The file that answers for one input."""
        return self.of_many([source])[0] if self.out is None or self.is_folder else Path(self.out)

    def of_many(self, sources: Sequence[Path], folder: Path | None = None) -> list[Path]:
        """A file for each input, in one folder.

        folder: what the inputs were given as, where they were. Raises OutputError where that
        cannot be.
        """
        if self.out is None and folder is None:
            return self._beside(sources)
        place = Path(self.out or f"{str(folder).rstrip('/')}{MARK}")
        if place.exists() and not place.is_dir():
            raise OutputError(
                f"output '{place}': that is a file, and many are written. Name a folder."
            )
        if not self.is_folder and self.out is not None:
            raise OutputError(
                f"output '{place}': that names one file, and many are written. Give a folder and "
                f"the format: -o {place.with_suffix('')}/ --format {place.suffix[1:].lower()}."
            )
        counts = Counter(source.stem for source in sources)
        names = [s.name if counts[s.stem] > 1 else s.stem for s in sources]
        paths = [place / f"{name}.{self.kind}" for name in names]
        inputs = {source.resolve() for source in sources}
        return [p.with_suffix(f"{MARK}{p.suffix}") if p.resolve() in inputs else p for p in paths]

    def _beside(self, sources: Sequence[Path]) -> list[Path]:
        if len({source.parent for source in sources}) > 1:
            raise OutputError(
                f"{len(sources)} files of several folders are given, and all answers go into one. "
                "Name it with -o FOLDER/."
            )
        counts = Counter(source.stem for source in sources)
        names = [s.name if counts[s.stem] > 1 else s.stem for s in sources]
        each = zip(sources, names, strict=True)
        return [source.with_name(f"{name}{MARK}.{self.kind}") for source, name in each]


def is_answer(path: Path) -> bool:
    """Whether a file is an earlier answer beside its input, such as photo.lrp.png."""
    return path.suffix.lower() in FORMATS and Path(path.stem).suffix == MARK


def check_writable(out: Path, model: Path, *inputs: str, made: bool = False) -> None:
    """Fail now and not after the work; what is read is not overwritten.

    made: whether its folder is going to be made.

    Raises OutputError.
    """
    for source, what in ((model, "the model"), *((Path(i), "the input") for i in inputs)):
        if out.exists() and os.path.exists(source) and out.samefile(source):
            raise OutputError(f"output '{out}': that is {what} itself. Name another file.")
    if made and not out.parent.exists():
        return
    with atomic(out):
        pass  # its folder takes a file; without one written nothing is left there


@contextlib.contextmanager
def made_folder(folder: Path) -> Iterator[None]:
    """The folder is there; one that was made for a failed run goes again."""
    known = folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"output '{folder}': {error.strerror}. Name another folder.") from error
    try:
        yield
    finally:
        if not known and not any(folder.iterdir()):
            folder.rmdir()
