"""Run the same compiled file in every runtime, beside its original, and compare relevance.

    python model_zoo_scripts/runtimes.py WORK [--only RUNTIME,…] [--models MODEL,…] [--readme]

Each runtime is installed into an environment of its own under the folder WORK, at the version that
stands below, and each file runs in a process of its own: some runtimes end the process when they
fail.  A cell is max|Δ| / max|R| of the relevance against ONNX Runtime's float32, or the operator
that the runtime names when it refuses the file.  Column `unoptimized` says how far ONNX Runtime is
from itself with its optimization off: a difference is silent wrongness beyond 1e-3, or 5 times
that, whichever is more.

Exit status 1 if a runtime refuses a file whose original it runs, or is silently wrong where the
original is right, unless KNOWN says why nothing helps.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from obtain import Unavailable
from rich.console import Console
from runtime_cases import CASES, Made, difference, make, read_arrays
from runtime_table import holds, known, loads, shown, write_readme

from lrp_onnx.graph.subgraphs import proto_nodes

__all__ = ["main"]

HERE = Path(__file__).parent
SECONDS = 300
"""That one file may take in one runtime."""


@dataclass(frozen=True)
class Runtime:
    """One runtime at one version."""

    name: str
    engine: str
    """What runtime_python.py or runtime_node.mjs calls it."""
    packages: tuple[str, ...] = ()
    """Pinned, for pip; none for those of npm, which share NODE_PACKAGES."""


NUMPY, OLD_NUMPY = "numpy==2.3.5", "numpy==1.26.4"
NODE_PACKAGES = ("onnxruntime-node@1.30.0", "onnxruntime-web@1.30.0", "puppeteer-core@25.16.0")
RUNTIMES = (
    Runtime("onnxruntime 1.32.0", "onnxruntime", ("onnxruntime==1.32.0", NUMPY)),
    Runtime("onnxruntime-gpu 1.31.1", "onnxruntime", ("onnxruntime-gpu==1.31.1", NUMPY)),
    Runtime("onnxruntime 1.24.1", "onnxruntime", ("onnxruntime==1.24.1", NUMPY)),
    Runtime("onnxruntime 1.18.1", "onnxruntime", ("onnxruntime==1.18.1", OLD_NUMPY)),
    Runtime("onnxruntime 1.16.3", "onnxruntime", ("onnxruntime==1.16.3", OLD_NUMPY)),
    Runtime("node", "node"),
    Runtime("web wasm", "wasm"),
    Runtime("web WebGPU", "webgpu"),
    Runtime("OpenVINO 2026.4.1", "openvino", ("openvino==2026.4.1", NUMPY)),
    Runtime("OpenCV 5.0.0", "opencv", ("opencv-python-headless==5.0.0.93", NUMPY)),
    Runtime("tract 0.23.9", "tract", ("tract==0.23.9", NUMPY)),
    Runtime("onnx.reference", "reference", ("onnx==1.23.2", NUMPY)),
)


class NotHere(Exception):
    """A runtime cannot be installed on this machine; the message says why."""


def command(runtime: Runtime, work: Path) -> list[str]:
    """What starts a runner, the runtime installed if it is not yet. Raises NotHere."""
    if runtime.packages:
        home = work / "environments" / re.sub(r"\W+", "-", runtime.name)
        if not (home / "ready").exists():
            _run([sys.executable, "-m", "venv", "--clear", str(home)])
            pip = [str(home / "bin" / "python"), "-m", "pip", "install", "-q"]
            _run([*pip, *runtime.packages])
            (home / "ready").touch()
        return [str(home / "bin" / "python"), str(HERE / "runtime_python.py"), runtime.engine]
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise NotHere("node and npm are not installed")
    if runtime.engine != "node" and shutil.which("chromium") is None:
        raise NotHere("chromium is not installed (apt-get install chromium)")
    home = work / "node"
    if not (home / "ready").exists():
        home.mkdir(parents=True, exist_ok=True)
        (home / "package.json").write_text("{}")
        _run(["npm", "install", "--silent", *NODE_PACKAGES], cwd=home)
        (home / "ready").touch()
    return ["node", str(HERE / "runtime_node.mjs"), runtime.engine]


def _run(line: list[str], cwd: Path | None = None) -> None:
    environment = os.environ | {"ONNXRUNTIME_NODE_INSTALL": "skip"}  # no download of CUDA's part
    done = subprocess.run(line, cwd=cwd, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise NotHere(f"{' '.join(line)}: {(done.stderr or done.stdout).strip()[-300:]}")


@dataclass(frozen=True)
class Ran:
    """What came of one file in one runtime."""

    seconds_open: float = 0.0
    refused: str = ""
    """The operator to blame, or the reason; empty if it ran."""
    out: Path | None = None


def run_file(line: list[str], path: Path, names: Iterable[str], made: Made, work: Path) -> Ran:
    """Run one file, whose outputs are `names`, in a process of its own."""
    out = work / "out"
    shutil.rmtree(out, ignore_errors=True)
    whole = [*line, str(path), str(made.folder / "feeds"), str(out), json.dumps([*names])]
    environment = os.environ | {
        "CHROMIUM": shutil.which("chromium") or "",
        "RUST_BACKTRACE": "0",
    }
    try:
        done = subprocess.run(
            whole,
            cwd=work / "node" if line[0] == "node" else work,
            env=environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        return Ran(refused=f"over {SECONDS} s")
    if done.returncode:
        return Ran(refused=blamed(done.stderr, path) or f"exit status {done.returncode}")
    return Ran(json.loads(done.stdout.splitlines()[-1])["open"], out=out)


def blamed(said: str, path: Path) -> str:
    """The operator of the file that a message names, itself or by a node's name, else the end of
    the message.
    """
    every = [*proto_nodes(onnx.load(path, load_external_data=False).graph)]
    kinds, named = {node.op_type for node in every}, {node.name: node.op_type for node in every}
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    at = [k for k, line in enumerate(lines) if re.search("[Ee]rror|[Ee]xception|[Ff]ail", line)]
    reason = " ".join(lines[at[-1] :] if at else lines[-1:])
    if told := re.search(r"Unsupported operations:\s*(\w+)", said):  # by OpenCV's newer parser
        return told[1]
    for word in re.findall(r"""['"]([^'"]+)['"]|([A-Za-z0-9]+)""", reason):
        name = "".join(word)
        if name in kinds or name in named:
            return name if name in kinds else named[name]
    return "IR version" if "IR version" in reason else reason[-60:].partition(" ")[2]


def judged(runtime: Runtime, made: Made, line: list[str], work: Path, originals: Any) -> Any:
    """One cell: a record that can be written as JSON."""
    known = originals.get((runtime.name, made.case.model))
    if known is None:
        ran = run_file(line, made.folder / "original.onnx", made.outputs, made, work)
        known = {"refused": ran.refused, "open": ran.seconds_open}
        if ran.out is not None:
            known["off"] = difference(made.wanted, read_arrays(ran.out), made.outputs)
        originals[runtime.name, made.case.model] = known
    ran = run_file(line, made.path, made.wanted, made, work)
    cell = {"original": known, "refused": ran.refused, "open": ran.seconds_open}
    if ran.out is not None:
        found = read_arrays(ran.out)
        relevance = [name for name in made.wanted if name.endswith("_relevance")]
        cell["off"] = difference(made.wanted, found, relevance)
        cell["prediction"] = difference(made.wanted, found, made.outputs)
    return cell


def chosen(given: str | None, names: list[str], parser: argparse.ArgumentParser) -> list[str]:
    """The names that were given, or all; part of a name is enough, a whole one is that alone."""
    if given is None:
        return names
    wanted = given.split(",")
    if unknown := [w for w in wanted if not any(w in name for name in names)]:
        parser.error(f"no such name: {', '.join(unknown)}. There are: {', '.join(names)}")
    return [name for name in names if any(w == name if w in names else w in name for w in wanted)]


def main() -> int:
    """Run what is named, or all; print a line for each and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("work", type=Path, metavar="WORK", help="where everything is installed")
    parser.add_argument("--only", help="these runtimes, by parts of their names")
    parser.add_argument("--models", help="these models, by parts of their names")
    parser.add_argument("--composites", help="these composites or methods, by parts of their names")
    parser.add_argument("--readme", action="store_true", help="write the table into the README")
    options = parser.parse_args()
    only = chosen(options.only, [r.name for r in RUNTIMES], parser)
    models = chosen(options.models, list(dict.fromkeys(c.model for c in CASES)), parser)
    hows = chosen(options.composites, list(dict.fromkeys(c.how for c in CASES)), parser)
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    kept = work / "results.json"  # of earlier calls: the table is of all
    results = json.loads(kept.read_text()) if kept.exists() else {}
    console, failed, originals = Console(width=200), 0, dict[tuple[str, str], Any]()
    lines = {}
    for runtime in RUNTIMES:
        if runtime.name not in only:
            continue
        try:
            with console.status(f"installing {runtime.name}"):
                lines[runtime] = command(runtime, work)
        except NotHere as error:
            console.print(f"{runtime.name}: skipped: {error}", markup=False)
    for case in CASES:
        if case.model not in models or case.how not in hows:
            continue
        try:
            made = make(case, work / "cases")
        except Unavailable as error:
            console.print(f"{case.model}: skipped: {error}", markup=False)
            continue
        relevance = [name for name in made.wanted if name.endswith("_relevance")]
        off = difference(made.wanted, made.unoptimized, relevance)
        row = results.setdefault(f"{case.model} {case.how}", {"cells": {}})
        row |= {"model": case.model, "how": case.how, "unoptimized": off}
        for runtime, line in lines.items():
            begun = time.perf_counter()
            cell = judged(runtime, made, line, work, originals)
            row["cells"][runtime.name] = cell
            right = holds(cell, off) or known(runtime.name, case.model, case.how) is not None
            failed += not right
            console.print(
                f"{case.model:28} {case.how:22} {runtime.name:22} "
                f"{shown(cell, off)}  [unoptimized {off:.0e}, opened in {cell['open']:.2f} s, "
                f"original {cell['original']['open']:.2f} s, {time.perf_counter() - begun:.0f} s]",
                markup=False,
                highlight=False,
            )
            kept.write_text(json.dumps(results, indent=1))
    for told in loads(results):
        console.print(told, markup=False)
    console.print(f"{failed} cells do not hold")
    if options.readme:
        write_readme(results, [runtime.name for runtime in RUNTIMES])
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
