"""Which pairs are likely to displace their chosen: the rule, the order, the table, the rest."""

import collections
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from toymodel._errors import refuse, whole
from toymodel.llm.scoring.run import Result, ScoredRow
from toymodel.llm.scoring.settings import RANKINGS

_COLUMNS = {
    "first_step": "first step",
    "ches_per_token": "CHES/token",
    "shared_tokens": "shared",
    "edit_share": "edits",
    "chosen_per_token": "log pi+/tok",
    "rejected_per_token": "log pi-/tok",
    "chosen_length": "length+",
    "rejected_length": "length-",
}
_EXCERPT = 32


def ranked(result: Result) -> list[ScoredRow]:
    """Scored rows, from the likeliest to displace its chosen to the least likely.

    Args:
        result: of `score_pairs`.
    """
    high, _ = RANKINGS[result.settings.rank_by]
    rows = [row for row in result.rows if row.skipped is None]
    return sorted(rows, key=lambda row: row.scores[result.settings.rank_by], reverse=high)


def rule(result: Result) -> str:
    """The rule of the order, in words."""
    name = result.settings.rank_by
    high, what = RANKINGS[name]
    return f"{name} ({what}), {'highest' if high else 'lowest'} first"


def kept(
    result: Result, share: float | None = None, drop_worst: int | None = None
) -> list[ScoredRow]:
    """The rows of a filtered set, in the data's order; rows that were skipped are not in it.

    Args:
        result: of `score_pairs`.
        share: of the scored rows to keep, above 0 and at most 1: those least likely to displace.
        drop_worst: how many to drop instead.

    Raises:
        InputError: both are given, or one out of range.
    """
    order = ranked(result)
    check_filter(share, drop_worst)
    if drop_worst is None:
        drop_worst = len(order) - round((1.0 if share is None else share) * len(order))
    if drop_worst >= len(order):
        what = f"{drop_worst} of {len(order)} scored pairs to drop"
        raise refuse("filter", what, "a pair left at least", "keep more")
    dropped = {id(row) for row in order[:drop_worst]}
    return [row for row in result.rows if row.skipped is None and id(row) not in dropped]


def check_filter(share: float | None, drop_worst: int | None) -> None:
    """Refuse a filter that is out of range, before any work.

    Raises:
        InputError: both are given, or one out of range.
    """
    if share is not None and drop_worst is not None:
        raise refuse("keep, drop_worst", f"{share}, {drop_worst}", "one of the two")
    if share is not None and not 0 < share <= 1:
        raise refuse("keep", share, "a share above 0 and at most 1", "such as 0.9")
    if drop_worst is not None:
        whole("drop_worst", drop_worst, 1)


def skipped(result: Result) -> list[tuple[str, str]]:
    """Place and reason of each row that was skipped."""
    return [(x.prepared.read.place, x.skipped) for x in result.rows if x.skipped is not None]


def records(result: Result) -> list[dict[str, Any]]:
    """A row of plain data for each row of the data, in its order: place, and rank and scores."""
    ranks = {id(row): at for at, row in enumerate(ranked(result), 1)}
    return [
        {"place": row.prepared.read.place, "skipped": row.skipped}
        if row.skipped is not None
        else {"place": row.prepared.read.place, "rank": ranks[id(row)], **row.scores}
        for row in result.rows
    ]


def summary(result: Result) -> dict[str, Any]:
    """What there is to say of the data as a whole."""
    rows = ranked(result)
    count = len(rows)
    found: dict[str, Any] = {
        "rows": len(result.rows),
        "scored": count,
        "skipped": len(result.rows) - count,
        "rule": rule(result),
        "displacing": sum(row.scores["first_step"] < 0 for row in rows),
        "exact_for_the_unembedding": result.is_linear,
        "medians": {name: float(np.median([r.scores[name] for r in rows])) for name in _COLUMNS},
    }
    if result.own is not None:
        found["own_answers"] = result.own._asdict()
    return found


def as_text(result: Result, show: int = 10) -> str:
    """The table of the pairs likeliest to displace, and what there is to say beside it.

    Args:
        result: of `score_pairs`.
        show: rows of the table.
    """
    facts, rows = summary(result), ranked(result)
    wide = max([5, *(len(row.prepared.read.place) for row in rows[:show])])
    heads = " ".join(f"{head:>11}" for head in _COLUMNS.values())
    lines = [f"{'rank':>5}  {'place':{wide}} {heads}  chosen begins"]
    lines += [_line(at, row, wide) for at, row in enumerate(rows[:show], 1)]
    lines += [
        f"{'':>5}  {'median':{wide}} {_numbers(facts['medians'])}",
        "",
        f"Order: {facts['rule']}.",
        f"The chosen of {facts['displacing']} of {facts['scored']} pairs falls in the first step "
        "by prediction (first step < 0, in nats per unit of learning rate of SGD on the pair).",
    ]
    if not facts["exact_for_the_unembedding"]:
        lines.append("The model caps or scales its logits: predicted steps are approximate.")
    if result.own is not None:
        own, medians = result.own, facts["medians"]
        lines.append(
            f"The model's own answers: {own.mean:.2f} nats a token (deviation {own.deviation:.2f}, "
            f"{own.prompts} prompts); chosen {medians['chosen_per_token']:.2f}, rejected "
            f"{medians['rejected_per_token']:.2f}: the further below, the more off-policy."
        )
    return "\n".join(lines)


def skipped_text(result: Result, show: int = 5) -> str:
    """How many rows were skipped, why, and the first of them; empty where none was.

    Args:
        result: of `score_pairs`.
        show: rows to name.
    """
    found = skipped(result)
    if not found:
        return ""
    kinds = collections.Counter(re.split("[:(]", reason)[0].strip() for _, reason in found)
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    lines = [f"Skipped {len(found)} of {len(result.rows)} rows: {counts}"]
    lines += [f"  {place}: {reason}" for place, reason in found[:show]]
    return "\n".join([*lines, *(["  ..."] if len(found) > show else [])])


def _line(at: int, row: ScoredRow, wide: int) -> str:
    pair = row.prepared.read.row
    assert pair is not None
    text = pair["chosen"]
    text = text if isinstance(text, str) else text[-1]["content"]
    excerpt = " ".join(text.split())[:_EXCERPT]
    return f"{at:5d}  {row.prepared.read.place:{wide}} {_numbers(row.scores)}  {excerpt}"


def _numbers(scores: Mapping[str, float | int]) -> str:
    return " ".join(f"{scores[name]:11.4g}" for name in _COLUMNS)


def as_rows(rows: Sequence[ScoredRow]) -> list[Mapping[str, Any]]:
    """The rows as they stood in the data, with all their columns."""
    return [row.prepared.read.fields for row in rows]
