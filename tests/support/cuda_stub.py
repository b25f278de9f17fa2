"""ONNX Runtime's CUDA provider on a machine without CUDA: which node it would take.

The provider's library loads once the libraries that it names exist.  Here they are empty ones with
those names, beside one with every function that it looks for: each returns 0 (success).  So the
wheel's own kernel registry and its own partitioning decide; then the session fails for want of
memory, and nothing is computed.  All this in a process of its own.
"""

from __future__ import annotations

import json
import re
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import onnx
import onnxruntime as ort

CUDA = "CUDAExecutionProvider"
LIBRARY = Path(ort.__file__).parent / "capi" / "libonnxruntime_providers_cuda.so"

PAGE = 0x1000
CODE = 0x200
SUCCESS = bytes.fromhex("31c0c3")  # xor eax, eax; ret
OPENED = ("libcudnn.so.9", "libcufft.so.12")
"""Libraries that are opened by name at run time; so are their functions."""

SCRIPT = """
import ctypes, json, os, pathlib, sys
folder = pathlib.Path(sys.argv[1])
for library in json.loads((folder / "libraries.json").read_text()):
    ctypes.CDLL(str(folder / library), ctypes.RTLD_GLOBAL)
import onnxruntime as ort
from onnxruntime.capi import _pybind_state as binding
options = ort.SessionOptions()
options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
options.intra_op_num_threads = 1
options.log_severity_level = 4
ort.set_default_logger_severity(4)
options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
for path in sorted(folder.glob("*.onnx")):
    session = binding.InferenceSession(options, str(path), True, True)
    try:
        session.initialize_session(providers, [{}, {}], set())
    except Exception as e:  # behind the placement, which is asked for below
        why = str(e)
    placed = [(p.ep_name, n.op_type, n.name)
              for p in session.get_provider_graph_assignment_info() for n in p.get_nodes()]
    assert placed, why
    path.with_suffix(".json").write_text(json.dumps(placed))
os._exit(0)  # nothing behind these libraries can be taken down
"""


@dataclass(frozen=True)
class Placed:
    """A node as the runtime sees it, and the provider that takes it."""

    provider: str
    op: str
    node: str


def placements(models: Mapping[str, onnx.ModelProto], folder: Path) -> dict[str, list[Placed]]:
    """Where each node of each model goes, before any optimization.  Uses up the empty `folder`."""
    libraries = list(_write_libraries(folder))
    (folder / "libraries.json").write_text(json.dumps(libraries))
    files = {name: folder / f"{k:04}.onnx" for k, name in enumerate(models)}
    for name, path in files.items():
        onnx.save(models[name], path)
    run = [sys.executable, "-c", SCRIPT, folder]
    done = subprocess.run(run, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.returncode}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
    return {name: [Placed(*p) for p in json.loads(path.with_suffix(".json").read_text())]
            for name, path in files.items()}  # fmt: skip


def _write_libraries(folder: Path) -> Iterator[str]:
    """File names, in the order to load them."""
    for name, content in _libraries().items():
        (folder / name).write_bytes(content)
        yield name


@cache
def _libraries() -> dict[str, bytes]:
    """Those libraries by name; the first has the functions, for versioned names are not sought in a
    file of the name that they ask for unless it has versions too.
    """
    assert LIBRARY.exists(), f"no {LIBRARY.name}: install onnxruntime-gpu in place of onnxruntime"
    library = LIBRARY.read_bytes()
    needed, undefined = _linked(library)
    sought = [n for n in undefined if re.match(r"(__)?cu", n)]
    later = {n.decode() for n in re.findall(rb"\0(cu(?:dnn|fft)[A-Z]\w*)(?=\0)", library)}
    functions = {
        "functions.so": sought,
        **{name: [] for name in needed if name.startswith("libcu")},
        **dict.fromkeys(OPENED, sorted(later)),
    }
    return {name: shared_object(name, names) for name, names in functions.items()}


def _linked(library: bytes) -> tuple[list[str], list[str]]:
    """Names of the libraries that an ELF file needs, and of the symbols that it does not define."""
    (start,) = struct.unpack_from("<Q", library, 40)
    size, count = struct.unpack_from("<HH", library, 58)
    sections = [struct.unpack_from("<IIQQQQI", library, start + k * size) for k in range(count)]

    def rows(kind: int, form: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        (section,) = [s for s in sections if s[1] == kind]
        strings = sections[section[6]][4]
        for row in struct.iter_unpack(form, library[section[4] :][: section[5]]):
            at = strings + (row[1] if kind == DYNAMIC else row[0])
            yield library[at : library.find(b"\0", at)].decode(errors="replace"), row

    DYNAMIC, SYMBOLS = 6, 11
    needed = [name for name, (tag, _) in rows(DYNAMIC, "<qQ") if tag == 1]
    undefined = [name for name, row in rows(SYMBOLS, "<IBBHQQ") if name and row[3] == 0]
    return needed, undefined


def shared_object(name: str, functions: Sequence[str]) -> bytes:
    """An x86-64 ELF library of that name, whose functions return 0."""
    strings = b"\0" + b"\0".join(n.encode() for n in (name, *functions)) + b"\0"
    symbols, at = bytes(24), 1 + len(name) + 1
    for function in functions:
        symbols += struct.pack("<IBBHQQ", at, 0x12, 0, 1, CODE, len(SUCCESS))  # global function
        at += len(function) + 1
    count = len(functions) + 1
    chain = [k + 1 if 0 < k < count - 1 else 0 for k in range(count)]
    table = struct.pack(f"<{4 + count - 1}I", 1, count, min(1, count - 1), *chain)
    hashes = PAGE + len(symbols)
    text = hashes + len(table)
    dynamic = -(-(text + len(strings)) // 8) * 8
    tags = [(14, 1), (4, hashes), (5, text), (6, PAGE), (10, len(strings)), (11, 24), (0, 0)]
    entries = b"".join(struct.pack("<QQ", *t) for t in tags)
    data = (symbols + table + strings).ljust(dynamic - PAGE, b"\0") + entries
    segments = [
        (1, 5, 0, 0, 0, PAGE, PAGE, PAGE),
        (1, 6, PAGE, PAGE, PAGE, len(data), len(data), PAGE),
        (2, 6, dynamic, dynamic, dynamic, len(entries), len(entries), 8),
        (0x6474E551, 6, 0, 0, 0, 0, 0, 16),  # no executable stack
    ]
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    head = ident + struct.pack(
        "<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, len(segments), 64, 0, 0
    )
    head += b"".join(struct.pack("<IIQQQQQQ", *s) for s in segments)
    return (head.ljust(CODE, b"\0") + SUCCESS).ljust(PAGE, b"\0") + data
