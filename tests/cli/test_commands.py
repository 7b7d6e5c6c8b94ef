"""The command `lisa`: what a person types, sees and gets as exit code."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from importlib.metadata import version

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from lisa.cli.exits import exit_with_sentence
from lisa.cli.main import main
from lisa.cli.serve import Serve
from lisa.serve import Limits

CARRY = "What could carry people over the water? Please output segmentation mask."
WHAT = "What is in this picture?"
COMMANDS = ["ask", "chat", "annotate", "serve", "convert", "info", "doctor"]


@pytest.fixture(autouse=True)
def _one_model(kept_lisa, monkeypatch):
    """Every command loads the same model; that it is loaded at all is seen in the test of the wheel."""
    monkeypatch.setattr("lisa.cli.flags.ModelFlags.load", lambda flags: kept_lisa)


def test_help_lists_every_command_and_loads_nothing_heavy():
    code = (
        "import sys\nfrom lisa.cli.main import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n"
        "    print('heavy:', {'torch', 'numpy', 'cv2', 'transformers', 'fastapi'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "heavy: set()" in done.stdout
    assert all(command in done.stdout for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_each_command_has_examples(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert text.count(f"lisa {command}") >= 2  # the usage, and an example


def test_one_question_prints_words_and_masks_and_writes_them(example, tmp_path, capsys):
    assert main(["ask", str(example), CARRY, "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("Sure, the purple boat at the bottom [SEG].\n")
    assert "expected IoU 0." in printed
    names = ["example.json", "example_mask_0.png", "example_overlay.png"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    assert main(["ask", str(example), WHAT, "--out", "None"]) == 0
    assert "points at nothing" in capsys.readouterr().out


def test_json_of_a_question_is_one_line_with_exact_masks(kept_lisa, example, tmp_path, capsys):
    assert main(["ask", str(example), CARRY, "--out", str(tmp_path), "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    record = json.loads(line)
    answer = kept_lisa.ask(example, CARRY)
    assert record["text"] == answer.text
    assert record["image"] == {"file_name": "example.jpg", "height": 193, "width": 248}
    np.testing.assert_array_equal(coco_mask.decode(record["masks"][0]["rle"]).astype(bool), answer.masks[0])
    assert record["files"][1].endswith("example_mask_0.png")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["ask", "gone.jpg", "Where?"], "gone.jpg: no such picture"),
        (["ask", "PICTURE", " "], "the question is empty"),
        (["ask", "http://127.0.0.1:1/x.png", "Where?"], "allow_url=True"),
        (["chat", "--prompt", "Where?"], "give one with --image"),
        (["info", "no such model"], "no model folder at no such model"),
        (["convert", "nowhere", "out"], "nothing at nowhere"),
        (["annotate", "gone", "--prompts", "PROMPTS", "--out", "x"], "gone: there is no such folder"),
        (["annotate", "FOLDER", "--prompts", "gone.txt", "--out", "x"], "--prompts gone.txt: there is no such file"),
        (["annotate", "FOLDER", "--prompts", "PROMPTS", "--out", "PICTURE"], "is a file; name a folder"),
        (["annotate", "FOLDER", "--prompts", "PROMPTS", "--out", "FOLDER"], "holds files of something else"),
        (["annotate", "FOLDER", "--prompts", "PROMPTS", "--out", "x", "--batch-size", "0"], "--batch-size 0"),
    ],
)
def test_what_the_user_can_mend_is_one_line_and_exit_code_2(arguments, sentence, tmp_path, capsys):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "prompts.txt").write_text(WHAT)
    places = {"PICTURE": tmp_path / "a.png", "FOLDER": tmp_path, "PROMPTS": tmp_path / "prompts.txt"}
    with pytest.raises(SystemExit) as stop:
        exit_with_sentence(lambda: main([str(places.get(word, word)) for word in arguments]))
    assert stop.value.code == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ")
    assert sentence in printed


def test_a_talk_in_the_terminal_goes_on_until_it_is_left(example, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{CARRY}\n/reset\n{WHAT}\n \n/quit\nnever asked\n"))
    assert main(["chat", "--image", str(example), "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "Sure, the purple boat at the bottom [SEG]." in printed
    assert "The picture shows" in printed
    assert "never asked" not in printed
    assert (tmp_path / "example_0_overlay.png").is_file()


def test_info_counts_the_parameters_of_the_model(kept_lisa, capsys):
    assert main(["info", "tiny", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    model = kept_lisa.predictor.model
    assert record["total"] == sum(weight.numel() for weight in model.parameters())
    encoder = sum(weight.numel() for weight in model.sam.image_encoder.parameters())
    assert record["parameters"]["sam_image_encoder"] == encoder
    assert record["bytes"]["fp32"] == 4 * record["total"]
    assert record["bytes"]["4bit"] < record["bytes"]["8bit"] < record["bytes"]["bf16"]
    assert main(["info"]) == 0
    assert f"{record['total']:,}" in capsys.readouterr().out


def test_info_reads_a_released_lisa(lisa_a, capsys):
    assert main(["info", str(lisa_a / "tiny_lisa_A"), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["settings"]["format"] == "released LISA"
    assert record["total"] > sum(record["parameters"].values()) * 0.9


def test_doctor_tells_versions_devices_and_what_is_missing(capsys, monkeypatch):
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["packages"]["core"]["torch"] == {
        "installed": version("torch"),
        "wanted": found["packages"]["core"]["torch"]["wanted"],
        "fits": True,
    }
    assert {"train", "demo", "quant"} <= set(found["packages"])
    assert found["devices"][-1]["name"] == "cpu"
    assert found["models"] == ["tiny"]
    assert found["missing"] == []
    monkeypatch.setattr("lisa.environment._installed", lambda name: None if name == "segment-anything" else "999")
    assert main(["doctor"]) == 1
    assert "missing: segment-anything" in capsys.readouterr().out


def test_serve_says_what_to_install_where_fastapi_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "fastapi", None)
    with pytest.raises(ImportError, match=r"the server needs fastapi .*pip install 'lisa-segmentation\[demo\]'"):
        main(["serve"])


def test_serve_hands_its_flags_to_the_page(monkeypatch):
    calls = []
    monkeypatch.setattr("lisa.serve.server.serve", calls.append)
    assert main(["serve", "--port", "8123", "--device", "cpu", "--limits.sessions", "2"]) == 0
    assert calls == [Serve(port=8123, device="cpu", limits=Limits(sessions=2))]
