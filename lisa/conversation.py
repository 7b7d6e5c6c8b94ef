"""What is said about a picture: turns of a user and an assistant, and how a template writes them down."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

SEG = "[SEG]"
"""The one token that LISA adds: the assistant points at something with it."""

IMAGE_PLACEHOLDER = "<image>"
"""Where the picture stands in the text of a turn; written once per picture."""


@dataclass(frozen=True)
class Turn:
    """One message; `text` may hold `<image>` (user) and `[SEG]` (assistant)."""

    role: Literal["user", "assistant"]
    text: str


@dataclass(frozen=True)
class Conversation:
    """Turns about one picture, user first, then alternating."""

    turns: tuple[Turn, ...]

    def __post_init__(self) -> None:
        expected = ["user", "assistant"] * len(self.turns)
        roles = [turn.role for turn in self.turns]
        if not roles or roles != expected[: len(roles)]:
            raise ValueError(f"a conversation starts with the user and alternates, but its roles are {roles}")

    @staticmethod
    def of(question: str, answer: str | None = None) -> Conversation:
        """One question, with its answer or still without."""
        turns = [Turn("user", question)]
        return Conversation((*turns, Turn("assistant", answer)) if answer is not None else tuple(turns))

    @property
    def num_seg(self) -> int:
        """How many masks the assistant points at."""
        return sum(turn.text.count(SEG) for turn in self.turns if turn.role == "assistant")


@dataclass(frozen=True)
class Template:
    """How turns become one string (reference: LLaVA's conversation templates).

    Before each user turn comes `user[0]` and after it `user[1]`; likewise for the assistant. A turn that is
    still to be answered ends after `assistant[0]`, without its trailing blank. The first user turn is
    wrapped by `first_user`; each later one is preceded by `later_user`.
    """

    opening: str
    user: tuple[str, str]
    assistant: tuple[str, str]
    first_user: tuple[str, str] = ("", "")
    later_user: str = ""

    def ending(self, bos: str | None, eos: str) -> Template:
        """The same, where a tokenizer writes beginning and end of a sentence in another way than <s> and </s>."""
        before, after = self.assistant
        later = self.later_user.replace("<s>", bos or "")
        return replace(self, assistant=(before, after.replace("</s>", eos)), later_user=later)


@dataclass(frozen=True)
class Span:
    """A piece of the written conversation; `learned` is true for what the assistant says and its end."""

    text: str
    learned: bool


TEMPLATES = {
    "llava_v1": Template(
        opening="A chat between a curious human and an artificial intelligence assistant. The assistant gives "
        "helpful, detailed, and polite answers to the human's questions. ",
        user=("USER: ", " "),
        assistant=("ASSISTANT: ", "</s>"),
    ),
    "llava_llama_2": Template(
        opening="",
        user=("[INST] ", " [/INST]"),
        assistant=(" ", " </s>"),
        first_user=(
            "<<SYS>>\nYou are a helpful language and vision assistant. You are able to understand the visual "
            "content that the user provides, and assist the user with a variety of tasks using natural language."
            "\n<</SYS>>\n\n",
            "",
        ),
        later_user="<s>",
    ),
    # As the families' own models were trained (docs/backbones.md); </s> becomes the end that their tokenizers know.
    "chatml": Template(
        opening="<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n",
        user=("<|im_start|>user\n", "<|im_end|>\n"),
        assistant=("<|im_start|>assistant\n", "</s>"),
        later_user="\n",
    ),
    "smolvlm": Template(
        opening="<|im_start|>",
        user=("User:", "<end_of_utterance>\n"),
        assistant=("Assistant: ", "</s>"),
        later_user="\n",
    ),
    "paligemma": Template(opening="", user=("", "\n"), assistant=("", "</s>")),
    # Short, for models that are trained from scratch and have no use for a system prompt.
    "plain": Template(opening="", user=("USER: ", " "), assistant=("ASSISTANT: ", "</s>")),
}


def write(conversation: Conversation, template: Template) -> list[Span]:
    """The conversation as the template writes it; joined, the spans are the string that is tokenized.

    A conversation that ends with the user's turn ends with the assistant's cue, for generation.
    """
    spans = [Span(template.opening, learned=False)]
    for index, turn in enumerate(conversation.turns):
        if turn.role == "assistant":
            before, after = template.assistant
            cue = before.rstrip(" ")
            # The blank after the cue may be a token of its own, which generation has to produce.
            spans += [Span(cue, learned=False), Span(before[len(cue) :] + turn.text + after, learned=True)]
            continue
        before, after = template.user
        head, tail = template.first_user if index == 0 else ("", "")
        later = template.later_user if index > 0 else ""
        spans.append(Span(later + before + head + turn.text + tail + after, learned=False))
    if conversation.turns[-1].role == "user":
        spans.append(Span(template.assistant[0].rstrip(" "), learned=False))
    return spans
