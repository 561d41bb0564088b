"""Stored sweeps: resumed wherever they were killed, grown, and refused when they are damaged."""

import dataclasses
import errno
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import traceback
import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr.storage._local
from hypothesis import given, settings
from hypothesis import strategies as st

import toymodel as tm
from toymodel import storage
from toymodel._errors import InputError
from toymodel.sweeps import blocks, skeleton
from toymodel.sweeps.layout import Coordinate, Layout, Variable
from toymodel.sweeps.memory import Memory
from toymodel.sweeps.store import Store

# Sweeps to store: results are made up, one number for each place ---------------------------------


def layout(sizes=(5, 3), steps=(2, 2), own=(2,), dtypes=("f4", "i4"), **plain):
    dims = [f"d{axis}" for axis in range(len(sizes))]
    labels = {
        dim: Coordinate(dim, 0.1 * np.arange(size), {"units": "nat"})
        for dim, size in zip(dims, sizes, strict=True)
    }
    names = np.array([f"løss {place}" for place in range(sizes[0])])
    own_dims = tuple(f"own{axis}" for axis in range(len(own)))
    return Layout(
        sizes=dict(zip(dims, sizes, strict=True)),
        steps=dict(zip(dims, steps, strict=True)),
        coordinates={**labels, "loss": Coordinate("d0", names, {})},
        variables={
            **{
                f"v{n}": Variable(own_dims, own, np.dtype(dtype), {"units": "nat"})
                for n, dtype in enumerate(dtypes)
            },
            "flag": Variable((), (), np.dtype(bool), {}),
            "status": Variable((), (), np.dtype("i1"), {"flag_values": [0, 1]}),
        },
        settings={"beta": 0.1, "nested": {"list": [1, None, "text"]}, **plain},
    )


SMALL, BIG = layout(), layout((7, 5))


def results(shape, block, finished=None):
    """A block's results: numbers that tell places and variables apart, rubbish where finished."""
    cells = tuple(shape.region(block).values())
    made = {}
    for rank, (name, variable) in enumerate(shape.variables.items()):
        every = np.zeros(tuple(part.stop for part in cells) + variable.shape)
        for axis, index in enumerate(np.indices(every.shape)):
            every += 7.0**axis * (index + 1)
        values = np.asarray(every + 1000 * rank)[cells].copy()
        values = {"flag": values % 2, "status": values % 3 == 0}.get(name, values)
        if finished is not None:
            values[finished] = 77
        made[name] = values.astype(variable.dtype)
    return made


def fill(store, stop=None):
    """Compute what is missing, up to some number of blocks.

    Returns:
        How many cells were computed.
    """
    computed = 0
    with store.locked():
        for block in store.pending()[:stop]:
            old = store.finished(block)
            new = results(store.layout, block, old)
            store.commit(block, store.write(block, new, computed=~old))
            computed += int((~old).sum())
    return computed


def filled(path, shape=SMALL, stop=None):
    store = Store.create(path, shape)
    fill(store, stop)
    return store


def assert_complete(store):
    """Every cell has its own results, by every way of reading."""
    assert store.pending() == []
    store.verify()
    opened = store.dataset()
    for block in store.layout.blocks():
        expected, read = results(store.layout, block), store.read(block)
        for name, values in expected.items():
            np.testing.assert_array_equal(read[name], values, strict=True)
            region = opened[name].isel(store.layout.region(block))
            np.testing.assert_array_equal(region.values, values, strict=True)


def assert_same_layout(ours, theirs):
    for name in ("sizes", "steps", "variables", "settings"):
        assert getattr(ours, name) == getattr(theirs, name), name
        assert list(getattr(ours, name)) == list(getattr(theirs, name)), name
    assert list(ours.coordinates) == list(theirs.coordinates)
    for name, label in ours.coordinates.items():
        other = theirs.coordinates[name]
        assert (label.dim, label.attrs) == (other.dim, other.attrs)
        np.testing.assert_array_equal(label.values, other.values, strict=True)


def contents(path):
    """Every file of a store but the lock, and what stands beside the store."""
    files = {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file() and file.name != "lock"
    }
    return files, [other.name for other in path.parent.iterdir()]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / "sweep.zarr"


@pytest.fixture(scope="module")
def finished_store(tmp_path_factory):
    return filled(tmp_path_factory.mktemp("finished") / "sweep.zarr").path


# There and back ----------------------------------------------------------------------------------


def test_round_trip(path):
    store = filled(path)
    assert_complete(store)
    again = Store.open(path)
    assert_same_layout(again.layout, SMALL)
    assert_complete(again)


sweeps = st.integers(1, 3).flatmap(
    lambda rank: st.tuples(  # sizes, steps, growth, shape and types of the variables
        st.tuples(*[st.integers(1, 4)] * rank),
        st.tuples(*[st.integers(1, 3)] * rank),
        st.tuples(*[st.integers(0, 2)] * rank),
        st.sampled_from([(), (1,), (2, 3)]),
        st.lists(st.sampled_from(["f2", "f4", "f8", "i2", "u4", "bool"]), max_size=2),
    )
)


@given(sweeps)
@settings(max_examples=8, deadline=None)
def test_any_sweep_comes_back_and_grows(tmp_path_factory, drawn):
    sizes, steps, more, own, dtypes = drawn
    grown = tuple(np.add(sizes, more).tolist())
    small, big = (layout(shape, steps, own, dtypes) for shape in (sizes, grown))
    store = filled(tmp_path_factory.mktemp("any") / "sweep.zarr", small)
    assert_same_layout(store.layout, small)
    assert_complete(Store.open(store.path))
    store.extend(big)
    assert fill(store) == big.cells - small.cells
    assert_same_layout(Store.open(store.path).layout, big)
    assert_complete(Store.open(store.path))


def test_plain_xarray_reads_it(finished_store):
    for opened in (
        xr.open_zarr(finished_store),
        xr.open_zarr(finished_store, consolidated=False),
        Store.open(finished_store).dataset(),
    ):
        assert set(opened.data_vars) == set(SMALL.variables)
        assert opened.v0.dims == ("d0", "d1", "own0")
        assert opened.attrs["settings"] == SMALL.settings
        assert opened.attrs["toymodel_version"] == tm.__version__
        assert opened.v0.units == "nat"
        assert set(opened.coords) == {"d0", "d1", "loss"}
        assert opened.loss.values.tolist() == SMALL.coordinates["loss"].values.tolist()
        expected = results(SMALL, (1, 0))["v1"][1, 0]
        assert opened.v1.sel(d0=0.3, d1=0.0, method="nearest").values.tolist() == expected.tolist()


def test_a_dimension_labelled_with_text(path):
    text = Coordinate("d0", np.array(["dpo", "ipo"]), {})
    shape = layout((2, 1))
    shape = dataclasses.replace(shape, coordinates={"d0": text})
    filled(path, shape)
    for opened in (xr.open_zarr(path), Store.open(path).dataset()):
        assert opened.sel(d0="ipo").status.shape == (1,)


def test_opened_lazily(path):
    store = filled(path, stop=2)
    opened = store.dataset()
    assert not any(opened[name].variable._in_memory for name in SMALL.variables)
    assert not any(opened[name].chunks for name in SMALL.variables)
    before = opened.v0.isel(d0=4).values
    assert np.isnan(before).all()
    fill(store)
    np.testing.assert_array_equal(
        store.dataset().v0.isel(d0=4, d1=0), [*results(SMALL, (2, 0))["v0"][0, 0]]
    )


def test_fill_where_nothing_was_computed(path):
    opened = Store.create(path, SMALL).dataset().load()
    assert np.isnan(opened.v0).all()
    assert not opened.v1.any()
    assert opened.flag.dtype == bool
    assert not opened.flag.any()


def test_memory_is_the_same(path):
    store, memory = filled(path), Memory(SMALL)
    assert memory.pending() == list(SMALL.blocks())
    assert fill(memory, 2) == 6
    part = memory.read((2, 0))
    assert np.isnan(part["v0"]).all()
    fill(memory)
    assert memory.pending() == []
    assert memory.finished((0, 0)).all()
    assert memory.progress() == store.progress()
    ours, theirs = memory.dataset(), store.dataset()
    del theirs.attrs["toymodel_sweep_format"]
    xr.testing.assert_identical(ours, theirs.load())
    block = (2, 1)
    assert store.write(block, results(SMALL, block)) == memory.write(block, results(SMALL, block))


# Block by block ----------------------------------------------------------------------------------


def test_resume(path):
    assert fill(Store.create(path, SMALL), 2) == 6
    store = Store.open(path)
    assert store.pending() == list(SMALL.blocks())[2:]
    assert store.finished((0, 0)).all()
    assert not store.finished((2, 1)).any()
    done = results(SMALL, (0, 0))["status"], results(SMALL, (0, 1))["status"]
    ones = int(sum(part.sum() for part in done))
    assert store.progress() == blocks.Progress(15, 6, 6, 2, {0: 6 - ones, 1: ones})
    assert fill(store) == 9
    assert store.progress().blocks_done == 6
    assert_complete(store)


def test_what_is_not_committed_is_pending(path):
    store = Store.create(path, SMALL)
    digest = store.write((0, 0), results(SMALL, (0, 0)))
    assert 0 < digest < 2**64
    assert Store.open(path).pending() == list(SMALL.blocks())
    assert not np.nan_to_num(store.read((0, 0))["v0"]).any()


def test_what_is_committed_stays(path):
    store = filled(path)
    other = {name: np.zeros_like(values) for name, values in results(SMALL, (0, 0)).items()}
    assert store.write((0, 0), other) == store.write((0, 0), results(SMALL, (0, 0)))
    assert_complete(store)


def test_damage_is_not_blessed_by_growing(path):
    store = filled(path)
    store.extend(BIG)
    shutil.copy(path / "v0/c/1/0/0", path / "v0/c/2/0/0")
    with pytest.raises(InputError, match=r"sweep.zarr.*block \(2, 0\).*another digest"):
        store.write((2, 0), results(BIG, (2, 0)))


def test_threads_write_at_once(path):
    store = Store.create(path, SMALL)
    digests = {}

    def work(part):
        for block in part:
            digests[block] = store.write(block, results(SMALL, block))

    every = list(SMALL.blocks())
    threads = [threading.Thread(target=work, args=(every[n::2],)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with store.locked():
        for block, digest in digests.items():
            store.commit(block, digest)
    assert_complete(store)


def test_a_worker_writes_and_does_not_commit(path):
    store = Store.create(path, SMALL)
    with store.locked():
        worker = pickle.loads(pickle.dumps(store))
        digest = worker.write((0, 0), results(SMALL, (0, 0)))
        with pytest.raises(InputError, match=r"locked by this process.*store.locked\(\)"):
            worker.commit((0, 0), digest)
        store.commit((0, 0), digest)
        with pytest.raises(InputError, match="missing"):  # never written
            store.commit((1, 0), digest)
    assert worker.finished((0, 0)).all()


MISFITS = {
    "variable missing": lambda made: made.pop("v0"),
    "variable not known": lambda made: made.update(v9=made["v0"]),
    "shape": lambda made: made.update(v0=made["v0"][:1]),
    "type": lambda made: made.update(v0=made["v0"].astype("f8")),
}


@pytest.mark.parametrize("target", [Store.create, lambda _, shape: Memory(shape)])
@pytest.mark.parametrize("spoil", MISFITS.values(), ids=MISFITS)
def test_misfits_are_refused(spoil, target, path):
    made = results(SMALL, (0, 0))
    spoil(made)
    with pytest.raises(InputError, match=r"block \(0, 0\)"):
        target(path, SMALL).write((0, 0), made)


def test_other_mistakes_are_refused(path):
    store = Store.create(path, SMALL)
    with pytest.raises(InputError, match=r"block: got \(3, 0\)"):
        store.finished((3, 0))
    computed = np.array([[True, False], [False, False]])
    with pytest.raises(InputError, match="3 cells that were never computed"):
        store.write((0, 0), results(SMALL, (0, 0)), computed=computed)
    for wrong in (layout(settings=object()), layout(dtypes=("U3",))):
        with pytest.raises(InputError):
            Store.create(path.with_name("other"), wrong)
    assert list(path.parent.iterdir()) == [path]


# One writer --------------------------------------------------------------------------------------

HOLD = """
import os, sys, time
sys.path.insert(0, {tests!r})
import warnings; warnings.simplefilter("ignore")
from toymodel.sweeps.store import Store
with Store.open({path!r}).locked():
    child = os.fork()
    if child == 0:
        time.sleep(60)  # outlives its parent: must not keep the lock
        os._exit(0)
    print(child, flush=True)
    time.sleep(60)
"""


def test_two_writers_exclude_each_other_until_one_dies(path):
    store = filled(path, stop=1)
    with store.locked():
        message = f"process {os.getpid()} on .*, since 2.*To mend it: wait"
        with pytest.raises(InputError, match=message), Store.open(path).locked():
            pass
        with pytest.raises(InputError, match=message):
            Store.create(path, SMALL, overwrite=True)
    code = HOLD.format(path=str(path), tests=str(Path(__file__).parent))
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    with holder:
        orphan = int(holder.stdout.readline())
        try:
            with pytest.raises(InputError, match=f"process {holder.pid} on"), store.locked():
                pass
            with pytest.raises(InputError, match=f"process {holder.pid} on"):
                store.extend(BIG)
            assert len(Store.open(path).pending()) == 5  # readers are welcome
            holder.kill()
            holder.wait()
            fill(store)
        finally:
            holder.kill()
            os.kill(orphan, signal.SIGKILL)
    assert_complete(store)


def test_an_exception_releases_the_lock(path):
    store = Store.create(path, SMALL)
    with pytest.raises(KeyboardInterrupt), store.locked():
        raise KeyboardInterrupt
    assert fill(store) == 15


# Growing -----------------------------------------------------------------------------------------

GROWN = {"first": (8, 3), "second": (5, 4), "both": (7, 5), "none": (5, 3)}


@pytest.mark.parametrize("sizes", GROWN.values(), ids=GROWN)
@pytest.mark.parametrize("stop", [None, 4])
def test_extend(sizes, stop, path):
    big = layout(sizes, grown=True)
    store = filled(path, stop=stop)
    done = store.progress().cells_done
    store.extend(big)
    again = Store.open(path)
    again.verify()
    assert_same_layout(again.layout, big)
    assert again.progress().cells_done == done
    assert sum(int(again.finished(block).sum()) for block in big.blocks()) == done
    np.testing.assert_array_equal(again.read((0, 0))["v0"], results(big, (0, 0))["v0"])
    assert fill(again) == big.cells - done
    assert_complete(again)
    direct = filled(path.parent / "other" / path.name, big)
    assert contents(path)[0] == contents(direct.path)[0]


def changed(name, **changes):
    labels = BIG.coordinates
    return dataclasses.replace(
        BIG, coordinates={**labels, name: dataclasses.replace(labels[name], **changes)}
    )


NOT_GROWN = {
    "shrunk": (layout((4, 3)), "dimension 'd0': got 4"),
    "steps": (layout((7, 5), (3, 2)), "steps"),
    "dimensions": (layout((7, 5, 2), (2, 2, 2)), "dimensions"),
    "variables": (layout((7, 5), dtypes=("f4",)), "variables"),
    "values": (changed("d0", values=np.arange(7.0)), "coordinate 'd0'"),
    "text": (changed("loss", values=np.array(["a"] * 7)), "coordinate 'loss'"),
    "coordinates": (dataclasses.replace(BIG, coordinates={}), "coordinates"),
}


@pytest.mark.parametrize(("other", "named"), NOT_GROWN.values(), ids=NOT_GROWN)
def test_other_changes_are_refused(other, named, path):
    store = filled(path, stop=1)
    before = contents(path)
    with pytest.raises(InputError, match=f"{named}.*To mend it: sweep into another store"):
        store.extend(other)
    assert contents(path) == before


def test_who_opened_it_before_it_grew_opens_it_again(path):
    early = filled(path)
    Store.open(path).extend(BIG)
    with pytest.raises(InputError, match="open it again"), early.locked():
        pass


# Killed at any instant ---------------------------------------------------------------------------


def sweep_job(path):
    fill(Store.open(path) if path.exists() else Store.create(path, SMALL))


def extend_job(path):
    store = Store.open(path)
    if store.layout.sizes != BIG.sizes:
        store.extend(BIG)
    fill(store)


def overwrite_job(path):
    Store.create(path, BIG, overwrite=True)
    fill(Store.open(path), 1)


JOBS = {
    "sweep": (sweep_job, None),
    "extend": (extend_job, SMALL),
    "overwrite": (overwrite_job, SMALL),
}
FILE_EVENTS = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate"}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def in_a_fork(job, path, kill_at=0):
    """Run a job in a fork that dies before the n-th time it changes files of the store.

    Returns:
        Whether it died, and how many changes there were, if not.
    """
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        seen = 0

        def count(event, arguments):
            nonlocal seen
            changes = event in FILE_EVENTS or (event == "open" and arguments[2] & WRITES)
            if changes and str(path) in str(arguments[0]):
                seen += 1
                if seen == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        try:
            job(path)
            os.write(writes, str(seen).encode())
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(writes)
    with os.fdopen(reads) as pipe:
        changes = pipe.read()
    died = os.WIFSIGNALED(os.waitpid(child, 0)[1])
    assert died or changes, f"the job failed, to be killed before change {kill_at}"
    return died, int(changes or 0)


def kill_everywhere(name, folder, kills):
    """Kill a job at many instants; resumed, it must leave what it leaves undisturbed."""
    job, first = JOBS[name]
    folder.mkdir()
    original = folder / "original" / "sweep.zarr"
    if first is not None:
        in_a_fork(lambda path: filled(path, first), original)

    def started(at):
        path = folder / at / "sweep.zarr"
        path.parent.mkdir()
        if first is not None:
            shutil.copytree(original, path)
        return path

    def resumed(path):
        if path.exists():  # nothing, or whole as far as it is committed
            Store.open(path).verify()
        job(path)

    undisturbed = started("undisturbed")
    _, changes = in_a_fork(job, undisturbed)
    expected = contents(undisturbed)
    points = np.unique(np.linspace(1, changes, kills).astype(int)).tolist()
    for point in points:
        path = started(str(point))
        killed = in_a_fork(job, path, point)[0]
        # Threads make the count of changes vary a little, so a late one may not come.
        assert killed or point > 0.8 * changes, f"{name} ended before change {point} of {changes}"
        in_a_fork(resumed, path)
        assert contents(path) == expected, f"{name}, killed before change {point} of {changes}"
        shutil.rmtree(path.parent)


def run_kills(folder, **kills):
    warnings.simplefilter("ignore")  # of JAX, which does not like forks
    for name, count in kills.items():
        kill_everywhere(name, folder / name, count)


MANY = {
    name: pytest.param({name: 15}, marks=pytest.mark.slow, id=f"{name}, often") for name in JOBS
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(
    "kills", [pytest.param({"sweep": 8, "extend": 10, "overwrite": 4}, id="all"), *MANY.values()]
)
def test_killed_and_resumed(kills, tmp_path):
    code = (  # in a process of its own, for forks want no threads
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        f"import pathlib, {Path(__file__).stem} as tests\n"
        f"tests.run_kills(pathlib.Path({str(tmp_path)!r}), **{kills!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# Accidents while writing -------------------------------------------------------------------------

ACCIDENTS = {
    "disk full": (OSError(errno.ENOSPC, "No space left on device"), InputError),
    "Ctrl-C": (KeyboardInterrupt(), KeyboardInterrupt),
    "a bug below": (TypeError("no such codec"), TypeError),
}


@pytest.fixture
def breaks(monkeypatch, accident):
    """Make the n-th write of a file fail, and all after it."""

    def after(count):
        put, left = zarr.storage._local._put, [count]

        def failing(*arguments, **options):
            left[0] -= 1
            if left[0] < 0:
                raise accident
            return put(*arguments, **options)

        monkeypatch.setattr(zarr.storage._local, "_put", failing)

    return after


accidents = pytest.mark.parametrize(("accident", "raised"), ACCIDENTS.values(), ids=ACCIDENTS)
without_interrupts = pytest.mark.parametrize(
    ("accident", "raised"), [ACCIDENTS["disk full"], ACCIDENTS["a bug below"]]
)


@without_interrupts
@pytest.mark.parametrize("count", [0, 1, 7])
def test_a_failed_write_leaves_the_block_pending(breaks, raised, count, path, monkeypatch):
    store = filled(path, stop=2)
    breaks(count)
    with pytest.raises(raised) as caught:
        fill(store)
    if raised is InputError:
        assert "sweep.zarr" in str(caught.value)
        assert "No space left" in str(caught.value)
        assert "What was committed is kept. To mend it: make room" in str(caught.value)
    monkeypatch.undo()
    again = Store.open(path)
    assert len(again.pending()) == 4 - count // 5
    again.verify()
    fill(again)
    assert_complete(again)
    direct = filled(path.parent / "other" / path.name)
    assert contents(path)[0] == contents(direct.path)[0]


@without_interrupts
def test_nothing_is_left_of_a_failed_create_or_extend(breaks, raised, path, monkeypatch):
    store = filled(path)
    before = contents(path)
    breaks(9)
    with pytest.raises(raised):
        store.extend(BIG)
    with pytest.raises(raised):
        Store.create(path, BIG, overwrite=True)
    with pytest.raises(raised):
        Store.create(path.with_name("new.zarr"), BIG)
    assert contents(path) == before


def test_ctrl_c_between_blocks(path, monkeypatch):
    store = Store.create(path, SMALL)
    write = Store.write

    def interrupted(self, block, arrays, computed=None):
        digest = write(self, block, arrays, computed)
        if block == (1, 0):
            raise KeyboardInterrupt
        return digest

    monkeypatch.setattr(Store, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fill(store)
    monkeypatch.undo()
    assert Store.open(path).pending()[0] == (1, 0)
    fill(Store.open(path))
    assert_complete(store)


# What create refuses -----------------------------------------------------------------------------


def test_create_spares_what_is_there(path):
    filled(path, stop=1)
    with pytest.raises(InputError, match=r"sweep.zarr.*To mend it: pass overwrite=True"):
        Store.create(path, SMALL)
    store = Store.create(path, BIG, overwrite=True)
    assert store.pending() == list(BIG.blocks())
    assert list(path.parent.iterdir()) == [path]


def trajectory_store(path):
    storage.write(xr.Dataset({"a": ("x", [1.0])}), path)


FOREIGN = {
    "folder": lambda path: path.mkdir(parents=True),
    "file": lambda path: (path.parent.mkdir(), path.write_text("years of work")),
    "saved run": trajectory_store,
    "group": lambda path: zarr.open_group(path, mode="w", attributes={"a": 1}),
}


@pytest.mark.parametrize("make", FOREIGN.values(), ids=FOREIGN)
def test_what_is_no_sweep(make, path):
    make(path)
    before = contents(path)
    with pytest.raises(InputError, match=r"sweep.zarr.*expected a stored sweep, which.*To mend it"):
        Store.open(path)
    with pytest.raises(InputError, match=r"sweep.zarr.*expected a stored sweep to overwrite"):
        Store.create(path, SMALL, overwrite=True)
    assert contents(path) == before


def test_nothing_there(path):
    with pytest.raises(InputError, match=r"sweep.zarr.*To mend it: make one with Store.create"):
        Store.open(path)


# Damage ------------------------------------------------------------------------------------------


def edited(name, change):
    """Damage: a JSON file changed, all else the same."""

    def damage(path):
        document = json.loads((path / name).read_text())
        change(document)
        (path / name).write_text(json.dumps(document, indent=2))

    return damage


def flipped(name, at=3):
    def damage(path):
        data = bytearray((path / name).read_bytes())
        data[at] ^= 1
        (path / name).write_bytes(data)

    return damage


def copied(name, onto):
    return lambda path: shutil.copy(path / name, path / onto)


SEEN_AT_ONCE = {
    "chunk truncated": lambda path: os.truncate(path / "v0/c/1/0/0", 5),
    "chunk emptied": lambda path: os.truncate(path / "v0/c/1/0/0", 0),
    "chunk deleted": lambda path: (path / "v1/c/1/1/0").unlink(),
    "chunks of a variable deleted": lambda path: shutil.rmtree(path / "flag/c"),
    "commit deleted": lambda path: (path / "_blocks/commits/c/1/0/0").unlink(),
    "commit flipped": flipped("_blocks/commits/c/1/0/0"),
    "commit truncated": lambda path: os.truncate(path / "_blocks/commits/c/1/0/0", 8),
    "commits deleted": lambda path: shutil.rmtree(path / "_blocks/commits"),
    "books deleted": lambda path: shutil.rmtree(path / "_blocks"),
    "books edited": edited("_blocks/zarr.json", lambda d: d["attributes"]["steps"].update(d0=3)),
    "shape edited": edited("v0/zarr.json", lambda d: d["shape"].__setitem__(0, 4)),
    "type edited": edited("v1/zarr.json", lambda d: d.update(data_type="uint32")),
    "fill edited": edited("v1/zarr.json", lambda d: d.update(fill_value=1)),
    "setting edited": edited(
        "zarr.json", lambda d: d["attributes"]["settings"].update(beta=0.2)
    ),
    "copy of shape edited": edited(
        "zarr.json",
        lambda d: d["consolidated_metadata"]["metadata"]["v0"]["shape"].__setitem__(0, 4),
    ),
    "units edited": edited("v0/zarr.json", lambda d: d["attributes"].update(units="bit")),
    "JSON cut": lambda path: os.truncate(path / "v0/zarr.json", 40),
    "root JSON cut": lambda path: os.truncate(path / "zarr.json", 40),
    "root deleted": lambda path: (path / "zarr.json").unlink(),
    "variable deleted": lambda path: shutil.rmtree(path / "v0"),
    "coordinate deleted": lambda path: shutil.rmtree(path / "loss"),
    "coordinate's chunk deleted": lambda path: (path / "d0/c/0").unlink(),
    "coordinate flipped": flipped("d0/c/0"),
    "coordinate swapped": copied("d1/c/0", "d0/c/0"),
    "newer format": edited(
        "zarr.json", lambda d: d["attributes"].update(toymodel_sweep_format=2)
    ),
}  # fmt: skip
SEEN_BY_READING = {
    "chunk flipped": flipped("v0/c/1/0/0"),
    "last byte flipped": flipped("v0/c/1/0/0", -1),
    "chunk of another block": copied("v0/c/0/0/0", "v0/c/1/0/0"),
    "chunk of another variable": copied("v0/c/1/0/0", "v1/c/1/0/0"),
    "chunk of another variable, one byte": copied("flag/c/1/0", "status/c/1/0"),
    "commit of another block": copied("_blocks/commits/c/0/0/0", "_blocks/commits/c/1/0/0"),
}


def assert_teaches(error, path):
    assert str(path) in str(error.value)
    assert "To mend it: " in str(error.value)


@pytest.fixture
def copy(finished_store, path):
    shutil.copytree(finished_store, path)
    return path


@pytest.mark.parametrize("damage", SEEN_AT_ONCE.values(), ids=SEEN_AT_ONCE)
def test_damage_seen_when_opened(damage, copy):
    damage(copy)
    with pytest.raises(InputError) as error:
        Store.open(copy)
    assert_teaches(error, copy)


@pytest.mark.parametrize("damage", SEEN_BY_READING.values(), ids=SEEN_BY_READING)
def test_damage_seen_when_read(damage, copy):
    damage(copy)
    store = Store.open(copy)
    for read in (store.verify, lambda: store.read((1, 0))):
        with pytest.raises(InputError, match=r"block \(1, 0\)") as error:
            read()
        assert_teaches(error, copy)
    store.read((0, 0))  # the others are as they were


REPAIRABLE = {
    **{name: SEEN_AT_ONCE[name] for name in list(SEEN_AT_ONCE)[:7]},
    **SEEN_BY_READING,
}


@pytest.mark.parametrize("damage", REPAIRABLE.values(), ids=REPAIRABLE)
def test_repair(damage, copy):
    before = contents(copy)
    damage(copy)
    lost = Store.repair(copy)
    assert lost
    assert Store.open(copy).pending() == lost
    fill(Store.open(copy))
    assert contents(copy) == before


def test_a_moved_store_is_the_same(copy):
    elsewhere = copy.rename(copy.with_name("moved.zarr"))
    assert_complete(Store.open(elsewhere))


def test_the_manifest_names_every_file(copy):
    named = json.loads((copy / "_blocks/zarr.json").read_text())["attributes"]["files"]
    results_of = tuple(f"{name}/c/" for name in SMALL.variables)
    others = [name for name in contents(copy)[0] if not name.startswith(results_of)]
    others = [name for name in others if not name.startswith(skeleton.COMMITS + "/c/")]
    assert sorted([*named, "_blocks/zarr.json"]) == others
