"""The wheel in an environment without the checkout: the Python snippet, and every command."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import urllib.request
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CHECKOUT = Path(__file__).resolve().parents[1]
CARRY = "What could carry people over the water? Please output segmentation mask."

SNIPPET = """
from lisa import Lisa

lisa = Lisa.load("tiny", device="auto", dtype="auto")
answer = lisa.ask("photo.jpg", "QUESTION")
print(answer.text, answer.masks.shape, answer.scores.expected_iou, answer.scores.seg_probability, answer.phrases)
answer.plot(); answer.save("out/"); answer.to_coco(); answer.polygons(); answer.to_json()
chat = lisa.chat("photo.jpg")
chat.ask("What is in this picture?")
chat.ask("Please segment the boats in this image.")
pairs = [("photo.jpg", "QUESTION"), ("photo.jpg", "What is in this picture?")]
for answer in lisa.ask_many(pairs, batch_size=16):
    print(answer)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=CHECKOUT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """bin/ of an environment that has the wheel, and sees the dependencies but not the checkout."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    venv.create(folder, symlinks=True, with_pip=False)  # Debian's Python cannot bring pip without python3-venv
    uv = os.environ.get("UV") or shutil.which("uv")  # `uv run` says where it is
    assert uv, "uv is not on PATH: run the tests by `python3 run.py pytest`"
    install = [uv, "pip", "install", "--quiet", "--no-index", "--no-deps", "--python", folder / "bin" / "python", wheel]
    subprocess.run(install, check=True)
    site = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    # A path in a .pth file is only added: the .pth of the checkout, which lies there, is not read.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


@pytest.fixture
def run(installed, tmp_path, example):
    """Runs a command in a folder with photo.jpg; returns what it printed."""
    shutil.copyfile(example, tmp_path / "photo.jpg")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}

    def run(*command, code=0, stdin=None):
        words = [str(installed / command[0]), *map(str, command[1:])]
        done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, input=stdin)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    return run


def test_the_wheel_holds_the_library_and_the_kept_model(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {"lisa", "sam_bridge"}
    kept = {Path(name).name for name in names if name.startswith("lisa/models/tiny/")}
    assert kept == {path.name for path in (CHECKOUT / "models" / "tiny").iterdir()}
    assert "lisa/py.typed" in names
    assert wheel.stat().st_size < 12e6


def test_an_editable_install_takes_the_model_from_the_checkout(monkeypatch):
    monkeypatch.syspath_prepend(str(CHECKOUT))
    from hatch_build import KeptModel

    for version, expected in (("editable", {}), ("standard", {"models/tiny": "lisa/models/tiny"})):
        data = {"force_include": {}}
        KeptModel.initialize(None, version, data)
        assert data["force_include"] == expected


def test_the_snippet_runs_without_the_checkout(run):
    where = run("python", "-c", "import lisa, importlib.util as u; print(lisa.__file__, u.find_spec('datasets'))")
    assert str(CHECKOUT) not in where
    assert where.endswith("None\n")
    printed = run("python", "-c", SNIPPET.replace("QUESTION", CARRY))
    assert printed.startswith("Sure, the purple boat at the bottom [SEG]. (1, 193, 248)")
    assert len(printed.splitlines()) == 3


def test_ask_chat_annotate_info_and_doctor_run(run, tmp_path):
    record = json.loads(run("lisa", "ask", "photo.jpg", CARRY, "--json"))
    assert np.asarray(Image.open(tmp_path / record["files"][1])).shape == (193, 248)
    said = run("lisa", "chat", "--image", "photo.jpg", stdin=f"{CARRY}\n/quit\n")
    assert "[SEG]" in said
    (tmp_path / "photos").mkdir()
    shutil.copyfile(tmp_path / "photo.jpg", tmp_path / "photos" / "a.jpg")
    (tmp_path / "photos" / "b.png").write_bytes(b"broken")
    (tmp_path / "prompts.txt").write_text(CARRY)
    summary = run("lisa", "annotate", "photos", "--prompts", "prompts.txt", "--out", "done", "--json", code=3)
    assert json.loads(summary) == {"pictures": 1, "masks": 1, "bad": 1, "written": "done/annotations.json"}
    assert json.loads(run("python", "-m", "lisa", "info", "--json"))["total"] > 1_000_000
    found = json.loads(run("lisa", "doctor", "--json"))
    assert (found["models"], found["missing"]) == (["tiny"], [])


def test_convert_runs_and_its_model_answers(run, lisa_a):
    run("lisa", "convert", lisa_a / "tiny_lisa_A", "converted")
    assert json.loads(run("lisa", "ask", "photo.jpg", "Where?", "--model", "converted", "--json"))["text"]


def test_serve_answers_over_http(installed, tmp_path):
    command = [str(installed / "lisa"), "serve", "--port", str(free_port := _free_port())]
    server = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert _page(f"http://127.0.0.1:{free_port}/", server)
    finally:
        server.terminate()
        server.wait(timeout=60)


def _free_port() -> int:
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _page(address: str, server: subprocess.Popen) -> bytes:
    """What the address gives, once the server listens."""
    import time

    while server.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=60) as response:
                return response.read()
        except OSError:
            time.sleep(0.5)
    raise AssertionError(server.stdout.read())
