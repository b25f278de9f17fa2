"""The graphs shown in lrp_onnx/README.md are those that the compiler writes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from graph_text import LEVELS, graphs_of
from models import network

ROOT = Path(__file__).parents[2]
README = ROOT / "lrp_onnx" / "README.md"
NETWORK = network(
    "z = Conv<pads=[1,1,1,1]>(x, w, b) a = Relu(z) f = Flatten(a) y = Gemm<transB=1>(f, v)",
    (1, 2, 4, 4), w=(3, 2, 3, 3), b=(3,), v=(2, 48),
)  # fmt: skip


def emitted(level: str) -> str:
    """The nodes behind the start of relevance; attributes of Conv's transpose left out."""
    lines = graphs_of(NETWORK, "zplus", fold="never")[level].splitlines(keepends=True)
    text = "".join(line for line in lines if "# lrp/" in line and "lrp/target" not in line)
    return re.sub(r"ConvTranspose<[^>]*>", "ConvTranspose<…>", text).strip()


@pytest.mark.parametrize("level", LEVELS)
def test_the_text_shows_what_is_emitted(level, request):
    text = README.read_text(encoding="utf-8")
    pattern = rf"(<!-- {level}: [^>]*-->\n)(.*?)(<!-- end -->)"
    shown = re.search(pattern, text, re.S)
    assert shown is not None
    wanted = f"```\n{emitted(level)}\n```\n"
    if request.config.getoption("--update-golden"):
        README.write_text(text.replace(shown[0], shown[1] + wanted + shown[3]), encoding="utf-8")
        return
    assert shown[2] == wanted, f"--update-golden replaces the block by:\n{wanted}"


def test_every_name_in_the_text_is_a_file_or_folder():
    text = README.read_text(encoding="utf-8")
    paths = re.findall(r"`((?:[a-z_]+/)+(?:[a-z_]+\.(?:py|toml))?)`", text)
    assert len(paths) > 20
    missing = [p for p in paths if not ((ROOT / "lrp_onnx" / p).exists() or (ROOT / p).exists())]
    nested = [p for p in missing if not any((ROOT / "lrp_onnx").rglob(p.rstrip("/")))]
    assert not nested
