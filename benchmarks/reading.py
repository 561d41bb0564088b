"""How long each notebook takes from top to bottom, in a kernel of its own."""

import statistics
import time
from pathlib import Path

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
AIM = 90  # s, on two cores


def run(repeats: int) -> tuple[str, dict]:
    """Seconds of each notebook without its exercise's solution; the kernel's start counts."""
    import jupytext
    from nbclient import NotebookClient

    raw: dict[str, list[float]] = {}
    for _ in range(repeats):
        for path in sorted(NOTEBOOKS.glob("[0-9][0-9]-*.md")):
            place = {"metadata": {"path": str(NOTEBOOKS)}}
            client = NotebookClient(jupytext.read(path), kernel_name="python3", resources=place)
            start = time.perf_counter()
            client.execute()
            raw.setdefault(path.stem, []).append(time.perf_counter() - start)
            print(f"{path.stem}: {raw[path.stem][-1]:.0f} s", flush=True)
    rows = "\n".join(
        f"| {name} | {statistics.median(found):.0f} ({min(found):.0f} to {max(found):.0f}) |"
        for name, found in raw.items()
    )
    return (
        "# How long the notebooks take\n\nFrom the start of a kernel to the last cell; seconds, "
        f"median (range) of {repeats} rounds; aim: {AIM}.\n\n"
        f"| notebook | seconds |\n|---|---|\n{rows}",
        raw,
    )
