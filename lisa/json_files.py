"""JSON objects in files, read so that an error names the file; light to import."""

from __future__ import annotations

import json
from pathlib import Path


def read_json(path: Path) -> dict:
    """A JSON object; FileNotFoundError or ValueError name the file."""
    if not path.is_file():
        raise FileNotFoundError(f"no {path.name} in {path.parent}; copy the whole folder of the checkpoint")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        reason = "it is empty" if path.stat().st_size == 0 else error
        raise ValueError(f"{path} is no JSON ({reason}); download or copy it again") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no JSON object; download or copy it again")
    return content


def write_json(path: Path, content: dict) -> None:
    """As transformers writes its config files."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
