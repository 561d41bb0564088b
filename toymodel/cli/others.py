"""Pictures that `toymodel reproduce` makes beside the toy's: language models, losses, a log."""

import time
from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from toymodel import diagnose, plots
from toymodel._errors import refuse
from toymodel._version import __version__
from toymodel.cli import miniature
from toymodel.diagnose.output import save
from toymodel.paper.report import Reproduced
from toymodel.storage import writable_folder

_LOG = Path("examples/watched.jsonl")  # of a clone; an installed package does not have it
_FLOW = (
    "A triangle of flow lines for each loss: some lead to the chosen corner, others to the corner "
    "of everything else."
)
_FLOW_CAPTION = (
    "A tabular policy on one pair under every loss; paths from the four scenarios' starts. Up: "
    "rejected; right: chosen; the origin is everything else."
)


def _llm(out: Path, *, seeds: int | None, quick: bool, progress: bool) -> list[Reproduced]:
    return miniature.repeat(out, seeds=seeds, quick=quick, progress=progress and None)


def _losses(out: Path, **_: object) -> list[Reproduced]:
    """Every loss's gradient flow; nothing in it is random."""
    title, command = "Gradient flow of every loss on one pair", "reproduce losses"
    return [_written(plots.gallery, out, "losses", title, _FLOW, lambda: _FLOW_CAPTION, command)]


def _watched(out: Path, **_: object) -> list[Reproduced]:
    """The diagnosis of the example's log; nothing in it is random."""
    if not _LOG.is_file():
        raise refuse("watched", f"no {_LOG} here", "the folder of a clone, which has that log")
    found = diagnose.diagnose(_LOG)
    name, title = f"{_LOG.stem}.diagnosis", "The diagnosis of a watched run"
    alt = "Chosen, rejected, masses and probes of a watched run, with windows and intervals."
    command = f"diagnose {_LOG}"
    return [_written(found.picture, out, name, title, alt, found.caption, command)]


def _written(
    draw: Callable[[], Figure],
    out: Path,
    name: str,
    title: str,
    alt: str,
    caption: Callable[[], str],
    command: str,
) -> Reproduced:
    """A picture with its caption file."""
    start = time.perf_counter()
    folder = writable_folder(out)
    picture = save(draw(), folder / f"{name}.png")
    made = f"Made by `toymodel {command}` (toymodel {__version__}); nothing in it is random."
    text = f"# {name}: {title}\n\n![{alt}]({name}.png)\n\n{caption()}\n\n{made}\n"
    (folder / f"{name}.md").write_text(text)
    return Reproduced(name, [], picture, time.perf_counter() - start)


#: By the name that `toymodel reproduce` knows them by.
OTHERS: dict[str, Callable[..., list[Reproduced]]] = {
    "losses": _losses,
    "watched": _watched,
    "llm": _llm,
}
