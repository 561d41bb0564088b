"""Time toymodel's sweeps against peers: ``python -m benchmarks --help``."""

import argparse
import datetime
import json
from pathlib import Path

from benchmarks import (
    exploring,
    first,
    machine,
    memory,
    ranking,
    reading,
    scaling,
    watching,
    workers,
)
from benchmarks.harness import Contender, race, ratios

OURS = "toymodel, all cores"
CONTENDERS = (
    Contender(OURS, "ours:train", 4096),
    Contender("toymodel, one stream", "ours:train", 2048, options=(("workers", 1),)),
    Contender("(a) PyTorch, eager, one at a time", "peers.eager_torch:train", 1, 500),
    Contender("(b) PyTorch, torch.func.vmap", "peers.torch_vmap:train", 256, 250),
    Contender("(b) with torch.compile, one thread", "peers.torch_vmap:train_compiled", 256, 250),
    Contender("(c) NumPy over configurations", "peers.numpy_cells:train", 64, 500),
    Contender("(d) jax.vmap(jax.grad), optax", "peers.naive_jax:train", 256, 500),
    Contender("(e) C, a thread per core", "peers.c_kernel:train", 1024, 2000),
)
TARGETS = {"(a)": 400, "(b) P": 20, "(b) w": 7, "(c)": 7, "(d)": 4, "(e)": 0.9}


def main() -> None:
    usual = [name for name in SECTIONS if name != "watching-gpu"]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--repeats", type=int, default=7, help="rounds (default 7)")
    parser.add_argument("--only", nargs="*", choices=SECTIONS, default=usual)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    where = machine.description()
    for name in options.only:
        text, raw = SECTIONS[name](options.repeats)
        told = f"{text}\n\n{where}\n{datetime.date.today()}.\n"
        (options.out / f"{name}.md").write_text(told)
        (options.out / f"{name}.json").write_text(json.dumps(raw, indent=2))
        print(told)


def peers(repeats: int) -> tuple[str, dict]:
    """The paper's toy against everybody."""
    found = race(CONTENDERS, repeats, say=lambda text: print(text, flush=True))
    rows = []
    for name, ratio in ratios(found, OURS).items():
        target = next((t for key, t in TARGETS.items() if name.startswith(key)), None)
        if isinstance(ratio, str):
            rows.append(f"| {name} | | {ratio} | |")
            continue
        middle, low, high = ratio
        rate = sorted(found[name])[len(found[name]) // 2]
        rows.append(
            f"| {name} | {rate:,.0f} | {middle:.3g} ({low:.3g} to {high:.3g}) | {target or ''} |"
        )
    table = "\n".join(rows)
    return (
        "# The paper's toy, by everybody\n\n4-64-10 network, DPO, Adam, float32, from one start; "
        "all agree on the result. How many times as fast toymodel is: median of "
        f"{repeats} rounds in turn (quartiles). torch.compile has one thread, since its kernels "
        "crash with two; a second process could at most double it.\n\n"
        "| who | config-steps a second | toymodel is faster by | aim |\n|---|---|---|---|\n"
        + table,
        found,
    )


SECTIONS = {
    "peers": peers,
    "workers": workers.run,
    "scaling": scaling.run,
    "first": first.run,
    "memory": memory.run,
    "watching": watching.run,
    "watching-gpu": watching.run_on_gpu,
    "ranking": ranking.run,
    "exploring": exploring.run,
    "reading": reading.run,
}

if __name__ == "__main__":
    main()
