"""A sweep on a real Dask cluster of processes has the local run's bits, whoever dies meanwhile."""

import json
import os
import signal
import sys
import threading
import time

import numpy as np
import pytest

import toymodel as tm
from toymodel.sweeps import cluster, engine

distributed = pytest.importorskip("distributed")

BASE = tm.Sweep(policy="tabular", loss="flex_dpo", optimiser="sgd", learning_rate=1.0, steps=30)
OVER = {"loss.beta_chosen": tm.geomspace(0.1, 1, 8), "loss.beta_rejected": tm.geomspace(0.1, 1, 8)}


def swept(store, **options):
    return tm.sweep(BASE, OVER, store=store, chunk=2, progress=False, **options)


def chunks(store):
    return {
        str(path.relative_to(store)): path.read_bytes()
        for path in sorted(store.rglob("*"))
        if path.is_file() and path.name != "lock"
    }


@pytest.fixture(scope="module")
def two_workers():
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
    with distributed.LocalCluster(**options) as own, distributed.Client(own) as client:
        yield client


@pytest.mark.slow
def test_bits_are_the_local_runs_though_a_worker_is_killed(tmp_path, two_workers):
    swept(tmp_path / "local.zarr")
    store, killed = tmp_path / "cluster.zarr", []

    def kill_one():
        written = store / "status" / "c"
        while not any(path.is_file() for path in written.rglob("*")):
            time.sleep(0.01)
        killed.append(next(iter(two_workers.run(os.getpid).values())))
        os.kill(killed[0], signal.SIGKILL)

    thread = threading.Thread(target=kill_one)
    thread.start()
    swept(store, cluster=two_workers)
    thread.join()
    assert killed
    assert chunks(store) == chunks(tmp_path / "local.zarr")


@pytest.mark.slow
def test_a_cluster_of_our_own_by_address_and_by_file(tmp_path, two_workers):
    local = swept(tmp_path / "local.zarr")
    file = tmp_path / "scheduler.json"
    # All that a scheduler file need say; `write_scheduler_file` adds statistics of every task run,
    # which are not always JSON once a worker has died.
    file.write_text(json.dumps({"address": two_workers.scheduler.address}))
    for name, where in (("address", two_workers.scheduler.address), ("file", str(file))):
        found = swept(tmp_path / f"{name}.zarr", cluster=where)
        np.testing.assert_array_equal(found["drop"], local["drop"])
    found = swept(tmp_path / "own.zarr", cluster="local", workers=1)
    np.testing.assert_array_equal(found["drop"], local["drop"])


def test_what_a_worker_does(tmp_path):
    store = tmp_path / "a.zarr"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine.Engine, "compute", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            swept(store)
    opened = tm.sweeps.store.Store.open(store)

    with opened.locked():
        for block in opened.pending():
            opened.commit(*cluster._compute(str(store), cluster._digest(opened), block))
    np.testing.assert_array_equal(tm.open_sweep(store)["drop"], swept(tmp_path / "b.zarr")["drop"])
    with pytest.raises(tm.InputError, match="other settings"):
        cluster._compute(str(store), "of another sweep", (0, 0))


@pytest.mark.parametrize(
    ("where", "message"),
    [("tcp://127.0.0.1:9", "nobody answers"), ("no-such.json", "scheduler file"), (7, "local")],
)
def test_clusters_that_are_refused(tmp_path, monkeypatch, where, message):
    monkeypatch.setattr(cluster, "_TIMEOUT", "1s")
    with pytest.raises(tm.InputError, match=message):
        swept(tmp_path / "a.zarr", cluster=where)


def test_a_sweep_in_memory_is_refused():
    with pytest.raises(tm.InputError, match="store="):
        swept(None, cluster="local")


def test_without_dask(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(tm.InputError, match=r"toymodel\[cluster\]"):
        swept(tmp_path / "a.zarr", cluster="local")
