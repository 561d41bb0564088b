"""Results on disk, whole or not at all."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from toymodel._errors import InputError


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write rows as JSON lines, whole or not at all.

    Args:
        path: in a folder that exists.
        rows: a line each; what JSON has no word for, such as a date, is written as text.

    Returns:
        The path.

    Raises:
        InputError: it cannot be written.
    """
    return write_text(
        path, "\n".join(json.dumps(row, ensure_ascii=False, default=str) for row in rows)
    )


def write_text(path: Path, text: str) -> Path:
    """Write a text, with an end of line, under a temporary name, then rename it.

    Args:
        path: in a folder that exists.
        text: to write.

    Returns:
        The path.

    Raises:
        InputError: it cannot be written.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(text + "\n", encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise InputError(
            f"out: cannot write {str(path)!r} ({error}), expected a folder that can be written. "
            "To mend it: choose another with --out."
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return path
