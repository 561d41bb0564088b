"""A sweep on disk: a Zarr store written block by block, killed at any instant and resumed.

The protocol:

- One process holds the lock (`Store.locked`) and hands out the blocks of `Store.pending`.
- Any process writes a block: each of its chunks is a file of its own, written aside and renamed, so
  a chunk is old or new, never half. `Store.write` gives back the block's digest.
- The holder of the lock commits it: one small file, renamed, with the digest and the cells that it
  covers. Only that makes the block count; one that was written and not committed is written again.
- `Store.extend` appends to coordinates. Commits stay as they are, so a block that grew is pending
  again, and what it covered before is finished. See `toymodel.sweeps.skeleton` for how.
- `Store.open` checks metadata against their digests and that committed blocks have their files;
  reading checks every chunk's CRC-32C; `Store.read` and `Store.verify` check blocks' digests.

Results survive the death of processes at any instant. Files are not forced to the disk, so after
a power cut a committed block may lack its data: opening or `Store.verify` says so, and
`Store.repair` marks it to be computed again.
"""

import contextlib
import functools
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from tqdm import tqdm

from toymodel._errors import InputError, refuse
from toymodel.sweeps import blocks, faults, lock, skeleton, upkeep
from toymodel.sweeps.blocks import Progress
from toymodel.sweeps.layout import Block, Layout


class Store:
    """A stored sweep. Make one with `Store.create` or `Store.open`; it can be sent to workers.

    Args:
        path: the folder.
        layout: of the sweep.
    """

    def __init__(self, path: Path, layout: Layout) -> None:
        self.path = path
        self.layout = layout
        self._locked_by: int | None = None  # this process, while it holds the lock

    @classmethod
    def create(cls, path: str | Path, layout: Layout, *, overwrite: bool = False) -> "Store":
        """Make a store without results, whole or not at all.

        Args:
            path: the folder to make.
            layout: of the sweep.
            overwrite: replace a stored sweep that is there.

        Raises:
            InputError: something is there already, or the folder cannot be written.
        """
        target = Path(path).absolute()
        there = os.path.lexists(target)
        if there and not overwrite:
            raise refuse("path", str(target), "a path where nothing is", "pass overwrite=True")
        if there and not skeleton.is_store(target):
            mend = "choose another path"
            raise refuse("path", str(target), "a stored sweep to overwrite; this is none", mend)
        partial, replaced = (_beside(target, end) for end in ("partial", "replaced"))
        with contextlib.ExitStack() as stack:
            if there and (target / skeleton.COMMITS).is_dir():
                stack.enter_context(lock.exclusive(target / skeleton.LOCK, target))
            try:
                with faults.writing(target):
                    target.parent.mkdir(parents=True, exist_ok=True)
                    skeleton.write(partial, layout)
                    if there:
                        target.rename(replaced)
                    partial.rename(target)
            finally:  # nothing half-made is left, whatever happened (Ctrl-C included)
                shutil.rmtree(partial, ignore_errors=True)
                if replaced.exists() and not target.exists():
                    replaced.rename(target)
                shutil.rmtree(replaced, ignore_errors=True)
        return cls(target, skeleton.read(target))

    @classmethod
    def open(cls, path: str | Path) -> "Store":
        """Open a store, check it, and complete an extension that was cut off.

        Args:
            path: the folder.

        Raises:
            InputError: nothing there, something else, another format, or damaged.
        """
        store = cls._unchecked(path)
        skeleton.check_files(store.path, store.layout, store._entries())
        return store

    @classmethod
    def repair(cls, path: str | Path) -> list[Block]:
        """Mark blocks with damaged results or commits as pending, so that they are computed again.

        Args:
            path: the folder, whose metadata are whole.

        Returns:
            The blocks.

        Raises:
            InputError: somebody writes it, or what is damaged is more than results.
        """
        store = cls._unchecked(path)
        lost = []
        with store.locked():
            for block in store.layout.blocks():
                try:
                    skeleton.check_commit(store.path, store.layout, block)
                    done = store._done(block)
                    if done is not None:
                        skeleton.check_results(store.path, store.layout, block)
                        store._proven(block)
                except InputError:
                    lost.append(block)
                    with faults.writing(store.path):
                        store._commits[block] = np.zeros(store._commits.shape[-1], "uint64")
        return lost

    @classmethod
    def _unchecked(cls, path: str | Path) -> "Store":
        target = Path(path).absolute()
        if (target / skeleton.EXTENSION).is_dir():
            with lock.exclusive(target / skeleton.LOCK, target), faults.writing(target):
                upkeep.complete(target)
        return cls(target, skeleton.read(target))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only writer: needed to commit and to extend.

        Files that killed writers left behind are deleted.

        Raises:
            InputError: another holds the lock; or the store was extended since it was opened.
        """
        with lock.exclusive(self.path / skeleton.LOCK, self.path):
            with faults.writing(self.path):
                upkeep.complete(self.path)
                upkeep.tidy(self.path)
            if skeleton.read(self.path).sizes != self.layout.sizes:
                raise refuse(
                    "path", str(self.path), "a store as it was opened", "open it again: it grew"
                )
            self._locked_by = os.getpid()
            try:
                yield
            finally:
                self._locked_by = None

    def pending(self) -> list[Block]:
        """Blocks not committed, or grown since, in order."""
        entries = self._entries()
        return [
            block
            for block in self.layout.blocks()
            if tuple(entries[block][1:]) != blocks.shape(self.layout, block)
            or not entries[block][0]
        ]

    def finished(self, block: Block) -> np.ndarray:
        """Which cells of a block are committed, ``[*cells]``."""
        mask = np.zeros(blocks.shape(self.layout, block), dtype=bool)
        done = self._done(block)
        if done is not None:
            mask[blocks.corner(done)] = True
        return mask

    def write(
        self, block: Block, arrays: Mapping[str, np.ndarray], computed: np.ndarray | None = None
    ) -> int:
        """Write a block's results; finished cells keep theirs. Any process and thread may.

        Args:
            block: its place.
            arrays: variable -> values, ``[*cells, *own]``.
            computed: cells for which `arrays` has results, ``[*cells]``; all, if not given.

        Returns:
            The digest to commit.

        Raises:
            InputError: arrays that do not fit, damaged old cells, or no room on the disk.
        """
        done = self._done(block)
        kept = {} if done is None else self._proven(block)
        nothing = (0,) * len(self.layout.dims)
        values = blocks.merge(self.layout, block, arrays, computed, done or nothing, kept)
        if done != blocks.shape(self.layout, block):  # what is committed stays as it is
            cells = self._cells(block, blocks.shape(self.layout, block))
            with faults.writing(self.path):
                for name, array in values.items():
                    self._arrays[name][cells] = array
        return blocks.digest(values)

    def commit(self, block: Block, digest: int) -> None:
        """Make a written block count as done.

        Args:
            block: its place.
            digest: what `write` gave.

        Raises:
            InputError: the lock is not held, or the block was not written.
        """
        if self._locked_by != os.getpid():
            mend = "write with store.locked(): around it"
            raise refuse("commit", block, "a store locked by this process", mend)
        if not 0 < digest < 2**64:
            raise refuse(f"digest of block {block}", digest, "what write gave")
        cells = blocks.shape(self.layout, block)
        skeleton.check_results(self.path, self.layout, block)
        with faults.writing(self.path):
            self._commits[block] = np.array([digest, *cells], dtype="uint64")

    def read(self, block: Block) -> dict[str, np.ndarray]:
        """A block's results, ``[*cells, *own]``; fill in cells that are not finished.

        Raises:
            InputError: damaged results.
        """
        cells = blocks.shape(self.layout, block)
        done = self._done(block)
        values = {
            name: np.full(cells + variable.shape, blocks.fill(variable), variable.dtype)
            for name, variable in self.layout.variables.items()
        }
        if done is not None:
            for name, kept in self._proven(block).items():
                values[name][blocks.corner(done)] = kept
        return values

    def extend(self, layout: Layout) -> None:
        """Append to coordinates; finished cells stay finished.

        Args:
            layout: as the old one, with values behind those of some coordinates.

        Raises:
            InputError: other changes than that, named; somebody else writes it; or no room.
        """
        upkeep.check_extension(self.layout, layout)
        with contextlib.ExitStack() as stack:
            if self._locked_by != os.getpid():
                stack.enter_context(self.locked())
            made = self.path / skeleton.COMMITS / f"{uuid.uuid4().hex}.partial"
            with faults.writing(self.path):
                try:
                    skeleton.write(made, layout)
                    made.rename(self.path / skeleton.EXTENSION)
                finally:
                    shutil.rmtree(made, ignore_errors=True)
                upkeep.complete(self.path)
            self.layout = skeleton.read(self.path)
            self._forget()

    def verify(self, progress: bool = False) -> None:
        """Check every committed block against its digest: reads everything.

        Args:
            progress: show a bar.

        Raises:
            InputError: the first damage, with its block, and its variable where that can be told.
        """
        entries = self._entries()
        skeleton.check_files(self.path, self.layout, entries)
        committed = [block for block in self.layout.blocks() if entries[block][0]]
        for block in tqdm(committed, desc="verify", unit="block", disable=not progress):
            self._proven(block)

    def dataset(self) -> xr.Dataset:
        """The results, labelled and read when they are used; fill where nothing was computed.

        Cells of pending blocks may hold results that are not committed.
        """
        opened: xr.Dataset = xr.open_zarr(self.path, chunks=None, decode_timedelta=False)
        labels = {
            name: (label.dim, label.values, dict(label.attrs))
            for name, label in self.layout.coordinates.items()
        }
        results: xr.Dataset = opened[list(self.layout.variables)]
        return results.assign_coords(labels)

    def progress(self) -> Progress:
        """How far the sweep is."""
        layout, entries = self.layout, self._entries()
        done = np.zeros(layout.shape, dtype=bool)
        for block in layout.blocks():
            if entries[block][0]:
                done[self._cells(block, entries[block][1:].tolist())] = True
        values = np.array([], int)
        if "status" in layout.variables:
            with faults.reading(self.path, "variable 'status'"):
                values = np.asarray(self._arrays["status"][...])[done]
        return blocks.summed(layout, done, len(self.pending()), values)

    # What is on disk -----------------------------------------------------------------------------

    @functools.cached_property
    def _root(self) -> zarr.Group:
        return zarr.open_group(self.path, mode="r+", zarr_format=3, use_consolidated=False)

    @functools.cached_property
    def _arrays(self) -> dict[str, Any]:
        config = {"write_empty_chunks": True}  # so that a lost chunk is seen
        return {name: self._array(name).with_config(config) for name in self.layout.variables}

    @functools.cached_property
    def _commits(self) -> Any:
        return self._array(skeleton.COMMITS).with_config({"write_empty_chunks": True})

    def _array(self, name: str) -> Any:
        return self._root[name]

    def _forget(self) -> None:
        for name in ("_root", "_arrays", "_commits"):
            self.__dict__.pop(name, None)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "layout": self.layout, "_locked_by": None}

    def _entries(self) -> np.ndarray:
        with faults.reading(self.path, "a commit"):
            return np.asarray(self._commits[...])

    def _entry(self, block: Block) -> np.ndarray:
        blocks.shape(self.layout, block)  # refuses a block that is none
        with faults.reading(self.path, f"the commit of block {block}"):
            return np.asarray(self._commits[block])

    def _done(self, block: Block) -> tuple[int, ...] | None:
        """Cells along each dimension when the block was committed; None if it was not."""
        digest, *cells = self._entry(block).tolist()
        return tuple(cells) if digest else None

    def _cells(self, block: Block, counts: Sequence[int]) -> tuple[slice, ...]:
        """The first cells of a block along each dimension."""
        starts = [part.start for part in self.layout.region(block).values()]
        return tuple(slice(at, at + n) for at, n in zip(starts, counts, strict=True))

    def _proven(self, block: Block) -> dict[str, np.ndarray]:
        """The committed results of a block, if they have its digest."""
        digest, *done = self._entry(block).tolist()
        region = self.layout.region(block).values()
        cells = tuple(
            slice(part.start, part.start + n) for part, n in zip(region, done, strict=True)
        )
        values = {}
        for name, array in self._arrays.items():
            with faults.reading(self.path, f"variable {name!r} of block {block}"):
                values[name] = np.asarray(array[cells])
        if blocks.digest(values) != digest:
            raise faults.damaged(self.path, f"results of block {block} have another digest")
        return values


def _beside(target: Path, end: str) -> Path:
    return target.with_name(f"{target.name}.{uuid.uuid4().hex}.{end}")
