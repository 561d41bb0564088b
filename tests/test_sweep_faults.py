"""Killed at random instants and resumed, a sweep ends with the bits of an undisturbed one."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

import toymodel as tm
from toymodel.sweeps.store import Store

KILLS = 20
SCRIPT = """
import sys, toymodel as tm
base = tm.Sweep(policy="tabular", loss="dpo", optimiser="sgd", steps=30)
over = {"loss.beta": tm.geomspace(0.01, 1, 90), "learning_rate": tm.geomspace(0.1, 10, 64)}
tm.sweep(base, over, store=sys.argv[1], chunk=2, workers=2, progress=False)
"""


# As a terminal starts it: a shell's background jobs ignore Ctrl-C, and so do their children.
COMMAND = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("toymodel", run_name="__main__")
"""


def start(store, cache):
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(store)],
        env={
            **os.environ,
            "JAX_COMPILATION_CACHE_DIR": str(cache),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        },
    )


def contents(store):
    """Every file of a store but its books about the writer: name -> bytes."""
    return {
        str(path.relative_to(store)): path.read_bytes()
        for path in sorted(store.rglob("*"))
        if path.is_file() and path.name != "lock"
    }


def done(store):
    """How many blocks were written, by one variable: cheap enough to ask all the time."""
    return sum(path.is_file() for path in (store / "status" / "c").rglob("*"))


@pytest.mark.slow
def test_killed_twenty_times(tmp_path):
    calm, disturbed, cache = (tmp_path / name for name in ("calm.zarr", "killed.zarr", "cache"))
    whole = start(calm, cache)
    assert whole.wait() == 0
    chance = random.Random(0)
    killed, ends = 0, set()
    while killed < KILLS:
        process = start(disturbed, cache)
        before = done(disturbed)
        while process.poll() is None and done(disturbed) == before:
            time.sleep(0.02)  # it has begun to write
        time.sleep(chance.uniform(0, 0.15))
        if process.poll() is not None:
            break
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        killed += 1
        ends.add(done(disturbed))
    last = start(disturbed, cache)
    assert last.wait() == 0
    assert len(ends) > KILLS / 2, "killed at different stages"
    assert killed == KILLS
    assert contents(disturbed) == contents(calm)
    Store.open(disturbed).verify()


def test_ctrl_c_says_how_to_go_on(tmp_path):
    store = tmp_path / "a.zarr"
    settings = tmp_path / "a.toml"
    settings.write_text(
        'policy = "tabular"\noptimiser = "sgd"\nsteps = 200\nchunk = 1\n'
        '[over]\n"loss.beta" = { linspace = [0.1, 1, 60] }\n'
        "learning_rate = { linspace = [0.1, 1, 60] }\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, "sweep", str(settings), "--store", str(store)],
        env={**os.environ, "TOYMODEL_CACHE": ""},
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None and done(store) < 4:  # two streams: some are committed
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert f"toymodel sweep --resume {store}" in told
    left = Store.open(store)
    assert 0 < left.progress().blocks_done < left.progress().blocks
    assert tm.open_sweep(store)["status"].isin([0, 1]).all()
