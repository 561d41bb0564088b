"""A log of numbers as JSON lines: each is on disk as soon as it is known, and a run can go on."""

import itertools
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from toymodel._errors import InputError
from toymodel._files import whole_file


class Journal:
    """Appends records to a file; a torn last line and records after a step can be dropped.

    Args:
        path: of the file, whose folder is made.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def set_aside(self) -> None:
        """Keep what an earlier run left in the file, under the first number that is free."""
        if self.path.exists():
            suffix = self.path.suffix
            others = (self.path.with_suffix(f".{n}{suffix}") for n in itertools.count(1))
            self.path.rename(next(other for other in others if not other.exists()))

    def begin(self, header: Mapping[str, Any]) -> None:
        """Start anew with a first line that says what the records are."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text("")
        self.add(header)

    def go_on(self, step: int) -> list[dict[str, Any]]:
        """The records up to a step, header first; what is later or torn is dropped from the file.

        Args:
            step: where the run goes on.

        Raises:
            InputError: a line within the file that is no record.
        """
        lines = self.path.read_text().splitlines()
        records = []
        for number, line in enumerate(lines, 1):
            try:
                records.append(dict(json.loads(line)))
            except (ValueError, TypeError):
                if number == len(lines):
                    break  # what was being written when the run was killed
                raise InputError(
                    f"log: line {number} of {str(self.path)!r} is no record, expected JSON. To "
                    "mend it: delete the line, or start a new log."
                ) from None
        kept = [record for record in records if record.get("step", 0) <= step]
        with whole_file(self.path) as partial:
            partial.write_text("".join(_line(record) for record in kept))
        return kept

    def add(self, record: Mapping[str, Any]) -> None:
        """Append one record."""
        with self.path.open("a") as file:
            file.write(_line(record))
            file.flush()
            os.fsync(file.fileno())


def _line(record: Mapping[str, Any]) -> str:
    """JSON has no word for numbers that are not finite: null."""
    finite = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in record.items()
    }
    return json.dumps(finite) + "\n"
