"""Flags that several commands have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from lisa.flag_ranges import check_command
from lisa.questions import LONGEST_ANSWER

if TYPE_CHECKING:
    from lisa.api import Lisa


def run_checked(command: Any) -> int:
    """Run a command whose flags can be used; all that is wrong with them is told at once, before anything loads."""
    check_command(command, getattr(command, "problems", tuple)())
    return command.run()


@dataclass(frozen=True, kw_only=True)
class ModelFlags:
    """Which model, and where it runs."""

    model: str = "tiny"
    """A model's folder or hub id, a released LISA among them, or "tiny" for the one that comes with the library."""
    device: str = "auto"
    """auto (cuda, then mps, then cpu), cuda, cuda:1, mps or cpu."""
    dtype: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """auto is fp32 on a CPU and bf16 elsewhere."""
    quantize: Literal["none", "8bit", "4bit"] = "none"
    """Keep the language model in 8 or 4 bits; needs bitsandbytes."""
    max_new_tokens: int = LONGEST_ANSWER
    """Longest answer in tokens."""

    def load(self) -> Lisa:
        """The model of the flags."""
        # Imported late: --help and refusals should not wait for torch.
        from lisa.allocator import keep_freed_memory
        from lisa.api import Lisa

        keep_freed_memory()
        quantize = None if self.quantize == "none" else self.quantize
        return Lisa.load(self.model, device=self.device, dtype=self.dtype, quantize=quantize)
