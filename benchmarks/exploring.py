"""How soon the explorer shows a change: a slider is moved, the run simulated and drawn again."""

import time

import numpy as np

AIM = 300  # ms
MOVES = 9  # of each slider a round; the first compiles and is left out


def run(repeats: int) -> tuple[str, dict]:
    """Milliseconds from a moved slider to new pictures, for each slider that people move most."""
    import toymodel as tm

    explorer = tm.explore()
    sliders = {
        "beta of the loss": explorer.loss.form.controls["beta"].slider,
        "learning rate": explorer.optimiser.rate.slider,
        "seed": explorer.seed.slider,
        "step shown": explorer.step,
    }
    raw: dict[str, dict[str, list[float]]] = {}
    for name, slider in sliders.items():
        raw[name] = {"wall": [], "processor": []}
        for _ in range(repeats):
            for move in range(MOVES):
                direction = 1 if slider.value < slider.max else -1
                wall, processor = time.perf_counter(), time.process_time()
                slider.value += direction
                if move:
                    raw[name]["wall"].append(1000 * (time.perf_counter() - wall))
                    raw[name]["processor"].append(1000 * (time.process_time() - processor))
    rows = "\n".join(
        f"| {name} | {_told(found['wall'])} | {_told(found['processor'])} |"
        for name, found in raw.items()
    )
    return (
        "# How soon the explorer shows a change\n\n`tm.explore()` as it comes, without a browser: "
        "a slider moves by one, the run is simulated and five pictures are drawn. Milliseconds, "
        f"median (quartiles) of {repeats * (MOVES - 1)} moves; aim: {AIM}. Processor time counts "
        "all threads.\n\n"
        f"| slider | from moved to drawn | processor |\n|---|---|---|\n{rows}",
        raw,
    )


def _told(values: list[float]) -> str:
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return f"{middle:.0f} ({low:.0f} to {high:.0f})"
