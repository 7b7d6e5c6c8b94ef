"""Ask questions about a picture in a terminal; answers come with masks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lisa.cli.flags import ModelFlags

if TYPE_CHECKING:
    from lisa.conversation import Turn
    from lisa.results import Answer
    from lisa.session import ChatSession

HELP = "Type a question, or /image PATH for another picture, /reset to forget what was said, /quit to leave."


@dataclass(frozen=True, kw_only=True)
class ChatArgs(ModelFlags):
    """Talk about a picture: each question is asked with what was said before.

    One question: lisa chat --image x.jpg --prompt "Please segment the boats in this image." --out out/

    A talk: lisa chat --image x.jpg (then /image PATH, /reset, /quit)
    """

    image: str = ""
    """The picture."""
    prompt: str | None = None
    """One question; without it, questions are read from the terminal."""
    out: Path = Path("out")
    """Folder for masks (PNG, 0 and 255) and an overlay of each answer."""
    profile: bool = False
    """After each answer, print where its time went."""

    def problems(self) -> Iterator[str]:
        """What is wrong with the image and the question; the model need not be there to tell."""
        from lisa.image_input import to_pixels

        if self.prompt is not None and not self.image:
            yield "--prompt asks about a picture: give one with --image"
        if self.image:
            try:
                to_pixels(Path(self.image))
            except (ValueError, OSError) as error:
                yield str(error)

    def run(self) -> int:
        """One answer, or a loop."""
        chat = Chat(self)
        if self.image:
            chat.look_at(self.image)
        if self.prompt is None:
            chat.loop()
        else:
            chat.ask(self.prompt)
        return 0


class Chat:
    """A talk about one picture at a time."""

    def __init__(self, args: ChatArgs) -> None:
        self.args = args
        self.lisa = args.load()
        self.path = Path()
        self.session: ChatSession | None = None
        self.answers = 0

    @property
    def turns(self) -> tuple[Turn, ...]:
        """What was said about the picture so far."""
        return self.session.turns if self.session else ()

    def look_at(self, path: str) -> None:
        """Turn to another picture; what was said about the old one is forgotten."""
        self.session = self.lisa.chat(Path(path))
        self.path = Path(path)

    def reset(self) -> None:
        """Forget what was said; the picture stays."""
        if self.session:
            self.session.reset()

    def ask(self, question: str) -> Answer:
        """Print the answer as it is made, and write its masks; remembered for the next question."""
        if self.session is None:
            raise ValueError("there is no picture yet; give one with --image or /image PATH")
        stream = _Stream(self.lisa.predictor.processor.text.decode)
        ask = partial(self.session.ask, question, max_new_tokens=self.args.max_new_tokens, on_token=stream)
        answer = self._profiled(ask, stream) if self.args.profile else ask()
        print()
        self._report(answer)
        return answer

    def _profiled(self, ask: Callable[[], Answer], stream: _Stream) -> Answer:
        from lisa.profile_table import print_answer
        from lisa.profiling import Profile

        profile, started = Profile(self.lisa.predictor.model.device), time.perf_counter()
        with profile.watch():
            answer = ask()
        print()
        print_answer(profile, len(stream.ids), stream.first_at and stream.first_at - started)
        return answer

    def _report(self, answer: Answer) -> None:
        if not len(answer.masks):
            print("(this answer points at nothing: no mask)")
            return
        from lisa.results import save_masks

        stem = f"{self.path.stem}_{self.answers}"
        self.answers += 1
        *masks, overlay = save_masks(answer, self.args.out, stem)
        scores = answer.scores.expected_iou
        for path, phrase, mask, score in zip(masks, answer.phrases, answer.masks, scores, strict=True):
            print(f"  {path}  {mask.sum()} pixels, expected IoU {score:.2f}  {phrase}")
        print(f"  {overlay}")

    def loop(self) -> None:
        """Read questions until /quit or the end of the input."""
        print(HELP)
        while True:
            try:
                line = input("> ").strip()
            except (EOFError, KeyboardInterrupt):
                print()
                return
            command, _, rest = line.partition(" ")
            try:
                if command == "/quit":
                    return
                if command == "/reset":
                    self.reset()
                elif command == "/image":
                    self.look_at(rest.strip())
                elif command.startswith("/"):
                    print(HELP)
                elif line:
                    self.ask(line)
            except (ValueError, OSError) as error:
                print(f"error: {error}")


class _Stream:
    """Prints an answer while it grows."""

    def __init__(self, decode: Callable[[list[int]], str]) -> None:
        self.decode, self.shown = decode, 0
        self.ids: list[int] = []
        self.first_at: float | None = None

    def __call__(self, token: int) -> None:
        self.first_at = self.first_at or time.perf_counter()
        self.ids.append(token)
        text = self.decode(self.ids)
        if "\ufffd" not in text[self.shown :]:  # bytes of a character that is still incomplete
            print(text[self.shown :], end="", flush=True)
            self.shown = len(text)
