"""`lisa serve`: the page and the JSON API."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

from lisa.extras import require


@dataclass(frozen=True, kw_only=True)
class Serve:
    """Serve the page for the browser, and the JSON API beside it.

    lisa serve

    lisa serve --model lisa-7b --host 0.0.0.0 --port 8000
    """

    model: str = "tiny"
    """A model's folder or hub id, a released LISA among them, or "tiny" for the one that comes with the library."""
    device: str = "auto"
    """auto (cuda, then mps, then cpu), cuda, cuda:1, mps or cpu."""
    dtype: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """auto is fp32 on a CPU and bf16 elsewhere."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 lets other machines in."""
    port: int = 7860
    """Port to listen on."""

    def run(self) -> int:
        """Serve until interrupted."""
        require("gradio", "lisa serve", "lisa-segmentation[demo]")
        from lisa.serve import ServeArgs, serve

        serve(ServeArgs(**asdict(self)))
        return 0
