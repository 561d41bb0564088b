"""What the paper's tables and figures say of the sign of differences, and ours beside it."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from toymodel.llm.miniature.plan import RECORDS, SCENARIOS
from toymodel.llm.miniature.rates import best, rates
from toymodel.llm.miniature.records import Records
from toymodel.llm.miniature.tables import (
    ASPECTS,
    BASE,
    METRICS,
    ON_POLICY,
    ONCE,
    TABLE_9,
    loss_cells,
    scenario_cells,
    together,
)
from toymodel.llm.miniature.verdicts import Row
from toymodel.paper import data

_MODELS = ("Baichuan2-13B", "Baichuan2-33B")
_PAPER_ASPECTS = {  # ours -> the paper's table and column
    "verses": ("poem", ("row_number", "words_per_row", "rhythm", "tone_pattern", "title")),
    "slogans": ("slogan", ("word_count", "content")),
}


def compare(records: Records) -> list[Row]:
    """Every comparison; differences are paired by seed.

    Args:
        records: of the miniature.
    """
    makers: tuple[Callable[[Records], Iterator[Row]], ...] = (
        _table_1,
        _table_2,
        _table_7,
        _table_8,
        _table_9,
        _figure_4,
        _figures_5_and_7,
        _figure_6,
        _figures_8_and_9,
    )
    found = [row for make in makers for row in make(records)]
    return [row for row in found if np.isfinite(row.ours).any()]


def _table_1(records: Records) -> Iterator[Row]:
    paper, cells = data.tables()["table_1"], scenario_cells(records)
    for at, name in enumerate(("five", "four")):
        points = ("5 points", "4 or 5 points")[at]
        base = together(records, name, BASE)
        ours = {scenario: together(records, name, cell) for scenario, cell in cells.items()}
        for scenario, values in ours.items():
            theirs = tuple(paper[m][scenario][at] - paper[m]["base"][at] for m in _MODELS)
            yield Row("Table 1", f"{points}: {scenario} less base", values - base, theirs)
        for scenario in SCENARIOS[1:]:
            theirs = tuple(paper[m][SCENARIOS[0]][at] - paper[m][scenario][at] for m in _MODELS)
            what = f"{points}: {SCENARIOS[0]} less {scenario}"
            yield Row("Table 1", what, ours[SCENARIOS[0]] - ours[scenario], theirs)


def _table_2(records: Records) -> Iterator[Row]:
    for task, aspects in ASPECTS.items():
        name, columns = _PAPER_ASPECTS[task]
        paper = data.tables()["table_2"][name]
        cells = {m: best(records, task=task, method=m) for m in ("base", "rloo", "dpo")}
        for one, other in (("dpo", "base"), ("rloo", "base"), ("rloo", "dpo")):
            for aspect, column in zip(aspects, columns, strict=True):
                at = paper["columns"].index(column)
                theirs = {m: paper["ppo" if m == "rloo" else m][at] for m in (one, other)}
                ours = _difference(records, f"test/aspect/{aspect}", cells[one], cells[other])
                what = f"{task}, {aspect}: {one} less {other}"
                yield Row("Table 2", what, ours, (theirs[one] - theirs[other],))


def _table_7(records: Records) -> Iterator[Row]:
    paper = data.tables()["table_7"]
    for rate in rates(records, **ONCE, method="dpo"):
        ours, theirs = {}, {}
        for scenario in SCENARIOS:
            cell = {**ONCE, "method": "dpo", "scenario": scenario, "learning_rate": rate}
            for at, half in enumerate(("chosen", "rejected")):
                name = f"logps/{half}_per_token"
                change = records.change(name, **cell)
                numbers = [paper[m][scenario] for m in _MODELS]
                of_paper = tuple(n["after"][at] - n["before"][at] for n in numbers)
                yield Row("Table 7", f"{half} a token, {scenario}, rate {rate:g}", change, of_paper)
                if half == "rejected":
                    ours[scenario], theirs[scenario] = change, np.array(of_paper)
        for scenario in SCENARIOS[1:]:
            what = f"rejected: fall in {scenario} less that in {SCENARIOS[0]}, rate {rate:g}"
            difference = ours[SCENARIOS[0]] - ours[scenario]
            of_paper = tuple(map(float, theirs[SCENARIOS[0]] - theirs[scenario]))
            yield Row("Table 7", what, difference, of_paper)


def _table_8(records: Records) -> Iterator[Row]:
    paper = data.tables()["table_8"]
    for scenario, cell in scenario_cells(records).items():
        for at, (metric, title) in enumerate(METRICS.items()):
            theirs = tuple(paper[m][scenario][at] - paper[m]["base"][at] for m in _MODELS)
            ours = _difference(records, metric, cell, BASE)
            yield Row("Table 8", f"{title}: {scenario} less base", ours, theirs)


def _table_9(records: Records) -> Iterator[Row]:
    paper, cells = data.tables()["table_9"], loss_cells(records, TABLE_9)
    for method in cells:
        other, against = ("base", BASE) if method == "dpo" else ("dpo", cells["dpo"])
        for at, (metric, title) in enumerate(METRICS.items()):
            theirs = paper[TABLE_9[method]][at] - paper[TABLE_9.get(other, other)][at]
            ours = _difference(records, metric, cells[method], against)
            yield Row("Table 9", f"{title}: {method} less {other}", ours, (theirs,))


def _figure_4(records: Records) -> Iterator[Row]:
    """Scores of verses rise and fall again with beta_rejected; the paper's best is near 0.08."""
    for rate in rates(records, task="verses", method="dpo"):
        for other in ("0.02", "0.14"):
            one, two = (
                {"task": "verses", "method": f"flex_dpo@{beta}", "learning_rate": rate}
                for beta in ("0.08", other)
            )
            ours = _difference(records, "test/points", one, two)
            what = f"points: beta_rejected 0.08 less {other}, rate {rate:g}"
            yield Row("Figure 4", what, ours, (1.0,))


def _figures_5_and_7(records: Records) -> Iterator[Row]:
    """A reward model's held-out accuracy is higher and steadier than that of DPO's own reward."""
    model = {"method": "reward_model"}
    for rate in rates(records, **ON_POLICY):
        run = {**ON_POLICY, "learning_rate": rate}
        of_model = _by_seed(records, "accuracy", task="arithmetic", **model)
        of_dpo = _by_seed(records, "accuracy", **run)
        what = f"held-out accuracy at the end: reward model less DPO, rate {rate:g}"
        yield Row("Figures 5, 7", what, _end(of_model) - _end(of_dpo), (1.0,))
        what = f"unsteadiness of held-out accuracy: DPO less reward model, rate {rate:g}"
        yield Row("Figures 5, 7", what, _unsteadiness(of_dpo) - _unsteadiness(of_model), (1.0,))


def _figure_6(records: Records) -> Iterator[Row]:
    """The rejected's gradient in probability is far the larger and rises."""
    for rate in rates(records, **ON_POLICY):
        run = {**ON_POLICY, "learning_rate": rate}
        ratio, size = (_by_seed(records, n, **run) for n in ("log_ratio", "log_rejected"))
        yield Row("Figure 6", f"log |dL/dpi-| / |dL/dpi+|, end, rate {rate:g}", _end(ratio), (1.0,))
        rise = np.array([values[-1] - values[0] for values in size])
        yield Row("Figure 6", f"rise of log |dL/dpi-|, rate {rate:g}", rise, (1.0,))


def _figures_8_and_9(records: Records) -> Iterator[Row]:
    """With a second epoch the training loss falls on, and what is scored gets worse."""
    for rate in rates(records, **ON_POLICY):
        one = {**ON_POLICY, "learning_rate": rate}
        two = {**one, "epochs": 2}
        first, second = (_end(_by_seed(records, "train_loss", **run)) for run in (one, two))
        what = f"training loss: two epochs less one, rate {rate:g}"
        yield Row("Figures 8, 9", what, second - first, (-1.0,))
        ours = _difference(records, "test/five", two, one)
        what = f"test, 5 points: two epochs less one, rate {rate:g}"
        yield Row("Figures 8, 9", what, ours, (-1.0,))


def _difference(
    records: Records, name: str, one: Mapping[str, Any], other: Mapping[str, Any]
) -> np.ndarray:
    return np.asarray(records.values(name, **one) - records.values(name, **other))


def _by_seed(records: Records, name: str, **fields: Any) -> list[np.ndarray]:
    """A curve of each seed; of one NaN where a seed has none."""
    found = []
    for seed in records.seeds:
        _, values = records.of_seed(seed).curves(name, **fields)
        found.append(values[0] if len(values) else np.array([np.nan]))
    return found


def _end(curves: list[np.ndarray]) -> np.ndarray:
    return np.array([values[-1] for values in curves])


def _unsteadiness(curves: list[np.ndarray]) -> np.ndarray:
    """Mean size of falls between records of the second half, at the same shares of training."""
    return np.array([_falls(values) if len(values) > 2 else np.nan for values in curves])


def _falls(values: np.ndarray) -> float:
    """Of one curve; one with more records than the others is read as rarely as they are."""
    at = np.linspace(0, len(values) - 1, min(len(values), RECORDS + 1)).round().astype(int)
    later = values[at][len(at) // 2 :]
    return float(np.maximum(-np.diff(later), 0).mean())
