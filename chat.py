"""Ask questions about a picture in a terminal; answers come with masks.

One question:  python chat.py --image x.jpg --prompt "Which of these would float?" --out out/
A talk:        python chat.py --image x.jpg      (/image PATH, /reset, /quit; what was said is remembered)
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent))  # our `datasets` comes before Hugging Face's

import numpy as np
import tyro

from lisa.allocator import keep_freed_memory
from lisa.conversation import Turn
from lisa.pictures import to_pixels
from lisa.results import Answer, save_masks

if TYPE_CHECKING:
    from lisa.session import ChatSession

HELP = "Type a question, or /image PATH for another picture, /reset to forget what was said, /quit to leave."


@dataclass(frozen=True, kw_only=True)
class ChatArgs:
    """Ask a picture questions; answers are words with a mask for everything they point at."""

    image: str = ""
    """The picture."""
    prompt: str | None = None
    """One question; without it, questions are read from the terminal."""
    out: Path = Path("out")
    """Folder for masks (PNG, 0 and 255) and an overlay of each answer."""
    model: str = "tiny"
    """A model's folder or hub id, a released LISA among them, or "tiny" for the one that comes with the checkout."""
    device: str = "auto"
    """auto, cuda, mps or cpu."""
    max_new_tokens: int = 128
    """Longest answer in tokens."""
    profile: bool = False
    """After each answer, print where its time went."""


class Chat:
    """A talk about one picture at a time."""

    def __init__(self, args: ChatArgs) -> None:
        from lisa.checkpoint import load

        self.args = args
        self.predictor = load(args.model, device=args.device)
        self.path = Path()
        self.image: np.ndarray | None = None
        self.session: ChatSession | None = None
        self.answers = 0

    @property
    def turns(self) -> tuple[Turn, ...]:
        """What was said about the picture so far."""
        return self.session.turns if self.session else ()

    def look_at(self, path: str) -> None:
        """Turn to another picture; what was said about the old one is forgotten."""
        from lisa.session import ChatSession

        self.image = to_pixels(Path(path))
        self.path, self.session = Path(path), ChatSession(self.predictor, self.image)

    def reset(self) -> None:
        """Forget what was said; the picture stays."""
        if self.session:
            self.session.reset()

    def ask(self, question: str) -> Answer:
        """Print the answer as it is made, and write its masks; remembered for the next question."""
        if self.session is None:
            raise ValueError("there is no picture yet; give one with --image or /image PATH")
        stream = _Stream(self.predictor.processor.text.decode)
        ask = partial(self.session.ask, question, max_new_tokens=self.args.max_new_tokens, on_token=stream)
        answer = self._profiled(ask, stream) if self.args.profile else ask()
        print()
        self._report(answer)
        return answer

    def _profiled(self, ask: Callable[[], Answer], stream: _Stream) -> Answer:
        from lisa.profile_table import print_answer
        from lisa.profiling import Profile

        profile, started = Profile(self.predictor.model.device), time.perf_counter()
        with profile.watch():
            answer = ask()
        print()
        print_answer(profile, len(stream.ids), stream.first_at and stream.first_at - started)
        return answer

    def _report(self, answer: Answer) -> None:
        if not len(answer.masks):
            print("(this answer points at nothing: no mask)")
            return
        stem = f"{self.path.stem}_{self.answers}"
        self.answers += 1
        written = save_masks(answer, self.image, self.args.out, stem)
        for path, phrase, mask, score in zip(
            written, answer.phrases, answer.masks, answer.scores.expected_iou, strict=False
        ):
            print(f"  {path}  {mask.sum()} pixels, expected IoU {score:.2f}  {phrase}")
        print(f"  {written[-1]}")

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

    def __init__(self, decode) -> None:
        self.decode, self.ids, self.shown = decode, [], 0
        self.first_at: float | None = None

    def __call__(self, token: int) -> None:
        self.first_at = self.first_at or time.perf_counter()
        self.ids.append(token)
        text = self.decode(self.ids)
        if "\ufffd" not in text[self.shown :]:  # bytes of a character that is still incomplete
            print(text[self.shown :], end="", flush=True)
            self.shown = len(text)


def main(argv: list[str] | None = None) -> None:
    """Flags -> one answer, or a loop."""
    args = tyro.cli(ChatArgs, args=argv, description=__doc__)
    if args.prompt is not None and not args.image:
        raise ValueError("--prompt asks about a picture: give one with --image")
    keep_freed_memory()
    if args.image:
        to_pixels(Path(args.image))  # a bad file is told before the model loads
    chat = Chat(args)
    if args.image:
        chat.look_at(args.image)
    if args.prompt is None:
        chat.loop()
    else:
        chat.ask(args.prompt)


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
