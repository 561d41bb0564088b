"""Results on disk, whole or not at all."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from toymodel._files import out_file


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
    """Write a text, with an end of line, whole or not at all.

    Args:
        path: in a folder that exists.
        text: to write.

    Returns:
        The path.

    Raises:
        InputError: it cannot be written.
    """
    with out_file(path) as partial:
        partial.write_text(text + "\n", encoding="utf-8")
    return path
