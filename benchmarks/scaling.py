"""Cost against the number of cells, the width, the number of responses, and by policy."""

import statistics
import time

import jax
import numpy as np

import toymodel as tm


def _seconds(base: tm.Sweep, cells: int, repeats: int) -> float:
    over = {"loss.beta": np.linspace(0.01, 0.2, cells).tolist()}
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        tm.sweep(base, over, record="final", progress=False)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])  # the first compiles


def _world(responses: int) -> tm.scenarios.Scenario:
    table = np.full((4, responses), 1 / responses)
    return tm.scenarios.build(table, [(x, x, x + 4) for x in range(4)])


def run(repeats: int) -> tuple[str, dict]:
    """Four tables; the unit is a microsecond a cell and update."""
    repeats = min(repeats, 3)
    raw: dict = {"cells": {}, "width": {}, "responses": {}, "policy": {}}
    tabular = tm.Sweep(policy="tabular", learning_rate=0.01, steps=500)
    for cells in (1, 100, 10_000, 100_000, 1_000_000):
        turns = 1 if cells > 100_000 else repeats
        raw["cells"][cells] = _seconds(tabular, cells, turns) / cells / 500
    for width in (16, 64, 256, 1024):
        policy = tm.MLP(hidden=(width,), fit_steps=10)  # so that what is timed is training
        base = tm.Sweep(policy=policy, learning_rate=1e-4, steps=100)
        raw["width"][width] = _seconds(base, 128, repeats) / 128 / 100
    for responses in (10, 30, 100, 1000):
        policy = tm.MLP(hidden=(64,), fit_steps=10)
        base = tm.Sweep(_world(responses), policy, learning_rate=1e-4, steps=100)
        raw["responses"][responses] = _seconds(base, 128, repeats) / 128 / 100
    sequences = tm.sequences.overlapping_pairs(jax.random.key(0), prefix=1)
    for name, world, policy in (
        ("tabular", "both_on_policy", "tabular"),
        ("perceptron, 64 units", "both_on_policy", tm.MLP(hidden=(64,))),
        ("tabular by prefix, 256 sequences", sequences, tm.PrefixTabular()),
        ("autoregressive, 256 sequences", sequences, tm.Autoregressive(fit_steps=10)),
    ):
        base = tm.Sweep(world, policy, learning_rate=1e-3, steps=100)
        raw["policy"][name] = _seconds(base, 128, repeats) / 128 / 100
    parts = []
    for name, found in raw.items():
        rows = "\n".join(
            f"| {size if isinstance(size, str) else format(size, ',')} | {1e6 * cost:.3g} |"
            for size, cost in found.items()
        )
        parts.append(f"| {name} | µs a cell and update |\n|---|---|\n{rows}")
    text = (
        "# Cost by size\n\nThe whole call, compiled before. Cells: tabular policy. Width: units of "
        "the network, 128 cells. Responses: 64 units, 128 cells; beyond 32 responses to 4 prompts "
        "cells are trained one by one under vmap instead of by rows. Policy: 128 cells, 4 prompts; "
        "the paper's world, or all sequences of four tokens over four.\n\n"
    )
    return text + "\n\n".join(parts), raw
