"""Datasets on disk: a Zarr store written in one piece, with a checksum that shows damage."""

import hashlib
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import xarray as xr

from toymodel._errors import InputError, refuse
from toymodel._version import __version__

FORMAT = 1  # raised whenever the layout of a saved run changes


def write(dataset: xr.Dataset, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write a dataset as a Zarr store, whole or not at all.

    Args:
        dataset: what to write; attributes must be numbers or text.
        path: the folder to make, such as ``runs/first.zarr``.
        overwrite: replace a saved run that is there.

    Returns:
        The path.

    Raises:
        InputError: something is there already, or the folder cannot be written.
    """
    target = Path(path)
    if target.exists() and not overwrite:
        raise refuse("path", str(target), "a path where nothing is", "pass overwrite=True")
    if target.exists() and not _is_store(target):
        raise refuse("path", str(target), "a saved run to overwrite; this is something else")
    stamp = {"toymodel_version": __version__, "toymodel_format": FORMAT}
    stamped = dataset.assign_attrs(stamp)
    stamped.attrs["digest"] = _digest(stamped)
    partial, replaced = (target.with_name(target.name + end) for end in (".partial", ".replaced"))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        stamped.to_zarr(partial, mode="w", consolidated=False)
        if target.exists():
            target.rename(replaced)
        partial.rename(target)
        shutil.rmtree(replaced, ignore_errors=True)
    except OSError as error:
        raise InputError(
            f"path: cannot write {str(target)!r} ({error}), expected a folder that can be written. "
            "To mend it: choose another path, or change its permissions."
        ) from error
    finally:  # nothing half-written is left, whatever happened (Ctrl-C included)
        shutil.rmtree(partial, ignore_errors=True)
        if replaced.exists() and not target.exists():
            replaced.rename(target)
    return target


def read(path: str | Path) -> xr.Dataset:
    """Read a dataset that `write` wrote, and check that it is whole.

    Args:
        path: the Zarr folder.

    Raises:
        InputError: nothing there, not a saved run, another format, or damaged data.
    """
    source = Path(path)
    if not source.exists():
        raise refuse("path", str(source), "a run written by Trajectory.save")
    try:
        with xr.open_zarr(source, consolidated=False) as lazy:
            dataset: xr.Dataset = lazy.load()
    except Exception as error:  # the layers of Zarr raise many kinds for a broken store
        raise _damaged(source, f"it cannot be read: {error}") from error
    written = dataset.attrs.get("toymodel_format")
    if written is None:
        raise refuse("path", str(source), "a run written by Trajectory.save, which this is not")
    if written != FORMAT:
        version = dataset.attrs.get("toymodel_version", "unknown")
        raise refuse(
            "path",
            f"{source}, saved in format {written} by toymodel {version}",
            f"format {FORMAT}, which toymodel {__version__} reads",
            f"install toymodel {version}, or run it again",
        )
    if dataset.attrs.get("digest") != _digest(dataset):
        raise _damaged(source, "its contents do not match their checksum")
    return dataset


def writable_folder(out: str | Path) -> Path:
    """The folder, made if need be; refused before any work where nothing can be written."""
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder, prefix=".toymodel-probe-"):
            pass
    except OSError as error:
        raise InputError(
            f"out: cannot write into {str(folder)!r} ({error}), expected a folder that can be "
            "written. To mend it: choose another with --out, or change its permissions."
        ) from error
    return folder


def _is_store(path: Path) -> bool:
    """Whether `write` made it: a damaged one counts too, so that it can be replaced."""
    metadata = path / "zarr.json"
    return metadata.is_file() and "toymodel_format" in metadata.read_text(errors="replace")


def _damaged(source: Path, why: str) -> InputError:
    return InputError(
        f"path: {str(source)!r} is damaged or truncated ({why}), expected a whole saved run. "
        "To mend it: copy it again, or run it again."
    )


def _digest(dataset: xr.Dataset) -> str:
    """SHA-256 over names, types, shapes, bytes and settings: lost chunks read back as fill."""
    state = hashlib.sha256()
    settings = {key: value for key, value in dataset.attrs.items() if key != "digest"}
    state.update(json.dumps(settings, sort_keys=True).encode())
    for name in sorted(map(str, dataset.variables)):
        values = np.ascontiguousarray(dataset[name].values)
        state.update(f"{name} {values.dtype.str} {values.shape}".encode())
        state.update(values.tobytes())
    return state.hexdigest()
