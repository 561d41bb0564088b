"""What a store needs besides reading and writing: tidying up, and growing."""

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from toymodel._errors import refuse
from toymodel.sweeps.layout import Layout
from toymodel.sweeps.skeleton import COMMITS, EXTENSION, plain


def complete(path: Path) -> None:
    """Move what is left of an extension over the store; doing it twice does no harm.

    Args:
        path: of the store, which this process has locked.
    """
    extension = path / EXTENSION
    for source in sorted(extension.rglob("*")):
        if source.is_dir():
            continue
        name = source.relative_to(extension)
        target = path / name
        if name.is_relative_to(f"{COMMITS}/c") and target.exists():
            continue  # blocks keep their commits
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(source, target)
    shutil.rmtree(extension, ignore_errors=True)


def tidy(path: Path) -> None:
    """Delete what killed writers left beside and in a store, which this process has locked."""
    beside = re.compile(re.escape(path.name) + r"\.[0-9a-f]{32}\.(partial|replaced)")
    inside = re.compile(r"(.*\.)?[0-9a-f]{32}\.partial")  # Zarr's and those of extensions
    left = [file for file in path.parent.iterdir() if beside.fullmatch(file.name)]
    for folder, folders, files in os.walk(path):
        left += [Path(folder, name) for name in (*folders, *files) if inside.fullmatch(name)]
    for file in left:
        if file.is_dir():
            shutil.rmtree(file, ignore_errors=True)
        else:
            file.unlink(missing_ok=True)


def check_extension(old: Layout, new: Layout) -> None:
    """Check that a layout only appends to another.

    Raises:
        InputError: the first other change, named.
    """
    mend = "sweep into another store"
    for what, ours, theirs in (
        ("dimensions", old.dims, new.dims),
        ("steps", dict(old.steps), dict(new.steps)),
        ("variables", _described(old), _described(new)),
        ("coordinates", set(old.coordinates), set(new.coordinates)),
    ):
        if ours != theirs:
            raise refuse(what, theirs, f"those of the store, {ours}", mend)
    for dim in old.dims:
        if new.sizes[dim] < old.sizes[dim]:
            raise refuse(f"dimension {dim!r}", new.sizes[dim], f">= {old.sizes[dim]}", mend)
    for name, label in old.coordinates.items():
        values = new.coordinates[name].values
        start = values[: len(label.values)] if label.dim in old.dims else values
        same = start.shape == label.values.shape and all(
            ours == theirs or (ours != ours and theirs != theirs)  # NaN is NaN
            for ours, theirs in zip(label.values.tolist(), start.tolist(), strict=True)
        )
        if new.coordinates[name].dim != label.dim or not same:
            wanted = f"the store's values, {label.values.tolist()}, and more behind them"
            raise refuse(f"coordinate {name!r}", values.tolist(), wanted, mend)


def _described(layout: Layout) -> Mapping[str, Any]:
    return {
        name: (v.dims, v.shape, v.dtype.str, plain(name, v.attrs))
        for name, v in layout.variables.items()
    }
