"""`lisa serve`: the page and the JSON API."""

from __future__ import annotations

from dataclasses import dataclass

from lisa.cli.flags import ModelFlags
from lisa.extras import require


@dataclass(frozen=True, kw_only=True)
class Serve(ModelFlags):
    """Serve the page for the browser and the JSON API.

    lisa serve

    lisa serve --model lisa-7b --host 0.0.0.0 --port 8000
    """

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 lets other machines in."""
    port: int = 7860
    """Port to listen on."""

    def run(self) -> int:
        """Serve until interrupted."""
        require("gradio", "lisa serve", "lisa-segmentation[demo]")
        from lisa.serve import serve

        serve(self.load(), host=self.host, port=self.port, max_new_tokens=self.max_new_tokens)
        return 0
