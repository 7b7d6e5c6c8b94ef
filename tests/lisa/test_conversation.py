import json
from pathlib import Path

import pytest

from lisa.conversation import TEMPLATES, Conversation, Turn, write

GOLDEN = Path(__file__).parents[1] / "goldens" / "lisa_A" / "tokenization.json"
HUMAN = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions. "
)
LLAMA_2 = (
    "[INST] <<SYS>>\nYou are a helpful language and vision assistant. You are able to understand the visual content "
    "that the user provides, and assist the user with a variety of tasks using natural language.\n<</SYS>>\n\n"
)


def talk(*texts: str) -> Conversation:
    return Conversation(tuple(Turn("user" if k % 2 == 0 else "assistant", text) for k, text in enumerate(texts)))


def written(template: str, *texts: str) -> str:
    return "".join(span.text for span in write(talk(*texts), TEMPLATES[template]))


def learned(template: str, *texts: str) -> list[str]:
    return [span.text for span in write(talk(*texts), TEMPLATES[template]) if span.learned]


def test_llava_v1_writes_an_answered_question():
    assert written("llava_v1", "<image>\nWhere is it?", "It is [SEG].") == (
        HUMAN + "USER: <image>\nWhere is it? ASSISTANT: It is [SEG].</s>"
    )


def test_llava_v1_writes_several_turns_without_a_blank_between_rounds():
    assert written("llava_v1", "<image>\nA?", "B.", "C?", "D.") == (
        HUMAN + "USER: <image>\nA? ASSISTANT: B.</s>USER: C? ASSISTANT: D.</s>"
    )


def test_llava_v1_cue_for_generation_ends_with_the_colon():
    assert written("llava_v1", "<image>\nA?") == HUMAN + "USER: <image>\nA? ASSISTANT:"
    assert written("llava_v1", "<image>\nA?", "B.", "C?") == (
        HUMAN + "USER: <image>\nA? ASSISTANT: B.</s>USER: C? ASSISTANT:"
    )


def test_llava_llama_2_writes_the_system_text_into_the_first_question():
    assert written("llava_llama_2", "<image>\nA?", "B.") == LLAMA_2 + "<image>\nA? [/INST] B. </s>"


def test_llava_llama_2_writes_a_literal_s_before_later_rounds_only():
    assert written("llava_llama_2", "<image>\nA?", "B.", "C?", "D.") == (
        LLAMA_2 + "<image>\nA? [/INST] B. </s><s>[INST] C? [/INST] D. </s>"
    )


def test_llava_llama_2_cue_for_generation_ends_the_instruction():
    assert written("llava_llama_2", "<image>\nA?") == LLAMA_2 + "<image>\nA? [/INST]"


def test_plain_has_no_system_text():
    assert written("plain", "<image>\nA?", "B.") == "USER: <image>\nA? ASSISTANT: B.</s>"


@pytest.mark.parametrize("template", ["llava_v1", "llava_llama_2"])
def test_conversations_are_written_as_the_reference_writes_them(template):
    cases = json.loads(GOLDEN.read_text())[template]
    assert len(cases) == 13
    for case in cases:
        texts = [text for round_ in case["turns"] for text in round_]
        assert written(template, *texts) == case["conversation"], case["name"]


@pytest.mark.parametrize("template", ["llava_v1", "llava_llama_2", "plain"])
def test_only_answers_and_their_end_are_learned(template):
    first, second = learned(template, "<image>\nA?", "B.", "C?", "D.")
    end = " </s>" if template == "llava_llama_2" else "</s>"
    assert (first.lstrip(), second.lstrip()) == ("B." + end, "D." + end)
    assert learned(template, "<image>\nA?") == []


@pytest.mark.parametrize("template", list(TEMPLATES))
def test_what_is_not_learned_before_an_answer_is_what_generation_is_given(template):
    spans = write(talk("<image>\nA?", "B."), TEMPLATES[template])
    given = "".join(span.text for span in spans if not span.learned)
    assert given == written(template, "<image>\nA?")


def test_num_seg_counts_the_assistants_tokens_only():
    assert talk("<image>\n[SEG]?", "[SEG] and [SEG].", "And?", "No.", "So?", "[SEG]").num_seg == 3
    assert Conversation.of("<image>\nA?").num_seg == 0


def test_of_makes_one_round_with_or_without_its_answer():
    assert Conversation.of("q", "a") == talk("q", "a")
    assert Conversation.of("q") == talk("q")
    assert Conversation.of("q", "").turns[1] == Turn("assistant", "")


@pytest.mark.parametrize("roles", [[], ["assistant"], ["user", "user"], ["user", "assistant", "assistant"]])
def test_turns_that_do_not_alternate_from_the_user_on_are_refused(roles):
    with pytest.raises(ValueError, match="starts with the user and alternates"):
        Conversation(tuple(Turn(role, "x") for role in roles))
