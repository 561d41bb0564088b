"""Commands that list what has a name: scenarios and losses."""

import inspect
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from tqdm import tqdm

from toymodel import losses as loss_registry
from toymodel import plots
from toymodel import scenarios as scenario_registry
from toymodel._errors import refuse
from toymodel._registry import plain
from toymodel.cli import loss_cards
from toymodel.cli.options import OK, Json, Quiet, as_json
from toymodel.storage import writable_folder


def scenarios(*, json: Json = False) -> int:
    """List the scenarios that have a name.

    Example: `toymodel scenarios --json`
    """
    rows = {name: scenario_registry.get(name) for name in scenario_registry.names()}
    if json:
        print(as_json({name: plain(world.table) for name, world in rows.items()}))
    else:
        for name in rows:
            text = inspect.getdoc(scenario_registry.REGISTRY[name]) or ""
            print(f"{name:22} {text.splitlines()[0]}")
    return OK


def losses(
    name: str | None = None,
    /,
    *,
    plot: Annotated[bool, Parameter(negative="")] = False,
    docs: Path | None = None,
    out: Path = Path("figures"),
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """List the preference losses and their kinds, or show one.

    Kinds are found by probing: M a function of the margin, B balanced slopes (a+ = -a-), R
    reference-free, L lengths matter, C coupled over the batch, N not monotone.

    Examples:

    `toymodel losses` lists all.

    `toymodel losses simpo --plot` shows one, and draws its slopes and its flow into figures/.

    `toymodel losses --docs docs/losses` writes a page a loss, and their table.

    Parameters
    ----------
    name
        A loss. All where none is named.
    plot
        Draw the loss named, or the gallery of all, into the folder --out.
    docs
        Folder for a page a loss, and for their table where none is named.
    out
        Folder for pictures.
    """
    if docs is not None and json:
        raise refuse("--docs", "--json as well", "one of the two", "leave one out")
    shown = loss_registry.names() if name is None else [loss_registry.REGISTRY.key(name)]
    if docs is not None:
        loss_cards.write_pages(shown, writable_folder(docs), quiet=quiet)
        if name is None:
            (docs / "README.md").write_text(loss_cards.table(shown))
    elif json:
        print(as_json({key: loss_cards.facts(key) for key in shown}))
    elif name is None:
        for key in tqdm(shown, desc="probing", leave=False, delay=2, disable=quiet):
            formula = loss_registry.get(key).formula
            kind, numbers = loss_cards.marks(key), loss_cards.defaults(key)
            tqdm.write(f"{key:13} {kind:6} {numbers:52} {formula}")
        print(f"\nkinds: {loss_cards.MARKS}")
    else:
        print(loss_cards.card(shown[0]))
    if plot:
        folder = writable_folder(out)
        figure = plots.gallery() if name is None else plots.portrait(shown[0])
        path = folder / ("losses.png" if name is None else f"loss_{shown[0]}.png")
        figure.savefig(path)
        print(f"\nPicture: {path}", file=sys.stderr)
    return OK
