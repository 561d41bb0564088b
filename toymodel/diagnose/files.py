"""Find a log and read its records: Transformers' JSON, JSONL or CSV."""

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

from toymodel._errors import InputError, refuse

STATE = "trainer_state.json"
WATCHED = "properties.jsonl"  # what toymodel's callback writes
_KINDS = (".json", ".jsonl", ".csv")
_EXPECTED = "a trainer_state.json, a .jsonl or .csv log, or a folder with one"

Record = dict[str, Any]


def find(path: str | Path) -> Path:
    """The log that a path names: itself, or the newest one in a folder.

    What toymodel's callback wrote comes first: its pairs stay the same. Else a folder's own
    ``trainer_state.json`` and those of its ``checkpoint-N`` folders compete, and the one that was
    trained longest wins; without any, the folder's only .jsonl or .csv file is taken.

    Args:
        path: a file or a folder.

    Raises:
        InputError: nothing there, or a folder without a log, or with several.
    """
    place = Path(path)
    if not place.exists():
        raise refuse("log", str(place), f"{_EXPECTED}; nothing is there")
    if not place.is_dir():
        return place
    if (place / WATCHED).exists():
        return place / WATCHED
    if (state := state_in(place)) is not None:
        return state
    others = sorted(x for x in place.iterdir() if x.suffix in _KINDS[1:])
    if len(others) == 1:
        return others[0]
    if others:
        names = ", ".join(x.name for x in others)
        raise refuse("log", str(place), f"one log; the folder has {names}", "name the file")
    raise refuse("log", str(place), f"{_EXPECTED}; the folder has none")


def state_in(folder: Path) -> Path | None:
    """The trainer state of a folder that was trained longest, its checkpoints' included."""
    checkpoints = sorted(folder.glob(f"checkpoint-*/{STATE}"), key=_checkpoint_step)
    states = [*checkpoints[-1:], *([folder / STATE] if (folder / STATE).exists() else [])]
    return max(states, key=_trained_steps, default=None)  # the later of two equals is a copy


def records(path: Path) -> tuple[list[Record], dict[str, Any], list[str]]:
    """The records of a log file, in its order.

    Args:
        path: the file.

    Returns:
        The records; what the file says beside them (Transformers' trainer state); notes.

    Raises:
        InputError: no text, no records, or broken JSON (which says where).
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (UnicodeDecodeError, OSError) as error:
        raise InputError(
            f"log: cannot read {str(path)!r} ({error}), expected {_EXPECTED}."
        ) from error
    if not text.strip():
        raise refuse(
            "log", str(path), "records; the file is empty", "wait until training has logged"
        )
    if path.suffix == ".csv":
        return _csv(path, text), {}, []
    if path.suffix != ".jsonl":
        whole = _whole_json(path, text)
        if whole is not None:
            return whole
    return _lines(path, text)


def _whole_json(path: Path, text: str) -> tuple[list[Record], dict[str, Any], list[str]] | None:
    """One JSON document: trainer state, or a list of records; None where lines are documents."""
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            return None
        where = f"byte {len(text[: error.pos].encode())}, line {error.lineno}"
        raise InputError(
            f"log: {str(path)!r} breaks off or is damaged at {where} ({error.msg}), expected "
            "whole JSON. To mend it: copy it again, or take an older checkpoint's."
        ) from error
    history = document.get("log_history") if isinstance(document, dict) else document
    if history is None:
        return None
    if not isinstance(history, list) or not all(isinstance(x, dict) for x in history):
        raise refuse("log", str(path), "a list of records, each a dictionary")
    if not history:
        raise refuse("log", str(path), "records; its log_history is empty", "lower logging_steps")
    state = (
        {k: v for k, v in document.items() if k != "log_history"} if history is not document else {}
    )
    return history, state, []


def _lines(path: Path, text: str) -> tuple[list[Record], dict[str, Any], list[str]]:
    """A record a line. A torn last line is what a running or killed run leaves."""
    found: list[Record] = []
    notes: list[str] = []
    lines = text.split("\n")  # texts may have other ends of lines in them
    last = max(number for number, line in enumerate(lines, 1) if line.strip())
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            if number == last and found:
                notes.append(f"The last line ({number}) is torn and was left out.")
                break
            raise InputError(
                f"log: line {number} of {str(path)!r} is no JSON ({error.msg}), expected a "
                "dictionary a line. To mend it: delete the line."
            ) from error
        if not isinstance(record, dict):
            raise refuse("log", f"{path}, line {number}", "a dictionary a line")
        found.append(record)
    return found, {}, notes


def _csv(path: Path, text: str) -> list[Record]:
    """A row a record; numbers are read as numbers and empty cells left out."""
    table = csv.DictReader(io.StringIO(text))
    rows = [
        {
            key: _cell(value)
            for key, value in row.items()
            if key and isinstance(value, str) and value
        }
        for row in table
    ]
    if not rows:
        raise refuse("log", str(path), "a head line and a row a record", "wait until it has logged")
    return rows


def _cell(value: str) -> Any:
    try:
        return float(value)
    except ValueError:
        return value


def _checkpoint_step(state: Path) -> int:
    found = re.fullmatch(r"checkpoint-(\d+)", state.parent.name)
    return int(found[1]) if found else -1


def _trained_steps(state: Path) -> int:
    """Its ``global_step``, read from the text: one of two states may be broken."""
    found = re.search(r'"global_step":\s*(\d+)', state.read_text(errors="replace"))
    return int(found[1]) if found else -1
