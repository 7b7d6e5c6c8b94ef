"""Puts the kept model into the wheel; an editable install finds it in the checkout."""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class KeptModel(BuildHookInterface):
    """Called by hatch for every build."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """version is "standard" or "editable"."""
        # tool.hatch's own force-include would put a copy beside an editable install, too.
        if version == "standard":
            build_data["force_include"]["models/tiny"] = "lisa/models/tiny"
