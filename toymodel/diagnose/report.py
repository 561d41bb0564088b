"""A diagnosis in words and as plain data."""

import dataclasses
import math
import textwrap
from typing import TYPE_CHECKING, Any

from toymodel.diagnose.causes import TOY

if TYPE_CHECKING:
    from toymodel.diagnose.diagnosis import Diagnosis

_WIDTH = 100


def text(found: "Diagnosis") -> str:
    """The diagnosis as text: findings, causes, what to change, what the log cannot tell."""
    log, main = found.log, found.log.main
    size = f"{len(main.step)} records, steps {main.step[0]:g} to {main.step[-1]:g}"
    parts = [f"{log.path}", f"{size}; {_measured(found)}."]
    parts += ["", *(_finding(x.name, x.verdict, x.text) for x in found.findings)]
    parts += _listed("Whether it hurts", found.harm)
    if found.causes:
        title = f"What usually causes it ({TOY})"
        parts += _listed(title, [_cause(cause) for cause in found.causes])
    if found.first_changes:
        parts += _listed("What to change first", found.first_changes, numbered=True)
    parts += _listed("What this log cannot tell", found.cannot_tell)
    parts += _listed("Notes", found.notes)
    parts += ["", "Intervals are 95 %, over all differences at once (docs/diagnose.md)."]
    return "\n".join(parts)


def as_data(found: "Diagnosis") -> dict[str, Any]:
    """The diagnosis as plain data; what is not known is None."""
    data = {
        "log": str(found.log.path),
        "records": len(found.log.main.step),
        "steps": [found.log.main.step[0], found.log.main.step[-1]],
        "measured": found.chosen.kind,
        "unit": found.chosen.unit,
        "beta": found.beta,
        "beta_from": found.beta_from,
        "findings": {x.name: dataclasses.asdict(x) for x in found.findings},
        "harm": list(found.harm),
        "causes": [dataclasses.asdict(cause) for cause in found.causes],
        "change_first": list(found.first_changes),
        "cannot_tell": list(found.cannot_tell),
        "notes": list(found.notes),
    }
    plain: dict[str, Any] = _plain(data)
    return plain


def caption(found: "Diagnosis") -> str:
    """What the picture shows, for those who do not see it."""
    drop, degradation, dispersion = found.findings
    shown = (
        "Dots: records. Line: windows. Band: 95 % interval of the change since the start. "
        "Dotted: the step since which a property shows; diamond: the chosen's peak."
    )
    probes = f" {dispersion.text}" if math.isfinite(dispersion.size.size) else ""
    return f"{drop.text} {degradation.text}{probes} {shown}"


def _measured(found: "Diagnosis") -> str:
    what = {"log-ratio": "log-ratios", "log-probability": "log-probabilities", "reward": "rewards"}
    beta = f" (beta {found.beta:g}, {found.beta_from})" if math.isfinite(found.beta) else ""
    return f"{what[found.chosen.kind]} in {found.chosen.unit}{beta}"


def _finding(name: str, verdict: str, said: str) -> str:
    first = f"  {name:<12} {verdict.upper():<15}"
    return textwrap.fill(said, _WIDTH, initial_indent=first, subsequent_indent=" " * len(first))


def _cause(cause: Any) -> str:
    pages = ", ".join(cause.pages)
    return f"{cause.agrees.upper()}: {cause.name} ({cause.because}). [{pages}]"


def _listed(title: str, items: Any, *, numbered: bool = False) -> list[str]:
    """A titled list; nothing where there are no items."""
    if not items:
        return []
    marks = [f"  {k}. " if numbered else "  - " for k in range(1, len(items) + 1)]
    lines = [
        textwrap.fill(item, _WIDTH, initial_indent=mark, subsequent_indent=" " * len(mark))
        for mark, item in zip(marks, items, strict=True)
    ]
    return ["", title, *lines]


def _plain(value: Any) -> Any:
    """Numbers, text, lists and dictionaries, as JSON has them."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value
