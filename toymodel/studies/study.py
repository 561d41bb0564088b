"""What a study is: how to compute, draw and compare one picture; and the registry of studies."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import xarray as xr
from matplotlib.figure import Figure

from toymodel._errors import unknown
from toymodel._registry import plain


@dataclasses.dataclass(frozen=True)
class Claim:
    """One number of ours beside the paper's, or beside an aim.

    Args:
        where: the scenario, or the run.
        what: the quantity.
        ours: our value.
        paper: the paper's value or the aim, as text.
        reached: whether ours agrees, by the rule of that comparison; None for a number that is
            given as information and compared with nothing.
    """

    where: str
    what: str
    ours: float
    paper: str
    reached: bool | None

    @property
    def verdict(self) -> str:
        """Whether it was reached, in a word."""
        return {True: "yes", False: "no", None: "information"}[self.reached]


@dataclasses.dataclass(frozen=True)
class Study:
    """One picture and what it must show: three functions, each of use without the others.

    Args:
        name: short name, such as ``fig3``.
        title: what it shows, in a line.
        alt: what is seen, for those who do not see it.
        caption: how to read it.
        compute: number of seeds -> the data, as arrays; with `shows_progress`, an option
            ``progress`` as well: None shows a bar on a terminal.
        draw: the data -> the picture.
        compare: the data -> our numbers beside the paper's.
        table: the data -> more to go under the caption, as Markdown; optional.
        on_request: made only when named, since it takes minutes.
        group: a name that stands for several figures; optional.
        seeds: seeds a curve or cell, where none are asked for.
        shows_progress: whether `compute` has a bar of its own.
    """

    name: str
    title: str
    alt: str
    caption: str
    compute: Callable[..., xr.Dataset]
    draw: Callable[[xr.Dataset], Figure]
    compare: Callable[[xr.Dataset], list[Claim]]
    table: Callable[[xr.Dataset], str] | None = None
    on_request: bool = False
    group: str = ""
    seeds: int = 200
    shows_progress: bool = False


@dataclasses.dataclass(frozen=True)
class Reproduced:
    """One picture that was made.

    Args:
        name: the figure.
        claims: our numbers beside the paper's.
        picture: where the picture is.
        seconds: how long it took.
    """

    name: str
    claims: list[Claim]
    picture: Path
    seconds: float


#: All figures, by name.
STUDIES: dict[str, Study] = {}


def register(figure: Study) -> Study:
    """Make a study known by its name."""
    STUDIES[figure.name] = figure
    return figure


def get(name: str, others: Sequence[str] = ()) -> list[Study]:
    """The figures that a name stands for, or all; an unknown one is refused with the nearest.

    Args:
        name: of a figure or a group, or ``all``.
        others: names that are known elsewhere, for the refusal.

    Raises:
        InputError: an unknown name.
    """
    if name == "all":
        return list(STUDIES.values())
    group = [figure for figure in STUDIES.values() if figure.group == name.replace("_", "-")]
    key = name.replace("-", "_")
    if key not in STUDIES and not group:
        groups = {figure.group for figure in STUDIES.values()} - {""}
        raise unknown("figure", name, [*STUDIES, *groups, *others, "all"])
    return group or [STUDIES[key]]


def cell(text: str) -> str:
    """Text for a cell of a Markdown table, which a bare bar would end.

    Example:
        >>> print(cell("log |a|"))
        log \\|a\\|
    """
    return text.replace("|", r"\|")


def as_text(results: Sequence[Reproduced]) -> str:
    """Our numbers beside the paper's, as a table."""
    rows = [("figure", "where", "what", "ours", "paper or aim", "reached")]
    rows += [
        (result.name, claim.where, claim.what, f"{claim.ours:.3f}", claim.paper, claim.verdict)
        for result in results
        for claim in result.claims
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        cells[3] = row[3].rjust(widths[3])
        cells[5] = "NO" if row[5] == "no" else row[5]
        lines.append("  ".join(cells))
    return "\n".join(lines)


def as_data(results: Sequence[Reproduced]) -> list[dict[str, Any]]:
    """The same for machines."""
    return [
        {
            "figure": result.name,
            "picture": str(result.picture),
            "seconds": round(result.seconds, 2),
            "claims": [plain(dataclasses.asdict(claim)) for claim in result.claims],
        }
        for result in results
    ]
