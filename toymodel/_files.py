"""Files: settings read from TOML, and results written whole or not at all."""

import contextlib
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from toymodel._errors import InputError, refuse


def read_toml(path: str | Path) -> dict[str, Any]:
    """A settings file, as plain data.

    Args:
        path: of the file.

    Raises:
        InputError: no such file, or not TOML.

    Example:
        >>> read_toml("no-such.toml")
        Traceback (most recent call last):
        toymodel._errors.InputError: settings: got 'no-such.toml', expected a TOML file.
    """
    source = Path(path)
    try:
        return tomllib.loads(source.read_text())
    except FileNotFoundError:
        raise refuse("settings", str(source), "a TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise InputError(f"settings: {source} cannot be read as TOML: {error}.") from None


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path to write to, which takes the place of another once all is written.

    Whatever happens meanwhile, what was there stays, and nothing half-written is left.

    Args:
        path: in a folder that exists.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "a.txt"
        ...     with whole_file(path) as partial:
        ...         _ = partial.write_text("whole")
        ...     path.read_text(), len(list(path.parent.iterdir()))
        ('whole', 1)
    """
    partial = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def out_file(path: Path) -> Iterator[Path]:
    """A `whole_file` of a command's ``--out``, with an error that says so.

    Args:
        path: in a folder that exists.

    Raises:
        InputError: it cannot be written.
    """
    try:
        with whole_file(path) as partial:
            yield partial
    except OSError as error:
        raise InputError(
            f"out: cannot write {str(path)!r} ({error}), expected a folder that can be written. "
            "To mend it: choose another with --out."
        ) from error
