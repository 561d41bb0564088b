"""What a stored sweep is besides its results: metadata, labels, empty commits; and their manifest.

Files of a store, one chunk a block, uncompressed, with a CRC-32C behind it::

    zarr.json                    settings, versions, a copy of the arrays' metadata
    <coordinate>/zarr.json, c/0  labels, written when the store is made
    <variable>/zarr.json, c/...  results: fill where nothing was computed
    _blocks/zarr.json            the blocks, and the SHA-256 of every file named above but results
    _blocks/commits/c/...        one file a block: digest, cells along each dimension when committed
    _blocks/commits/lock         held by the writer
    _blocks/commits/extension/   files of a larger skeleton that are to replace those above

An extension is a skeleton made aside, renamed into place (from then on it counts) and moved over
the store file by file; whatever is left of that is done when the store is opened next.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec

from toymodel._errors import refuse
from toymodel._version import __version__
from toymodel.sweeps import blocks, faults
from toymodel.sweeps.layout import Block, Coordinate, Layout, Variable

FORMAT = 1  # raised whenever the layout of a store changes
BOOKS = "_blocks"
COMMITS = f"{BOOKS}/commits"
LOCK = f"{COMMITS}/lock"
EXTENSION = f"{COMMITS}/extension"
_STAMP = "toymodel_sweep_format"
_CRC = 4  # bytes behind each chunk


def write(folder: Path, layout: Layout) -> None:
    """Write a store without results into a new folder.

    Args:
        folder: where nothing is.
        layout: of the sweep.

    Raises:
        InputError: a layout that cannot be stored.
    """
    _check(layout)
    stamp: dict[str, Any] = {_STAMP: FORMAT, "toymodel_version": __version__}
    others = [c for c in layout.coordinates if c not in {*layout.dims} and " " not in c]
    labels = {"coordinates": " ".join(others)} if others else {}  # as CF has it
    root = zarr.open_group(
        folder,
        mode="w-",
        zarr_format=3,
        attributes={**stamp, **labels, "settings": plain("settings", layout.settings)},
    )
    for name, label in layout.coordinates.items():
        values = label.values.astype(str) if label.values.dtype.kind == "O" else label.values
        whole = (max(1, len(values)),)
        made = _array(root, name, values.shape, whole, values.dtype, (label.dim,), label.attrs)
        made[...] = values
    for name, variable in layout.variables.items():
        dims, sizes = (*layout.dims, *variable.dims), layout.shape + variable.shape
        chunk = (*layout.steps.values(), *(max(1, size) for size in variable.shape))
        _array(root, name, sizes, chunk, variable.dtype, dims, variable.attrs)
    entry = 1 + len(layout.dims)
    commits = _array(
        root.create_group(BOOKS),
        COMMITS.removeprefix(f"{BOOKS}/"),
        (*layout.block_counts, entry),
        (*(1 for _ in layout.dims), entry),
        np.dtype("uint64"),
        (*(f"{dim}_block" for dim in layout.dims), "digest_and_cells"),
        {"long_name": "digest of a block and its cells when committed; 0 where it was not"},
    )
    commits[...] = np.zeros(commits.shape, "uint64")  # so that a lost file is seen
    _consolidate(folder)
    _sign(folder, layout)


def read(path: Path) -> Layout:
    """Check everything but results, and rebuild the layout.

    Args:
        path: of the store.

    Raises:
        InputError: nothing there, something else, another format, or metadata that were changed.
    """
    if not path.exists():
        raise refuse("path", str(path), "a stored sweep", "make one with Store.create")
    root = _document(path, "zarr.json") if is_store(path) or (path / BOOKS).is_dir() else {}
    stamp = root.get("attributes", {})
    if _STAMP not in stamp:
        mend = "name the folder of a sweep, or another path to make one there"
        raise refuse("path", str(path), "a stored sweep, which this is not", mend)
    if stamp[_STAMP] != FORMAT:
        version = stamp.get("toymodel_version", "unknown")
        raise refuse(
            "path",
            f"{path}, stored in format {stamp[_STAMP]} by toymodel {version}",
            f"format {FORMAT}, which toymodel {__version__} reads",
            f"install toymodel {version}, or run it again",
        )
    books = _document(path, f"{BOOKS}/zarr.json").get("attributes", {})
    if books.get("digest") != _sum(_json({**books, "digest": None})):
        raise faults.damaged(path, f"{BOOKS}/zarr.json was changed")
    for name, expected in books["files"].items():
        file = path / name
        if not file.is_file():
            raise faults.damaged(path, f"{name} is missing")
        if _sum(file.read_bytes()) != expected:
            raise faults.damaged(path, f"{name} was changed")
    try:
        return _layout(path, books, stamp["settings"])
    except Exception as error:  # the layers of Zarr raise many kinds
        raise faults.damaged(path, f"it cannot be read: {error}") from error


def check_files(path: Path, layout: Layout, entries: np.ndarray) -> None:
    """Check that every file of a committed block is there and has its size.

    Args:
        path: of the store.
        layout: of the sweep.
        entries: the commits.

    Raises:
        InputError: one that is lost or truncated, named.
    """
    for block in layout.blocks():
        check_commit(path, layout, block)
        if entries[block][0]:
            check_results(path, layout, block)


def check_commit(path: Path, layout: Layout, block: Block) -> None:
    """Check that a block's commit is there, and of the right size."""
    size = 8 * (1 + len(layout.dims))
    _check_file(path, COMMITS, block, 1, size, f"the commit of block {block}")


def check_results(path: Path, layout: Layout, block: Block) -> None:
    """Check that a block's results are there, and of the right size."""
    cells = math.prod(layout.steps.values())
    for name, variable in layout.variables.items():
        size = cells * math.prod(max(1, n) for n in variable.shape) * variable.dtype.itemsize
        what = f"variable {name!r} of block {block}"
        _check_file(path, name, block, len(variable.shape), size, what)


def is_store(path: Path) -> bool:
    """Whether `write` made it: a damaged one counts too, so that it can be replaced."""
    metadata = path / "zarr.json"
    return metadata.is_file() and _STAMP in metadata.read_text(errors="replace")


def plain(what: str, data: Any) -> Any:
    """Data as JSON gives them back: tuples as lists, NumPy's numbers as plain ones."""

    def listed(value: Any) -> Any:
        if isinstance(value, np.ndarray | np.generic):
            return value.tolist()
        if isinstance(value, Mapping):
            return dict(value)
        raise refuse(what, value, "numbers, text, and lists or mappings of them")

    return json.loads(json.dumps(data, default=listed))


def _check(layout: Layout) -> None:
    names = [*layout.coordinates, *layout.variables]
    for name in names:
        if names.count(name) > 1 or not name or "/" in name or name[0] == "." or name == BOOKS:
            raise refuse("layout", name, "names that occur once and can be those of folders")
    for name, label in layout.coordinates.items():
        texts = label.values.dtype.kind == "O" and all(isinstance(v, str) for v in label.values)
        if label.values.ndim != 1 or not (texts or label.values.dtype.kind in "biufU"):
            raise refuse(f"coordinate {name!r}", label.values, "a row of numbers or of text")
    for name, variable in layout.variables.items():
        if variable.dtype.kind not in "biuf":
            raise refuse(f"variable {name!r}", variable.dtype, "numbers or booleans")


def _array(
    group: zarr.Group,
    name: str,
    sizes: tuple[int, ...],
    chunk: tuple[int, ...],
    dtype: np.dtype,
    dims: tuple[str, ...],
    attrs: Mapping[str, Any],
) -> zarr.Array:
    text = dtype.kind == "U"  # of variable length: Zarr has no stable form of the fixed one
    own = Variable((), (), dtype, {})
    return group.create_array(
        name,
        shape=sizes,
        chunks=chunk,
        dtype=str if text else dtype.newbyteorder("<"),
        fill_value="" if text else blocks.fill(own),
        filters=None,
        compressors=[Crc32cCodec()],
        dimension_names=dims,
        attributes=plain(name, attrs),
        config={"write_empty_chunks": True},  # so that a lost chunk is seen
    )


def _consolidate(folder: Path) -> None:
    """Copy the arrays' metadata to the root, where readers look first (xarray warns without)."""
    arrays = sorted(file for file in folder.glob("*/zarr.json") if file.parent.name != BOOKS)
    copies = {file.parent.name: json.loads(file.read_text()) for file in arrays}
    root = _document(folder, "zarr.json")
    root["consolidated_metadata"] = {
        "kind": "inline",
        "must_understand": False,
        "metadata": copies,
    }
    (folder / "zarr.json").write_text(json.dumps(root, indent=2))


def _sign(folder: Path, layout: Layout) -> None:
    """Write down the blocks and the digest of every file but results and commits."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    names = sorted(file.relative_to(folder).as_posix() for file in files)
    books = {
        "sizes": dict(layout.sizes),
        "steps": dict(layout.steps),
        "coordinates": list(layout.coordinates),
        "variables": list(layout.variables),
        "files": {
            name: _sum((folder / name).read_bytes())
            for name in names
            if name != f"{BOOKS}/zarr.json" and not name.startswith(f"{COMMITS}/c/")
        },
    }
    document = _document(folder, f"{BOOKS}/zarr.json")
    document["attributes"] = {**books, "digest": _sum(_json({**books, "digest": None}))}
    (folder / BOOKS / "zarr.json").write_text(json.dumps(document, indent=2))


def _layout(path: Path, books: Mapping[str, Any], settings: Mapping[str, Any]) -> Layout:
    root = zarr.open_group(path, mode="r", zarr_format=3)
    coordinates, variables = {}, {}
    for name in books["coordinates"]:
        array: Any = root[name]
        values = np.asarray(array[...])
        texts = values.dtype.kind not in "biuf"
        values = np.array(values.tolist(), dtype=str) if texts else values
        coordinates[name] = Coordinate(array.metadata.dimension_names[0], values, dict(array.attrs))
    cells = len(books["sizes"])
    for name in books["variables"]:
        array = root[name]
        dims, sizes = array.metadata.dimension_names, array.shape
        variables[name] = Variable(dims[cells:], sizes[cells:], array.dtype, dict(array.attrs))
    return Layout(books["sizes"], books["steps"], coordinates, variables, settings)


def _check_file(path: Path, name: str, block: Block, own: int, size: int, what: str) -> None:
    file = "/".join([name, "c", *map(str, block), *("0" for _ in range(own))])
    try:
        found = (path / file).stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        raise faults.damaged(path, f"{what} is missing: {file}") from None
    if found != size + _CRC:
        raise faults.damaged(path, f"{what} has {found} bytes, not {size + _CRC}: {file}")


def _document(path: Path, name: str) -> dict[str, Any]:
    try:
        document = json.loads((path / name).read_text())
    except (OSError, ValueError) as error:
        raise faults.damaged(path, f"{name} cannot be read: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("attributes", {}), dict):
        raise faults.damaged(path, f"{name} holds something else")
    return document


def _json(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data, sort_keys=True).encode()


def _sum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
