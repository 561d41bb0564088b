"""A training log, whoever wrote it: metrics under one spelling over increasing steps."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from toymodel._errors import InputError, refuse, whole
from toymodel.diagnose import files
from toymodel.diagnose.keys import NEEDED, canonical, step_key

#: Either both log-probabilities or both rewards must be there.
PAIRS = (("logps/chosen", "logps/rejected"), ("rewards/chosen", "rewards/rejected"))
_BOTH = tuple(name for pair in PAIRS for name in pair)
_MOST_NAMED = 20


@dataclasses.dataclass(frozen=True)
class Track:
    """Metrics of one set of pairs: those trained on, or held-out ones.

    Args:
        step: steps of the records, [record], increasing.
        metrics: by name, each [record]; NaN where a record does not have it.
        steady: its pairs stay the same, so that nothing in it is noise of batches.
    """

    step: np.ndarray
    metrics: dict[str, np.ndarray]
    steady: bool = False

    @property
    def has_pairs(self) -> bool:
        """Whether both halves' log-probabilities, or rewards, are there."""
        return any(all(name in self.metrics for name in pair) for pair in PAIRS)

    def curve(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Steps and values of the records that have a metric; empty where none has."""
        values = self.metrics.get(name, np.empty(0))
        there = np.isfinite(values)
        return self.step[: len(values)][there], values[there]


@dataclasses.dataclass(frozen=True)
class Log:
    """What `read` found.

    Args:
        path: the file.
        train: metrics of the batches trained on.
        held_out: metrics of held-out pairs (`eval_...`).
        epochs: passes over the data at the last record; NaN: not logged.
        beta: where the log says it; NaN elsewhere.
        loss: as toymodel's callback writes it down, `DPO(beta=0.1)`; "": not logged.
        force: what that loss does to responses outside the pair, likewise: "none", "concentrates",
            "disperses" and so on, as `toymodel.losses.traits` has it; "": not logged.
        notes: what was amiss, and what was done about it.
    """

    path: Path
    train: Track
    held_out: Track
    epochs: float
    beta: float
    loss: str = ""
    force: str = ""
    notes: tuple[str, ...] = ()

    @property
    def main(self) -> Track:
        """The track that is diagnosed: training, unless only held-out pairs were logged."""
        return self.train if self.train.has_pairs else self.held_out


@dataclasses.dataclass(frozen=True)
class _Entry:
    """One record: its step, and metrics as (name, held out) -> number."""

    step: float
    values: dict[tuple[str, bool], float]


def read(path: str | Path, *, run: int | None = None) -> Log:
    """Read a training log.

    Args:
        path: `trainer_state.json`, another JSON list of records, JSONL or CSV; or a folder: what
            toymodel's callback wrote there, with held-out pairs and epochs of the trainer's state
            beside it; else the newest of its trainer states, or its only .jsonl or .csv file.
        run: which run, from 1, where a file holds several one after the other.

    Returns:
        The log. Steps logged twice (a resumed run) are taken from the later record; a torn last
        line is left out; records from the first log-probability on that is not finite are left out.
        Each leaves a note.

    Raises:
        InputError: nothing there, damaged JSON, no records, several runs, or no log-probabilities.

    Example:
        >>> log = read("tests/logs/falls.json")
        >>> len(log.train.step), len(log.held_out.step), log.epochs
        (60, 6, 10.0)
    """
    source = files.find(path)
    raw, state, notes = files.records(source)
    entries = _entries(raw, notes)
    entries = _resumed(_one_run(source, entries, run), notes)
    tracks = [_track(entries, held_out, notes) for held_out in (False, True)]
    if Path(path).is_dir() and source.name == files.WATCHED and not tracks[1].metrics:
        tracks[1], state = _beside(source, notes)
    if not any(track.has_pairs for track in tracks):
        raise _without_keys(source, raw, tracks, notes)
    if not tracks[0].has_pairs:
        notes.append("Only held-out pairs were logged, so these are diagnosed.")
    epochs = [values for key, values in tracks[0].metrics.items() if key == "epoch"]
    told = _number(state.get("epoch")) or math.nan
    last_epoch = float(np.nanmax(epochs[0])) if epochs else told
    header = next((record for record in raw if "toymodel" in record), {})  # the callback's
    tracks[0] = dataclasses.replace(tracks[0], steady="loss" in header)
    beta = tracks[0].metrics.get("beta", np.empty(0))
    known = np.unique(beta[np.isfinite(beta)])
    return Log(
        path=source,
        train=tracks[0],
        held_out=tracks[1],
        epochs=last_epoch,
        beta=float(known[0]) if len(known) == 1 else math.nan,
        loss=str(header.get("loss", "")),
        force=str(header.get("force", "")),
        notes=tuple(notes),
    )


def _beside(source: Path, notes: list[str]) -> tuple[Track, dict[str, Any]]:
    """Held-out pairs and what the trainer's own state says, of the run that was watched."""
    where = files.state_in(source.parent)
    if where is None:
        return Track(np.empty(0), {}), {}
    raw, state, amiss = files.records(where)
    notes.append(
        f"Read {source.name}, whose pairs stay the same; held-out pairs and epochs are from "
        f"{where.relative_to(source.parent)}."
    )
    notes += amiss
    return _track(_resumed(_entries(raw, []), []), True, notes), state


def _entries(raw: Sequence[files.Record], notes: list[str]) -> list[_Entry]:
    """Records with a step and at least one number, in the log's order."""
    keys = list(dict.fromkeys(key for record in raw for key in record))
    by_step = step_key(keys)
    if by_step is None:
        notes.append("The log has no steps, so its records are numbered from 1.")
    names = {key: canonical(key) for key in keys if not key.endswith(("__MIN", "__MAX"))}
    found: list[_Entry] = []
    for number, record in enumerate(raw, 1):
        step = float(number) if by_step is None else _step(record.get(by_step))
        if math.isnan(step) or "train_runtime" in record:  # a summary of the whole run
            continue
        values: dict[tuple[str, bool], float] = {}
        for key, value in record.items():
            number_of_it = _number(value)
            if key in names and number_of_it is not None:
                values.setdefault(names[key], number_of_it)
        found.append(_Entry(step, values))
    return found


def _step(value: Any) -> float:
    text = str(value).partition("/")[0]  # "40/500"
    try:
        return float(text)
    except ValueError:
        return math.nan


def _number(value: Any) -> float | None:
    """A metric; text counts where it spells a number, as `"NaN"` does in some exports."""
    if isinstance(value, bool) or value is None or isinstance(value, dict | list):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _one_run(source: Path, entries: list[_Entry], run: int | None) -> list[_Entry]:
    """The entries of one run: a file holds another where the steps begin again at its start."""
    runs: list[list[_Entry]] = []
    for number, entry in enumerate(entries):
        goes_back = number > 0 and entry.step < entries[number - 1].step
        if not runs or (goes_back and entry.step <= runs[-1][0].step):
            runs.append([])
        runs[-1].append(entry)
    if len(runs) > 1 and run is None:
        begin = " and ".join(str(sum(map(len, runs[:k])) + 1) for k in range(1, len(runs)))
        raise refuse(
            "log",
            f"{source} with {len(runs)} runs, one after the other",
            f"one run (the steps begin again at record {begin})",
            f"say which, with run=1 to {len(runs)}; on the command line: --run",
        )
    if not runs:
        return []
    return runs[(whole("run", run, 1, len(runs)) if run is not None else 1) - 1]


def _resumed(entries: list[_Entry], notes: list[str]) -> list[_Entry]:
    """Entries with increasing steps: where the log goes back, what came after is left out."""
    kept: list[_Entry] = []
    for entry in entries:
        if kept and entry.step < kept[-1].step:
            notes.append(
                f"Steps go back from {kept[-1].step:g} to {entry.step:g}, as in a resumed run; the "
                "later records count."
            )
            kept = [x for x in kept if x.step < entry.step]
        kept.append(entry)
    return kept


def _track(entries: list[_Entry], held_out: bool, notes: list[str]) -> Track:
    """One track; a step logged twice takes the later value."""
    rows: dict[float, dict[str, float]] = {}
    repeated = set()
    for entry in entries:
        values = {name: value for (name, held), value in entry.values.items() if held == held_out}
        if not values:
            continue
        if entry.step in rows and any(name in rows[entry.step] for name in _BOTH if name in values):
            repeated.add(entry.step)
        rows.setdefault(entry.step, {}).update(values)
    if repeated:
        where = "held-out pairs" if held_out else "training"
        count = "1 step" if len(repeated) == 1 else f"{len(repeated)} steps"
        notes.append(f"Logged twice: {count} of {where}; the later record counts.")
    steps = _finite(rows, held_out, notes)
    names = dict.fromkeys(name for step in steps for name in rows[step])
    metrics = {name: np.array([rows[x].get(name, math.nan) for x in steps]) for name in names}
    finite = {name: np.where(np.isfinite(x), x, math.nan) for name, x in metrics.items()}
    there = {name: x for name, x in finite.items() if np.isfinite(x).any()}
    return Track(np.array(steps, float), there)


def _finite(rows: dict[float, dict[str, float]], held_out: bool, notes: list[str]) -> list[float]:
    """The steps before the first log-probability or reward that is not finite."""
    for step in sorted(rows):
        broken = [name for name in _BOTH if not math.isfinite(rows[step].get(name, 0.0))]
        if broken:
            name = f"eval_{broken[0]}" if held_out else broken[0]
            notes.append(
                f"At step {step:g} {name} is {rows[step][broken[0]]}: the diagnosis covers the "
                "steps before."
            )
            return [x for x in sorted(rows) if x < step]
    return sorted(rows)


def _without_keys(
    source: Path, raw: Sequence[files.Record], tracks: Sequence[Track], notes: list[str]
) -> InputError:
    """The error for a log that nothing can be said about."""
    broken = [note for note in notes if "diagnosis covers" in note]
    if broken:
        return refuse(
            "log",
            f"{source}: {broken[0].partition(':')[0]}",
            "finite log-probabilities before it",
            "look at the loss, the precision and the learning rate of the first step",
        )
    found = list(dict.fromkeys(key for record in raw for key in record))
    named = ", ".join(found[:_MOST_NAMED]) + (", ..." if len(found) > _MOST_NAMED else "")
    return InputError(
        f"log: {str(source)!r} has the keys {named or '(none)'}, expected {NEEDED} (or the same "
        "with train/ or eval_ before them). To mend it: log with TRL's DPOTrainer or "
        "toymodel's callback; a console log or a reward model's run has no pairs."
    )
