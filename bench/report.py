"""What every benchmark says of where it ran."""

from __future__ import annotations

import platform
from pathlib import Path

from lisa.environment import cpu_units


def environment() -> dict[str, str]:
    """{"device", "commit"}: the processor with its units, or the GPU where there is one, and the code."""
    import torch

    from eval.report import code_commit

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else _processor()
    return {"device": device, "commit": code_commit()}


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = (
        [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        if info.exists()
        else []
    )
    name = f"{names[0]}, {len(names)} cores" if names else platform.processor() or platform.machine()
    return f"{name} ({', '.join(cpu_units())})"
