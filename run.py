"""`python3 run.py COMMAND ...` is `uv run COMMAND ...`, on a machine with Python and pip and nothing else.

uv is taken from PATH, or else brought by pip into `.uv/`, where no other program meets it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

OWN = Path(__file__).resolve().parent / ".uv"


def find_uv() -> str:
    """The program uv; installed here when there is none."""
    found = shutil.which("uv")
    own = OWN / "bin" / ("uv.exe" if os.name == "nt" else "uv")
    if found or own.exists():
        return found or str(own)
    # --target also works where the system's own Python must not be changed (PEP 668).
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(OWN), "uv"]
    if subprocess.run(pip, check=False).returncode:
        sys.exit(f"uv could not be installed by `{' '.join(pip)}`; see https://docs.astral.sh/uv for other ways")
    return str(own)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(f"{__doc__.strip()}\nGive a command, as in: python3 run.py train_ds.py")
    command = [find_uv(), "run", *sys.argv[1:]]
    if os.name == "nt":  # where a program cannot take the place of another
        sys.exit(subprocess.run(command, check=False).returncode)
    os.execv(command[0], command)
