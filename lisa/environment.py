"""What is installed here, on which devices a model can run, and what is missing."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from lisa.kept import KEPT_MODELS

DISTRIBUTION = "lisa-segmentation"


def examine() -> dict:
    """Versions, packages by group ("core" and the extras), devices, models, and the core packages that are missing."""
    packages = packages_by_group()
    return {
        "version": _installed(DISTRIBUTION) or "not installed",
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": packages,
        "devices": devices(),
        "precision": precision(),
        "models": kept_models(),
        "missing": [name for name, package in packages.get("core", {}).items() if not package["fits"]],
    }


def packages_by_group() -> dict[str, dict[str, dict]]:
    """For each group what it wants and what is there, as the distribution itself says."""
    try:
        stated = [Requirement(line) for line in requires(DISTRIBUTION) or []]
    except PackageNotFoundError as error:
        raise ValueError(
            f"{DISTRIBUTION} is not installed here, so nothing tells what it needs; run pip install in the checkout"
        ) from error
    groups: dict[str, dict[str, dict]] = {}
    for wanted in stated:
        extra = _extra(wanted)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": extra}):
            continue  # for another system
        found = _installed(wanted.name)
        groups.setdefault(extra or "core", {})[wanted.name] = {
            "installed": found,
            "wanted": str(wanted.specifier),
            "fits": found is not None and wanted.specifier.contains(found, prereleases=True),
        }
    return groups


def devices() -> list[dict[str, str]]:
    """Where a model can run here, best first."""
    try:
        import torch
    except ImportError:  # told among the missing packages
        return []
    found = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        memory = f"{properties.total_memory / 1e9:.1f} GB"
        found.append({"name": f"cuda:{index}", "description": f"{properties.name}, {memory}"})
    if torch.backends.mps.is_available():
        found.append({"name": "mps", "description": "Apple GPU"})
    found.append({"name": "cpu", "description": f"{torch.get_num_threads()} threads, {', '.join(cpu_units())}"})
    return found


UNITS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16", "sve", "i8mm", "bf16")
"""What processors multiply with, as Linux names it."""


def cpu_units() -> list[str]:
    """Those that this processor has, and how they are bounded; only what torch uses where Linux tells nothing."""
    import torch

    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith(("flags", "Features"))), [])
    found = [unit for unit in UNITS if unit in flags] or [torch.backends.cpu.get_cpu_capability().lower()]
    bound = os.environ.get("ONEDNN_MAX_CPU_ISA")
    return [*found, f"ONEDNN_MAX_CPU_ISA={bound}"] if bound else found


def precision() -> str:
    """How this device multiplies, and so what `train_ds.py --precision auto` takes; "" without torch."""
    try:
        import torch
    except ImportError:  # told among the missing packages
        return ""
    from lisa.precision import measure_products, precision_for

    products = measure_products("cuda" if torch.cuda.is_available() else "cpu")
    return f"{products}: --precision auto is {precision_for(products, 'adamw')}"


def kept_models() -> list[str]:
    """Names of the models that come with the library."""
    return sorted(path.parent.name for path in KEPT_MODELS.glob("*/config.json"))


def _extra(wanted: Requirement) -> str:
    """The extra that asks for a package, "" for the core."""
    marker = str(wanted.marker or "")
    return marker.partition("extra == ")[2].strip("\"' )")


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
