"""Run an exported student under node and in a headless Chromium, and play a sound of a map. `make browser` calls it.

    python experiments/browser/run.py [--out .browser] [--chromium PATH]

It needs node, npm and playwright. npm installs onnxruntime-web into OUT. The student has random weights: the numbers
show that the browser computes what Python computes. It leaves OUT/student.png and OUT/map.png to look at.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

import distill
from distill.data.audio.sinc import resample_samples
from distill.runtimes.formats import write_student
from distill.students.heads import Classifier, Head

HERE = Path(__file__).parent
SECONDS, MAX_DIFFERENCE, MIN_COSINE = 2.0, 1e-4, 0.99
RUNTIME = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm", "ort-wasm-simd-threaded.mjs")


def main(out: Path, chromium: str) -> None:
    """Run all checks, and print a line for each."""
    out.mkdir(parents=True, exist_ok=True)
    student, runtime = make_student(out), install_runtime(out)
    check_node(out, student, runtime)
    shutil.copy(HERE / "student.html", student.path.parent / "index.html")
    for name in RUNTIME:
        shutil.copy(runtime / name, student.path.parent / name)
    with browser(chromium) as chrome, served(student.path.parent) as address:
        check_page(out, student, chrome.new_page(), address)
        check_map(out, chrome.new_page())


def make_student(out: Path) -> distill.ExportedStudent:
    """Write sounds and the file of a classifier with random weights, and open it."""
    time = np.arange(round(5.3 * 44_100)) / 44_100
    for number in range(12):
        folder = out / "sounds" / f"class{number % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        tone = np.sin(2 * np.pi * (200 + 170 * number) * time) * (0.2 + 0.1 * np.sin(3 * time))
        noise = np.random.default_rng(number).standard_normal((2, len(time))) * 0.02
        soundfile.write(folder / f"{number:02}.wav", (tone + noise).T, 44_100)
    torch.manual_seed(0)
    student = distill.create_student("cnn", width=0.3).eval()
    student.labels, head = ("bird", "rain", "car", "voice"), Head(student.clip_dim, 4)
    student.classifier = Classifier("one of", head, temperature=0.5)
    print(write_student(student, out / "page" / "student.onnx"))
    return distill.ExportedStudent(out / "page" / "student.onnx")


def install_runtime(out: Path) -> Path:
    """Install onnxruntime-web with npm, and return the folder of its files."""
    folder = out / "npm"
    folder.mkdir(exist_ok=True)
    if not (folder / "node_modules").is_dir():
        npm = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), "onnxruntime-web"]
        subprocess.run(npm, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    package = folder / "node_modules" / "onnxruntime-web"
    print(f"onnxruntime-web {json.loads((package / 'package.json').read_text())['version']}")
    return package / "dist"


def check_node(out: Path, student: distill.ExportedStudent, runtime: Path) -> None:
    """Compare the functions of the page under node with ONNX Runtime in Python."""
    samples = (np.random.default_rng(0).standard_normal(round(7.1 * student.sample_rate)) * 0.1).astype(np.float32)
    samples.tofile(out / "samples.f32")
    files = [HERE / "student.html", runtime / "ort.node.min.mjs", student.path, out / "samples.f32"]
    words = ["node", str(HERE / "windows.mjs"), *(str(file.resolve()) for file in files), str(SECONDS)]
    rows = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)["rows"]
    size = round(SECONDS * student.sample_rate)
    parts = [samples[start : start + size] for start in range(0, len(samples), size)]
    worst = difference(rows, [student.encode(part[None]) for part in parts])
    print(f"node: {len(rows)} windows, largest difference {worst:.1e}")
    require(worst <= MAX_DIFFERENCE, "node computes other numbers")


def check_page(out: Path, student: distill.ExportedStudent, page: Any, address: str) -> None:
    """Give two sounds to the page, of the student's rate and of another one, and compare its embeddings."""
    first = next((out / "sounds").rglob("*.wav"))
    stereo, rate = soundfile.read(first, dtype="float32")
    own = out / "own_rate.wav"
    mono = resample_samples(stereo.mean(1), rate, student.sample_rate)
    soundfile.write(own, mono, student.sample_rate, subtype="FLOAT")
    messages = messages_of(page)
    page.goto(address)
    page.wait_for_function("document.getElementById('about').textContent.includes('Hz')")
    page.fill("#seconds", str(SECONDS))
    for path in (own, first):
        page.set_input_files("#file", str(path))
        page.wait_for_function(f"document.getElementById('state').textContent.startsWith('{path.name}')")
        rows = page.evaluate("fetch(document.getElementById('download').href).then((found) => found.json())")
        expected = [window.embeddings for window in student.windows_of(path, distill.Windows(SECONDS, 0.0))]
        worst = difference(rows, expected)
        cosine = min(alike(row["clip"], found.clip[0]) for row, found in zip(rows, expected, strict=True))
        print(f"page, {path.name}: {len(rows)} windows, largest difference {worst:.1e}, least cosine {cosine:.5f}")
        require(worst <= MAX_DIFFERENCE if path == own else cosine >= MIN_COSINE, "the page computes other numbers")
    page.screenshot(path=str(out / "student.png"))
    require(page.locator("tbody tr").count() == len(rows), "the table has other rows")
    require(not messages, f"the page reports {messages}")


def check_map(out: Path, page: Any) -> None:
    """Draw a map, click a point, and wait until its sound plays."""
    data, store = str(out / "sounds"), str(out / "store")
    shutil.rmtree(store, ignore_errors=True)
    distill.embed(teacher="spectral", data=data, out=store)
    distill.report(map=store, data=data)
    messages, requests = messages_of(page), list[str]()
    page.on("request", lambda request: requests.append(request.url))
    page.goto((Path(store) / "map" / "map.html").resolve().as_uri())
    box = page.locator("circle").nth(3).bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    for _ in range(100):  # the page forbids what `wait_for_function` does
        if page.evaluate("!player.paused && player.currentTime > 0.2"):
            break
        page.wait_for_timeout(100)
    else:
        sys.exit("the map plays no sound")
    page.screenshot(path=str(out / "map.png"))
    played = page.evaluate("[player.currentTime, player.duration]")
    outside = [url for url in requests if not url.startswith(("data:", "file:"))]
    print(f"map: {page.locator('circle').count()} points, a click played {played[0]:.1f} of {played[1]:.1f} s")
    print(f"map: {page.inner_text('#clip')}; {len(outside)} requests to other machines")
    require(not outside and not messages, f"the map reports {messages}, asks {outside}")


def difference(rows: list[dict[str, Any]], expected: list[Any]) -> float:
    """Return the largest difference between embeddings of the browser and of Python."""
    return max(
        float(np.abs(np.array(row["clip"]) - found.clip[0]).max()) for row, found in zip(rows, expected, strict=True)
    )


def alike(one: Any, other: Any) -> float:
    """Return the cosine of two vectors."""
    return float(np.dot(one, other) / np.linalg.norm(one) / np.linalg.norm(other))


def messages_of(page: Any) -> list[str]:
    """Return a list that the errors and the messages of a page are added to."""
    messages = list[str]()
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    return messages


@contextmanager
def browser(chromium: str) -> Iterator[Any]:
    """Open a headless Chromium: that of playwright, or the one at a path."""
    from playwright.sync_api import sync_playwright

    options = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
    with sync_playwright() as playwright:
        chrome = playwright.chromium.launch(executable_path=chromium or None, args=options)
        yield chrome.new_context(viewport={"width": 1000, "height": 700})
        chrome.close()


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder on this machine, and yield its address."""
    handler = partial(Quiet, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()


class Quiet(SimpleHTTPRequestHandler):
    extensions_map = {**SimpleHTTPRequestHandler.extensions_map, ".mjs": "text/javascript"}  # noqa: RUF012

    def log_message(self, format: str, *args: Any) -> None:
        pass


def require(is_true: bool, message: str) -> None:
    if not is_true:
        sys.exit(message)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(".browser"))
    parser.add_argument("--chromium", default="", help="program to run instead of playwright's own")
    given = parser.parse_args()
    main(given.out, given.chromium)
