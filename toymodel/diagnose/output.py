"""Pictures on disk, whole or not at all."""

from pathlib import Path

from matplotlib.figure import Figure

from toymodel._files import out_file


def save(figure: Figure, path: Path) -> Path:
    """Write a picture, whole or not at all.

    Args:
        figure: what to write.
        path: where, in a folder that exists; its ending says the format.

    Returns:
        The path.

    Raises:
        InputError: it cannot be written.
    """
    with out_file(path) as partial:
        figure.savefig(partial)
    return path
