"""Records of data files: JSONL, JSON, CSV and parquet, also gzipped, alone or in folders."""

import csv
import dataclasses
import gzip
import io
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from toymodel._errors import InputError, refuse
from toymodel.llm.extra import need

_KINDS = (".jsonl", ".json", ".csv", ".parquet")
_EXPECTED = f"a file ({', '.join(_KINDS)}; .gz as well), a folder of such files"
_SPLIT = re.compile(r"(train|test|valid|validation|dev|eval)(_\w+)?")


@dataclasses.dataclass(frozen=True)
class Record:
    """One row of a data file, or what is wrong with it.

    Args:
        place: file and line, such as ``pairs.jsonl:3``; in parquet and JSON the row, from 1.
        fields: column -> value; empty where the row cannot be read.
        problem: why it cannot.
    """

    place: str
    fields: Mapping[str, Any]
    problem: str | None = None


def records(path: str | Path, split: str = "train") -> Iterator[Record]:
    """The records of a file, or of a folder's files one after the other.

    A line of JSONL that is no JSON object becomes a record with a problem; files of other kinds
    are read whole or refused.

    Args:
        path: of the file or folder.
        split: of a folder: its subfolder of that name, or the files that are named after it; where
            no file is named after any split, all files.

    Raises:
        InputError: no such file, another kind, no records, or a broken file.
    """
    place = Path(path)
    if not place.exists():
        raise refuse("data", str(place), f"{_EXPECTED}; nothing is there")
    files = _files(place, split) if place.is_dir() else [place]
    found = False
    for file in files:
        name = str(file.relative_to(place)) if place.is_dir() else file.name
        for record in _READERS[_kind(file)](file, name):
            found = True
            yield record
    if not found:
        raise refuse("data", str(place), "records; there are none")


def _kind(file: Path) -> str:
    kind = Path(file.stem).suffix if file.suffix == ".gz" else file.suffix
    if kind not in _KINDS:
        raise refuse("data", str(file), _EXPECTED, "give the file an ending that says its kind")
    return kind


def _files(folder: Path, split: str) -> list[Path]:
    inner = folder / split
    inside = (inner if inner.is_dir() else folder).rglob("*")
    files = sorted(x for x in inside if x.is_file() and x.name.removesuffix(".gz").endswith(_KINDS))
    if not inner.is_dir():
        splits = {file: _named_after(file.relative_to(folder)) for file in files}
        if any(splits.values()):
            files = [file for file in files if split in splits[file]]
    if not files:
        raise refuse(
            "data",
            f"folder {folder} and split {split!r}",
            f"files ({', '.join(_KINDS)}) in a subfolder {split}, or named after the split",
            "name the file, or another split",
        )
    return files


def _named_after(path: Path) -> set[str]:
    """The splits in a name such as ``default/train-00000-of-00001.parquet``."""
    words = (re.split(r"[-.]", part)[0] for part in path.parts)
    return {word for word in words if _SPLIT.fullmatch(word)}


def _text(file: Path) -> str:
    try:
        raw = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        return raw.decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InputError(f"data: {file} cannot be read ({error}), expected {_EXPECTED}.") from error


def _jsonl(file: Path, name: str) -> Iterator[Record]:
    for number, line in enumerate(_text(file).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            yield Record(f"{name}:{number}", {}, f"no JSON ({error})")
            continue
        yield _record(f"{name}:{number}", row)


def _json(file: Path, name: str) -> Iterator[Record]:
    text = _text(file)
    try:
        whole = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":  # JSON lines under another ending
            yield from _jsonl(file, name)
            return
        raise InputError(
            f"data: {file} is broken or truncated at line {error.lineno}, column {error.colno} "
            f"({error.msg}), expected a JSON list of objects. To mend it: copy it again."
        ) from None
    if isinstance(whole, dict):  # MATH: a file for each problem
        yield _record(name, whole)
        return
    if not isinstance(whole, list):
        raise refuse("data", f"{file} with a {type(whole).__name__}", "a list of objects")
    for number, row in enumerate(whole, 1):
        yield _record(f"{name}:{number}", row)


def _csv(file: Path, name: str) -> Iterator[Record]:
    reader = csv.DictReader(io.StringIO(_text(file), newline=""))
    try:
        for row in reader:
            extra = None in row or None in row.values()
            problem = "another number of columns than the first line" if extra else None
            yield Record(f"{name}:{reader.line_num}", {} if extra else dict(row), problem)
    except csv.Error as error:
        raise InputError(f"data: {file}, line {reader.line_num}: {error}, expected CSV.") from None


def _parquet(file: Path, name: str) -> Iterator[Record]:
    need("pyarrow")
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        for batch in pyarrow.parquet.ParquetFile(file).iter_batches(1024):
            for row in batch.to_pylist():
                number += 1
                yield Record(f"{name}:{number}", row)
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(
            f"data: {file} is broken or truncated ({error}), expected parquet. To mend it: copy it "
            "again."
        ) from None


def _record(place: str, row: Any) -> Record:
    if isinstance(row, dict):
        return Record(place, row)
    return Record(place, {}, f"a {type(row).__name__}, where an object with columns should be")


_READERS = {".jsonl": _jsonl, ".json": _json, ".csv": _csv, ".parquet": _parquet}
