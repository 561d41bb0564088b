"""What a table of timings was measured on."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path


def description() -> str:
    """Processor, caches, memory and versions, in a paragraph."""
    facts = dict(
        line.split(":", 1)
        for line in subprocess.run(["lscpu"], capture_output=True, text=True).stdout.splitlines()
        if ":" in line
    )
    caches = ", ".join(
        f"{level} {facts[f'{level} cache'].strip()}"
        for level in ("L1d", "L2", "L3")
        if f"{level} cache" in facts
    )
    memory = int(Path("/proc/meminfo").read_text().split()[1]) / 2**20
    versions = ", ".join(f"{name} {version(name)}" for name in ("jax", "torch", "numpy"))
    compiler = subprocess.run(["cc", "--version"], capture_output=True, text=True).stdout
    return (
        f"Machine: {facts.get('Model name', platform.processor()).strip()}, "
        f"{len(os.sched_getaffinity(0))} cores ({caches}), {memory:.0f} GiB; "
        f"Python {platform.python_version()}, {versions}, {compiler.splitlines()[0]}."
    )
