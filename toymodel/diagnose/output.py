"""Pictures on disk, whole or not at all."""

from pathlib import Path

from matplotlib.figure import Figure

from toymodel._errors import InputError


def save(figure: Figure, path: Path) -> Path:
    """Write a picture under a temporary name, then rename it.

    Args:
        figure: what to write.
        path: where, in a folder that exists; its ending says the format.

    Returns:
        The path.

    Raises:
        InputError: it cannot be written.
    """
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        figure.savefig(partial)
        partial.replace(path)
    except OSError as error:
        raise InputError(
            f"out: cannot write {str(path)!r} ({error}), expected a folder that can be written. "
            "To mend it: choose another with --out."
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return path
