"""The page that `lrp-onnx export web` writes, in headless Chromium, beside Python.

    python model_zoo_scripts/web_page.py MODEL.onnx PICTURE --preprocess P --runtime-files FOLDER

It needs `pip install playwright` and Chromium; a MODEL without a suffix is one of the zoo. The
picture is given to the page as a user does; the
model's input, its scores and the relevance must be Python's, relevance within 1e-4 of its largest.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import json
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
from obtain import model

from lrp_onnx import Explainer
from lrp_onnx.data.inputs import load_input
from lrp_onnx.data.preprocess import load_preprocess

WITHIN = 1e-4
WEBGPU = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan")
"""Chromium's software adapter."""


class Quiet(http.server.SimpleHTTPRequestHandler):
    """What `python -m http.server` runs, without its log."""

    def log_message(self, *_: object) -> None:
        """Nothing."""


def served(folder: Path) -> http.server.ThreadingHTTPServer:
    """The folder at a free port of this machine."""
    handler = functools.partial(Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def explained(folder: Path, picture: Path, chromium: str, shot: Path | None, gpu: bool) -> Any:
    """What the page computes of the picture, for the largest class and then for another one and
    the last composite.
    """
    from playwright.sync_api import sync_playwright

    server = served(folder)
    try:
        with sync_playwright() as play:
            flags = ["--no-sandbox", *(WEBGPU if gpu else ())]
            browser = play.chromium.launch(executable_path=chromium, args=flags)
            page = browser.new_page(viewport={"width": 1000, "height": 800})
            page.on("console", lambda message: print(f"console: {message.text}"))
            page.on("pageerror", lambda error: print(f"error: {error}"))
            page.goto(f"http://127.0.0.1:{server.server_port}/{'' if gpu else '?wasm'}")
            page.wait_for_function("document.getElementById('state').textContent === 'ready'")
            page.set_input_files("#file", str(picture))
            first = result_of(page)
            print(page.inner_text("#answer"), "|", page.inner_text("#state"))
            if shot is not None:
                page.screenshot(path=str(shot))
            others = page.eval_on_selector_all("#composite option", "all => all.map(o => o.value)")
            page.evaluate("globalThis.explanation = undefined")
            if page.is_visible("#class"):
                page.select_option("#class", index=1)
            else:
                page.select_option("#composite", others[-1])
            second = result_of(page)
            if len(others) > 1 and page.is_visible("#class"):
                page.evaluate("globalThis.explanation = undefined")
                page.select_option("#composite", others[-1])
                second = {**result_of(page), "file": others[-1]}
            browser.close()
    finally:
        server.shutdown()
    return [{"file": others[0], **first}, {"file": others[0], **second}]


def result_of(page: Any) -> Any:
    """What the page has computed, when it has."""
    done = "globalThis.explanation !== undefined || document.getElementById('state').className"
    page.wait_for_function(done, timeout=600_000)
    wrong = page.eval_on_selector("#state", "state => state.className && state.textContent")
    assert not wrong, wrong
    return page.evaluate("globalThis.explanation")


def check(folder: Path, picture: Path, preprocess: str, results: Any) -> None:
    """Each result beside Python's."""
    settings = json.loads((folder / "settings.json").read_text())
    for result in results:
        explainer = Explainer(folder / result["file"])
        want = next(w for w in explainer.inputs if w.name == settings["input"])
        x = load_input(picture, want.shape, want.dtype, load_preprocess(preprocess))
        target = result["explained"] if settings["target"] else None
        expected = explainer(x, target=target)
        relevance = expected.relevance[settings["input"]].reshape(-1)
        scores = expected.outputs[settings["output"]].reshape(-1)
        apart = {
            "input": np.abs(np.array(result["input"]) - x.reshape(-1)).max(),
            "scores": np.abs(np.array(result["scores"]) - scores).max() / np.abs(scores).max(),
            "relevance": np.abs(np.array(result["relevance"]) - relevance).max()
            / np.abs(relevance).max(),
        }
        told = ", ".join(f"{name} {value:.1e}" for name, value in apart.items())
        print(f"{result['file']}, class {target}, on {result['on']}: differs by {told}")
        assert max(apart.values()) < WITHIN, told


def main() -> None:
    """Export, look, compare."""
    parser = argparse.ArgumentParser(description=__doc__, prog="web_page.py")
    parser.add_argument("model", type=Path, help="a file, or a name of zoo.toml")
    parser.add_argument("picture", type=Path)
    parser.add_argument("--preprocess", required=True)
    parser.add_argument("--runtime-files", type=Path, required=True)
    parser.add_argument("--screenshot", type=Path)
    parser.add_argument("--webgpu", action="store_true", help="with Chromium's software adapter")
    parser.add_argument("--composite", action="append", default=[])
    parser.add_argument("--folder", type=Path, help="a folder that is exported already")
    arguments = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        print("skipped: there is no Chromium. Run: apt-get install chromium")
        return
    if not arguments.model.suffix:
        arguments.model = model(arguments.model.name)
    with tempfile.TemporaryDirectory(prefix="lrp-onnx-web-") as temporary:
        folder = arguments.folder or Path(temporary)
        if arguments.folder is None:
            words = ["export", "web", str(arguments.model), "-o", str(folder)]
            words += ["--preprocess", arguments.preprocess]
            words += ["--runtime-files", str(arguments.runtime_files)]
            words += [word for name in arguments.composite for word in ("--composite", name)]
            subprocess.run([sys.executable, "-m", "lrp_onnx", *words], check=True)
        results = explained(
            folder, arguments.picture, chromium, arguments.screenshot, arguments.webgpu
        )
        check(folder, arguments.picture, arguments.preprocess, results)


if __name__ == "__main__":
    main()
