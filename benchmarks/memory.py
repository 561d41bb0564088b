"""Peak memory and time of large tabular sweeps, each in a process of its own."""

import subprocess
import sys
import tempfile
from pathlib import Path

SCRIPT = """
import resource, sys, time
import toymodel as tm
side = int(sys.argv[1])
start = time.perf_counter()
tm.sweep(
    tm.Sweep(policy="tabular", optimiser="adam", steps=500),
    {"loss.beta": tm.geomspace(0.01, 1, side), "learning_rate": tm.geomspace(1e-3, 1e-1, side)},
    store=sys.argv[2],
    progress=False,
)
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


def run(repeats: int) -> tuple[str, dict]:
    """10,000 to 1,000,000 cells of 500 steps, properties recorded, into a store."""
    del repeats  # peak memory does not vary
    raw, rows = {}, []
    for side in (100, 316, 1000):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-c", SCRIPT, str(side), str(Path(folder) / "a.zarr")]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        seconds, peak = map(float, done.stdout.split())
        raw[side**2] = {"seconds": seconds, "gib": peak}
        rows.append(f"| {side**2:,} | {seconds:.1f} | {side**2 / seconds:,.0f} | {peak:.2f} |")
    table = "\n".join(rows)
    return (
        "# Memory and time of large sweeps\n\nTabular policy, DPO, Adam, 500 steps, the three "
        "properties recorded, written to a store.\n\n"
        "| cells | seconds | cells a second | peak memory (GiB) |\n|---|---|---|---|\n" + table,
        raw,
    )
