"""Read preference pairs and questions from a file, a folder or the hub, strictly or row by row."""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from toymodel._errors import InputError, unknown, whole
from toymodel.llm.data.files import Record, records
from toymodel.llm.data.hub import hub_records, is_hub_name
from toymodel.llm.data.pairs import Row, Unusable
from toymodel.llm.data.schemas import PAIRS, QUESTIONS, PairSchema, Question


@dataclasses.dataclass(frozen=True)
class ReadPair:
    """A record of preference data as it was read.

    Args:
        place: file and line.
        fields: all columns of the record.
        row: ``prompt``, ``chosen`` and ``rejected``; None where there is a problem.
        problem: why the record is no pair.
    """

    place: str
    fields: Mapping[str, Any]
    row: Row | None = None
    problem: str | None = None


def load_pairs(
    path: str | Path,
    schema: str = "pairs",
    split: str = "train",
    *,
    limit: int | None = None,
    local_files_only: bool = False,
) -> list[Row]:
    """Preference pairs as `toymodel.llm.tokenise` and TRL take them; a bad row is refused.

    Args:
        path: a file (JSONL, JSON, CSV, parquet; gzipped as well), a folder of files, or a name on
            the hub, ``owner/name`` or ``owner/name:configuration``.
        schema: how rows are written: ``pairs``, ``hh_rlhf`` or ``ultrafeedback``.
        split: of a folder or a set of the hub.
        limit: rows at most, the first ones.
        local_files_only: never ask the hub.

    Returns:
        Rows with ``prompt``, ``chosen`` and ``rejected``.

    Raises:
        InputError: no such data, another schema, or a row that is no pair, with its line.
    """
    found = read_pairs(path, schema, split, limit=limit, local_files_only=local_files_only)
    return [_row(pair) for pair in found]


def read_pairs(
    path: str | Path,
    schema: str = "pairs",
    split: str = "train",
    *,
    limit: int | None = None,
    local_files_only: bool = False,
) -> Iterator[ReadPair]:
    """The same, row by row, with what is wrong with a row instead of an error.

    Args:
        path: as in `load_pairs`.
        schema: as in `load_pairs`.
        split: as in `load_pairs`.
        limit: as in `load_pairs`.
        local_files_only: as in `load_pairs`.

    Raises:
        InputError: no such data, another schema, or a file that is broken.
    """
    if schema in QUESTIONS:
        expected = f"a schema of pairs: {', '.join(PAIRS)}"
        raise InputError(
            f"schema: got {schema!r}, whose rows are questions with one answer, expected "
            f"{expected}. To mend it: toymodel.llm.data.load_questions reads them, and "
            "pair_of makes pairs of a model's answers to them."
        )
    found = _of(PAIRS, schema)
    for record in _records(path, found, split, limit, local_files_only):
        yield _read(record, found)


def load_questions(
    path: str | Path,
    schema: str,
    split: str = "train",
    *,
    limit: int | None = None,
    local_files_only: bool = False,
) -> list[Question]:
    """Questions whose final answers can be checked; a bad row is refused.

    Args:
        path: as in `load_pairs`.
        schema: ``gsm8k`` or ``math``.
        split: as in `load_pairs`.
        limit: as in `load_pairs`.
        local_files_only: as in `load_pairs`.

    Raises:
        InputError: no such data, another schema, or a row that is no question, with its line.
    """
    found = _of(QUESTIONS, schema)
    questions = []
    for record in _records(path, None, split, limit, local_files_only):
        if record.problem is not None:
            raise _refused(record.place, record.problem)
        try:
            questions.append(found.question(record.fields))
        except Unusable as error:
            raise _refused(record.place, str(error)) from None
    return questions


def _records(
    path: str | Path,
    schema: PairSchema | None,
    split: str,
    limit: int | None,
    local_files_only: bool,
) -> Iterator[Record]:
    if limit is not None:
        whole("limit", limit, 1)
    part = split if schema is None else schema.splits.get(split, split)
    if is_hub_name(path):
        found = hub_records(str(path), part, local_files_only=local_files_only)
    else:
        found = records(path, part)
    return itertools.islice(found, limit)


def _of(schemas: Mapping[str, Any], name: str) -> Any:
    if name not in schemas:
        raise unknown("schema", name, schemas)
    return schemas[name]


def _read(record: Record, schema: PairSchema) -> ReadPair:
    if record.problem is not None:
        return ReadPair(record.place, record.fields, problem=record.problem)
    try:
        return ReadPair(record.place, record.fields, row=schema.pair(record.fields))
    except Unusable as error:
        return ReadPair(record.place, record.fields, problem=str(error))


def _row(pair: ReadPair) -> Row:
    if pair.row is None:
        raise _refused(pair.place, str(pair.problem))
    return pair.row


def _refused(place: str, problem: str) -> InputError:
    return InputError(f"{place}: {problem}. To mend it: repair or remove the row.")
