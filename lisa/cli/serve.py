"""`lisa serve`: the page and the JSON API."""

from __future__ import annotations

from dataclasses import dataclass

from lisa.serve import ServeArgs


@dataclass(frozen=True, kw_only=True)
class Serve(ServeArgs):
    """Serve the page for the browser, and the JSON API beside it.

    lisa serve

    lisa serve --model lisa-7b --host 0.0.0.0 --port 8000
    """

    def run(self) -> int:
        """Serve until interrupted."""
        from lisa.serve import serve

        serve(self)
        return 0
