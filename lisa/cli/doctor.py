"""`lisa doctor`: the environment, and what is missing in it."""

from __future__ import annotations

import json
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Doctor:
    """Tell versions, devices and what is missing; exit code 1 when something that every use needs is missing.

    lisa doctor

    lisa doctor --json > environment.json
    """

    json: bool = False
    """Print JSON."""

    def run(self) -> int:
        """Print what was found."""
        from lisa.environment import examine

        found = examine()
        if self.json:
            print(json.dumps(found, ensure_ascii=False))
        else:
            _show(found)
        return 1 if found["missing"] else 0


def _show(found: dict) -> None:
    print(f"lisa-segmentation {found['version']}, Python {found['python']}, {found['system']}")
    for group, packages in found["packages"].items():
        print("needed" if group == "core" else f"extra {group}: pip install 'lisa-segmentation[{group}]'")
        for name, package in packages.items():
            note = "" if package["fits"] else f"  <- {package['wanted'] or 'any version'} is needed"
            print(f"  {name:28}{package['installed'] or 'missing'}{note}")
    print("devices")
    for device in found["devices"]:
        print(f"  {device['name']:28}{device['description']}")
    if found["precision"]:
        print(f"training: {found['precision']}")
    print(f"models that come with it: {', '.join(found['models']) or 'none'}")
    print(f"missing: {', '.join(found['missing'])}" if found["missing"] else "nothing that every use needs is missing")
