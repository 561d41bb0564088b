"""Time to the first result of ``toymodel sweep``: a new process, a cold or a warm cache."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SETTINGS = """
steps = 2000
learning_rate = 3e-4
policy = "mlp"

[over]
"loss.beta" = [0.02, 0.2]
"""


def run(repeats: int) -> tuple[str, dict]:
    """Seconds from the command to its end, for two cells of 2,000 steps."""
    raw: dict[str, list[float]] = {"cold": [], "warm": []}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "first.toml").write_text(SETTINGS)
        for turn in range(repeats):
            environment = os.environ | {"XDG_CACHE_HOME": str(place / f"cache-{turn}")}
            for kind in raw:
                store = place / f"{kind}-{turn}.zarr"
                command = [sys.executable, "-m", "toymodel", "sweep", str(place / "first.toml")]
                start = time.perf_counter()
                subprocess.run(
                    [*command, "--store", str(store), "--quiet"],
                    env=environment,
                    check=True,
                    capture_output=True,
                )
                raw[kind].append(time.perf_counter() - start)
    rows = "\n".join(f"| {kind} | {statistics.median(s):.1f} |" for kind, s in raw.items())
    return (
        "# Time to the first result\n\n`toymodel sweep first.toml` in a new process: two cells of "
        f"2,000 steps, median of {repeats} rounds; aim 5 s with a warm compilation cache.\n\n"
        "| compilation cache | seconds |\n|---|---|\n" + rows,
        raw,
    )
