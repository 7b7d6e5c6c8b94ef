"""`lisa info`: what a model is made of."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated

import tyro


@dataclass(frozen=True, kw_only=True)
class Info:
    """Tell a model's parts, their parameters, and the memory that its weights need.

    lisa info tiny

    lisa info xinlai/LISA-7B-v1 --json
    """

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")] = "tiny"
    """A model's folder or hub id, a released LISA among them, or "tiny" for the one that comes with the library."""
    json: bool = False
    """Print JSON."""

    def run(self) -> int:
        """Print the tables."""
        from lisa.inspection import describe

        record = describe(self.model)
        if self.json:
            print(json.dumps(record, ensure_ascii=False))
            return 0
        print(f"{record['model']}: {record['folder']}")
        for name, value in record["settings"].items():
            print(f"  {name.replace('_', ' ')}: {value}")
        print("parameters")
        for name, count in [*record["parameters"].items(), ("total", record["total"])]:
            print(f"  {name.replace('_', ' '):24}{count:>16,}")
        print("memory of the weights (a picture and its answer need some more)")
        for name, size in record["bytes"].items():
            print(f"  {name:24}{size / 1e6:>13,.1f} MB")
        return 0
