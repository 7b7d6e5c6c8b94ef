"""The chat demo as a user meets it: answers, masks on disk, and what bad input gets."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import chat
from lisa import LisaModel, LisaProcessor
from lisa.checkpoint import save
from lisa.cli.chat import Chat, ChatArgs
from lisa.conversation import SEG
from lisa.presets import tiny_config, tiny_image_processor, train_tokenizer
from lisa.results import Answer, no_masks

WORDS = ["USER: Where is the red car? ASSISTANT: Sure, it is here. Nothing is there."]


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    """A tiny model that has learned one lesson: point at the red car."""
    from lisa.conversation import Conversation

    torch.manual_seed(0)
    tokenizer = train_tokenizer(WORDS)
    config = tiny_config(tokenizer)
    model, processor = LisaModel(config), LisaProcessor(config, tokenizer, tiny_image_processor())
    image = np.full((40, 60, 3), 200, np.uint8)
    lessons = [
        Conversation.of("<image>\nWhere is the red car?", f"Sure, it is here {SEG}."),
        Conversation.of("<image>\nWhere?", "Nothing is there."),
    ]
    batch = processor(
        [image], [lessons], masks=[np.ones((1, 40, 60), bool)], ignore=[np.zeros((40, 60), bool)], names=[[""]]
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(150):
        optimizer.zero_grad()
        loss = model(batch)["ce"]
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
    folder = tmp_path_factory.mktemp("model") / "lesson"
    save(model, processor, folder, "fp16")
    return folder


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "grey.png"
    Image.new("RGB", (60, 40), (200, 200, 200)).save(path)
    return path


def run(model_folder, tmp_path, *flags: str) -> None:
    chat.main(["--model", str(model_folder), "--device", "cpu", "--out", str(tmp_path / "out"), *flags])


def test_one_question_prints_the_answer_and_writes_its_mask_and_an_overlay(model_folder, picture, tmp_path, capsys):
    run(model_folder, tmp_path, "--image", str(picture), "--prompt", "Where is the red car?")
    printed = capsys.readouterr().out
    assert printed.startswith("Sure, it is here [SEG].")
    mask = cv2.imread(str(tmp_path / "out" / "grey_0_mask_0.png"), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (40, 60)
    assert set(np.unique(mask)) <= {0, 255}
    overlay = cv2.imread(str(tmp_path / "out" / "grey_0_overlay.png"))
    assert overlay.shape[1] >= 60


def test_a_profile_tells_where_the_time_of_an_answer_went(model_folder, picture, tmp_path, capsys):
    run(model_folder, tmp_path, "--image", str(picture), "--prompt", "Where is the red car?", "--profile")
    out = capsys.readouterr().out
    assert "Sure, it is here" in out
    assert "first token after" in out
    assert all(part in out for part in ("vision tower", "prefill", "tokens", "SAM encode", "mask decode"))


def test_an_answer_without_a_mask_says_so_and_writes_nothing(model_folder, picture, tmp_path, capsys):
    run(model_folder, tmp_path, "--image", str(picture), "--prompt", "Where?")
    assert "no mask" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_a_talk_remembers_what_was_said_until_it_is_reset(model_folder, picture, tmp_path, capsys, monkeypatch):
    asked = []
    monkeypatch.setattr(Chat, "ask", lambda self, question: asked.append((question, len(self.turns))) or self.turns)
    lines = f"/image {picture}\nWhere?\n/reset\n/help\n/image nowhere.png\n/quit\nnever asked\n"
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))
    run(model_folder, tmp_path)
    printed = capsys.readouterr().out
    assert asked == [("Where?", 0)]
    assert "nowhere.png" in printed
    assert printed.count("/quit to leave") == 2


def test_the_second_question_is_asked_with_the_first_and_its_answer(model_folder, picture, tmp_path):
    talk = Chat(ChatArgs(model=str(model_folder), device="cpu", out=tmp_path / "out", max_new_tokens=8))
    talk.look_at(str(picture))
    talk.ask("Where?")
    talk.ask("Where is the red car?")
    texts = [turn.text for turn in talk.turns]
    assert texts[:3] == ["<image>\nWhere?", "Nothing is there.", "Where is the red car?"]
    assert len(texts) == 4


@pytest.mark.parametrize(
    ("prompt", "sentence"),
    [
        ("   ", "the question is empty"),
        ("where is [SEG]?", r"holds \[SEG\], which only the software may write"),
        ("where is <image>?", "holds <image>"),
        ("a </s> b", "holds </s>"),
        ("why " * 2500, r"has \d+ tokens .* the model reads at most 768"),
    ],
)
def test_a_question_that_cannot_be_asked_is_refused_with_a_sentence(model_folder, picture, tmp_path, prompt, sentence):
    with pytest.raises(ValueError, match=sentence):
        run(model_folder, tmp_path, "--image", str(picture), "--prompt", prompt)


def test_a_bad_picture_is_told_before_the_model_loads(tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff not a picture")
    for name in ("broken.jpg", "missing.jpg"):
        with pytest.raises(ValueError, match=rf"(?s)no model folder at no such model.*{name}|{name}.*no model folder"):
            chat.main(["--model", "no such model", "--image", str(tmp_path / name), "--prompt", "Where?"])


def test_a_prompt_without_a_picture_is_refused():
    with pytest.raises(ValueError, match="give one with --image"):
        chat.main(["--prompt", "Where?"])


def test_phrases_are_the_words_that_lead_to_each_mask():
    masks, scores = np.zeros((2, 4, 4), bool), no_masks((4, 4))[1]
    answer = Answer(text="The cup [SEG] and the red ball [SEG].", masks=masks, scores=scores)
    assert answer.phrases == ["The cup", "and the red ball"]


def test_pictures_of_any_shape_get_masks_of_their_own_size(model_folder, tmp_path):
    from lisa import load
    from lisa.conversation import Conversation

    predictor = load(model_folder, device="cpu")
    for height, width in ((1, 1), (4, 200), (200, 4)):
        image = np.full((height, width, 3), 128, np.uint8)
        [[answer]] = predictor.teacher_forced([image], [[Conversation.of("<image>\nWhere?", SEG)]])
        assert answer.masks.shape == (1, height, width)
