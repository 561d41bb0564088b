"""How trouble with the files of a store reads."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from toymodel._errors import InputError


def damaged(path: Path, why: str) -> InputError:
    """The error for a store that is not as it was written."""
    return InputError(
        f"path: {str(path)!r} is damaged ({why}), expected a stored sweep as it was written. "
        "To mend it: copy it again; or, where only results are lost, Store.repair(path) marks "
        "their blocks to be computed again; or make it anew with overwrite=True."
    )


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the system's errors into one that says what is kept."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"path: cannot write {str(path)!r} ({error}), expected room in a folder that can be "
            "written. What was committed is kept. To mend it: make room or change permissions, "
            "and run it again; it goes on with the blocks that are missing."
        ) from error


@contextlib.contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Turn whatever happens into one that says what is damaged."""
    try:
        yield
    except Exception as error:  # the layers of Zarr raise many kinds for a broken chunk
        raise damaged(path, f"{what} cannot be read: {error}") from error
