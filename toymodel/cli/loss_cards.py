"""What there is to say of a loss, as text: marks of its kind, a card for the terminal, a page."""

import dataclasses
import inspect
import re
import textwrap
from pathlib import Path
from typing import Any

from tqdm import tqdm

from toymodel import losses as registry
from toymodel import plots

#: The marks of a loss's kind, explained.
MARKS = (
    "M function of the margin, B balanced (a+ = -a-), R reference-free, L lengths matter, "
    "C coupled over the batch, N not monotone"
)


def marks(name: str) -> str:
    """The marks of a loss, or a dash."""
    kind = registry.traits(registry.get(name))
    held = {
        "M": kind.of_margin,
        "B": kind.balanced,
        "R": kind.reference_free,
        "L": kind.per_token,
        "C": kind.batch_coupled,
        "N": not kind.monotone,
    }
    return "".join(mark for mark, holds in held.items() if holds) or "-"


def defaults(name: str) -> str:
    """The hyper-parameters with their defaults, on a line."""
    loss: Any = registry.get(name)
    return ", ".join(f"{f.name}={getattr(loss, f.name)}" for f in dataclasses.fields(loss))


def _numbers(name: str) -> dict[str, dict[str, Any]]:
    loss: Any = registry.get(name)
    return {
        field.name: {
            "default": registry.REGISTRY.plain(field.default),
            "meaning": field.metadata["doc"],
        }
        for field in dataclasses.fields(loss)
    }


def facts(name: str) -> dict[str, Any]:
    """Everything, as plain data."""
    loss = registry.get(name)
    kind = registry.traits(loss)
    found = {f.name: getattr(kind, f.name) for f in dataclasses.fields(kind)}
    return {
        "formula": loss.formula,
        "paper": loss.paper,
        "family": type(loss).__module__.rsplit(".", 1)[-1],
        "numbers": _numbers(name),
        "traits": {key: getattr(value, "value", value) for key, value in found.items()},
        "drop": kind.drop,
        "degradation": kind.degradation,
        "dispersion": kind.dispersion,
    }


def card(name: str) -> str:
    """A loss for the terminal."""
    known = facts(name)
    return "\n".join(
        [
            f"{name}: L = {known['formula']}",
            "",
            inspect.getdoc(type(registry.get(name))) or "",
            "",
            *(f"{key:12} {known[key]}" for key in ("family", "paper")),
            f"{'kind':12} {marks(name)}  ({MARKS})",
            *(f"{key:12} {known[key]}" for key in ("drop", "degradation", "dispersion")),
        ]
    )


def write_pages(names: list[str], folder: Path, *, quiet: bool) -> None:
    """A Markdown page and a picture for each loss."""
    for name in tqdm(names, desc="pages", disable=quiet):
        plots.portrait(name).savefig(folder / f"{name}.png", dpi=90)
        (folder / f"{name}.md").write_text(page(name))


def page(name: str) -> str:
    """A loss as a Markdown page."""
    known = facts(name)
    numbers = "\n".join(
        f"| `{key}` | {value['default']} | {value['meaning']} |"
        for key, value in known["numbers"].items()
    )
    text = (inspect.getdoc(type(registry.get(name))) or "").split("\nArgs:")[0].strip()
    return (
        f"# {name}\n\n`L = {known['formula']}`\n\n{_markdown(text)}\n\n"
        f"![Slopes and gradient flow of {name}]({name}.png)\n\n"
        f"| number | default | meaning |\n|---|---|---|\n{numbers}\n\n"
        f"- Drop {known['drop']}.\n- Degradation {known['degradation']}.\n"
        f"- Dispersion {known['dispersion']}.\n- Kind: {marks(name)} ({MARKS}).\n"
        f"- Source: {known['paper']}.\n\n"
        "These lines were found by probing the loss (`toymodel.losses.traits`); the page was made "
        "by `toymodel losses --docs docs/losses`.\n"
    )


def table(names: list[str]) -> str:
    """All losses as a Markdown table."""
    rows = []
    for name in names:
        known = facts(name)
        cells = [f"[{name}]({name}.md)", marks(name)]
        cells += [known[key] for key in ("drop", "degradation", "dispersion")]
        rows.append(f"| {' | '.join(cells)} |")
    return _TABLE.format(marks=MARKS, rows="\n".join(rows))


def _markdown(text: str) -> str:
    """Mathematics between dollars instead of Sphinx's roles."""

    def block(match: re.Match[str]) -> str:
        return f"$$\n{textwrap.dedent(match[1]).strip()}\n$$"

    text = re.sub(r":math:`([^`]+)`", r"$\1$", text)
    return re.sub(r"\.\. math::(.*(?:\n[ \t]+\S.*)*)", block, text)


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
