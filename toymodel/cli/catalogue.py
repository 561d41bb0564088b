"""Commands that list what has a name: scenarios and losses."""

import dataclasses
import inspect
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from tqdm import tqdm

from toymodel import losses as loss_registry
from toymodel import plots
from toymodel import scenarios as scenario_registry
from toymodel._registry import plain
from toymodel.cli.options import OK, Json, Quiet, as_json
from toymodel.losses import PreferenceLoss, Traits
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
        Folder for a page a loss.
    out
        Folder for pictures.
    """
    shown = loss_registry.names() if name is None else [loss_registry.REGISTRY.key(name)]
    if docs is not None:
        _write_pages(shown, writable_folder(docs), quiet)
    elif json:
        print(as_json({key: _facts(key) for key in shown}))
    elif name is None:
        for key in shown:
            print(f"{key:13} {_marks(key):6} {_numbers_text(key):52} {_loss(key).formula}")
        print("\nkinds: " + _MARKS_TEXT)
    else:
        print(_page_text(shown[0]))
    if plot:
        folder = writable_folder(out)
        figure = plots.gallery() if name is None else plots.portrait(shown[0])
        path = folder / ("losses.png" if name is None else f"loss_{shown[0]}.png")
        figure.savefig(path)
        print(f"\nPicture: {path}")
    return OK


_MARKS_TEXT = (
    "M function of the margin, B balanced (a+ = -a-), R reference-free, L lengths matter, "
    "C coupled over the batch, N not monotone"
)


def _loss(name: str) -> PreferenceLoss:
    return loss_registry.get(name)


def _marks(name: str) -> str:
    kind = loss_registry.traits(_loss(name))
    marks = {
        "M": kind.of_margin,
        "B": kind.balanced,
        "R": kind.reference_free,
        "L": kind.per_token,
        "C": kind.batch_coupled,
        "N": not kind.monotone,
    }
    return "".join(mark for mark, holds in marks.items() if holds) or "-"


def _numbers(name: str) -> dict[str, dict[str, Any]]:
    loss: Any = _loss(name)
    return {
        field.name: {
            "default": loss_registry.REGISTRY.plain(field.default),
            "meaning": field.metadata["doc"],
        }
        for field in dataclasses.fields(loss)
    }


def _numbers_text(name: str) -> str:
    loss: Any = _loss(name)
    return ", ".join(f"{f.name}={getattr(loss, f.name)}" for f in dataclasses.fields(loss))


def _family(name: str) -> str:
    return type(_loss(name)).__module__.rsplit(".", 1)[-1]


def _facts(name: str) -> dict[str, Any]:
    loss, kind = _loss(name), loss_registry.traits(_loss(name))
    traits = {
        field.name: getattr(value := getattr(kind, field.name), "value", value)
        for field in dataclasses.fields(kind)
    }
    return {
        "formula": loss.formula,
        "paper": loss.paper,
        "family": _family(name),
        "numbers": _numbers(name),
        "traits": traits,
        "drop": kind.drop,
        "degradation": kind.degradation,
        "dispersion": kind.dispersion,
    }


def _page_text(name: str) -> str:
    loss = _loss(name)
    kind = loss_registry.traits(loss)
    lines = [
        f"{name}: L = {loss.formula}",
        "",
        inspect.getdoc(type(loss)) or "",
        "",
        f"family       {_family(name)}",
        f"source       {loss.paper}",
        f"kind         {_marks(name)}  ({_MARKS_TEXT})",
        f"drop         {kind.drop}",
        f"degradation  {kind.degradation}",
        f"dispersion   {kind.dispersion}",
    ]
    return "\n".join(lines)


def _write_pages(names: list[str], folder: Path, quiet: bool) -> None:
    """A page and a picture for each loss, and the table of all."""
    for name in tqdm(names, desc="pages", disable=quiet):
        plots.portrait(name).savefig(folder / f"{name}.png", dpi=90)
        (folder / f"{name}.md").write_text(_page(name))
    rows = "\n".join(_row(name, loss_registry.traits(_loss(name))) for name in names)
    (folder / "README.md").write_text(_TABLE.format(marks=_MARKS_TEXT, rows=rows))


def _row(name: str, kind: Traits) -> str:
    return (
        f"| [{name}]({name}.md) | {_marks(name)} | {kind.drop} | {kind.degradation} "
        f"| {kind.dispersion} |"
    )


def _page(name: str) -> str:
    loss = _loss(name)
    kind = loss_registry.traits(loss)
    numbers = "\n".join(
        f"| `{key}` | {value['default']} | {value['meaning']} |"
        for key, value in _numbers(name).items()
    )
    text = (inspect.getdoc(type(loss)) or "").split("\nArgs:")[0].strip()
    return (
        f"# {name}\n\n`L = {loss.formula}`\n\n{_math(text)}\n\n"
        f"![Slopes and gradient flow of {name}]({name}.png)\n\n"
        f"| number | default | meaning |\n|---|---|---|\n{numbers}\n\n"
        f"- Drop: {kind.drop}.\n- Degradation: {kind.degradation}.\n"
        f"- Dispersion: {kind.dispersion}.\n- Kind: {_marks(name)} ({_MARKS_TEXT}).\n"
        f"- Source: {loss.paper}.\n\n"
        "These lines were found by probing the loss (`toymodel.losses.traits`); the page was made "
        "by `toymodel losses --docs docs/losses`.\n"
    )


def _math(text: str) -> str:
    """Sphinx's roles for mathematics as Markdown's dollars."""
    lines, inside = [], False
    for line in (
        text.replace(":math:`", "$").replace("`", "$" if ":math:`" in text else "`").split("\n")
    ):
        if line.strip().startswith(".. math::"):
            lines += ["$$", line.strip().removeprefix(".. math::").strip()]
            inside = True
        elif inside and line.strip() and not line.startswith(" "):
            lines += ["$$", "", line]
            inside = False
        elif inside and not line.strip() and lines[-1] not in ("", "$$"):
            lines += ["$$", ""]
            inside = False
        else:
            lines.append(line.strip() if inside else line)
    return "\n".join(lines + (["$$"] if inside else []))


_TABLE = """# Every loss, and which of the three properties it can cause

Made by `toymodel losses --docs docs/losses`: nothing in this table is typed in, each loss was
probed (`toymodel.losses.traits`). Kinds: {marks}.

- **Drop**: what becomes of the push on the rejected response, a-, as its probability vanishes.
- **Degradation**: what becomes of the pull on the chosen one, a+, meanwhile.
- **Dispersion**: what the loss itself does to the logits of responses outside the pair, which move
  at (a+ + a-) pi_k. Shared weights can disperse mass under any loss.

| loss | kind | drop | degradation | dispersion |
|---|---|---|---|---|
{rows}
"""
