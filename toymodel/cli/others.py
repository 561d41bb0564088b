"""Pictures that `toymodel reproduce` makes beside the toy's: language models, losses, a log."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from toymodel import diagnose, plots
from toymodel._errors import refuse
from toymodel._version import __version__
from toymodel.cli import miniature
from toymodel.diagnose.output import save
from toymodel.storage import writable_folder
from toymodel.studies.study import Reproduced

_LOG = Path("examples/watched.jsonl")  # of a clone; an installed package does not have it
_FLOW = (
    "A triangle of flow lines for each loss: some lead to the chosen corner, others to the corner "
    "of everything else."
)
_FLOW_CAPTION = (
    "A tabular policy on one pair under every loss; paths from the four scenarios' starts. Up: "
    "rejected; right: chosen; the origin is everything else."
)


@dataclasses.dataclass(frozen=True)
class Other:
    """A picture, or several, that `toymodel reproduce` knows by one name.

    Args:
        make: folder -> what was made; options ``quick`` and ``progress``.
        ask: raises where something that it needs is missing, before anything is run.
    """

    make: Callable[..., list[Reproduced]]
    ask: Callable[[], object] = lambda: None


def _llm(out: Path, *, quick: bool, progress: bool) -> list[Reproduced]:
    return miniature.repeat(out, quick=quick, progress=progress and None)


def _losses(out: Path, **_: object) -> list[Reproduced]:
    """Every loss's gradient flow; nothing in it is random."""
    title = "Gradient flow of every loss on one pair"
    return [_written(plots.gallery, out, "losses", title, _FLOW, lambda: _FLOW_CAPTION, "losses")]


def _watched(out: Path, **_: object) -> list[Reproduced]:
    """The diagnosis of the example's log; nothing in it is random."""
    found = diagnose.diagnose(_LOG)
    name, title = f"{_LOG.stem}.diagnosis", "The diagnosis of a watched run"
    alt = "Chosen, rejected, masses and probes of a watched run, with windows and intervals."
    return [_written(found.picture, out, name, title, alt, found.caption, "watched")]


def _needs_a_clone() -> None:
    if not _LOG.is_file():
        raise refuse("watched", f"no {_LOG} here", "the folder of a clone, which has that log")


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
    made = f"Made by `toymodel reproduce {command}` (toymodel {__version__}), without chance."
    text = f"# {name}: {title}\n\n![{alt}]({name}.png)\n\n{caption()}\n\n{made}\n"
    (folder / f"{name}.md").write_text(text)
    return Reproduced(name, [], picture, time.perf_counter() - start)


#: By the name that `toymodel reproduce` knows them by.
OTHERS = {
    "losses": Other(_losses),
    "watched": Other(_watched, _needs_a_clone),
    "llm": Other(_llm, miniature.need_extra),
}
