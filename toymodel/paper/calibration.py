"""Calibration: search the toy's unstated setting against the digitised panels alone.

Every candidate is run on both panels with several seeds, scored by `toymodel.paper.compare` and
appended to a log at once, so that a search that is stopped goes on where it was.
"""

import dataclasses
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from toymodel._errors import InputError, refuse
from toymodel._version import __version__
from toymodel.losses import DPO
from toymodel.paper.compare import COVERAGE_FLOOR, agreement
from toymodel.paper.data import DIGITISED
from toymodel.paper.figure3 import figure3_curves
from toymodel.paper.setting import Setting
from toymodel.policies import MLP
from toymodel.storage import writable_folder

#: Candidates within this of the best mean coverage count as nearly as good: re-drawing the seeds
#: moves a score by about as much.
NEARLY = 0.03


@dataclasses.dataclass(frozen=True)
class Space:
    """What to try: every combination of these values.

    Args:
        hidden: hidden layers' widths.
        activation: names of activations.
        initialisation: names of initialisations.
        fit_learning_rate: Adam's learning rate in the supervised stage.
        learning_rate: Adam's learning rate in preference training.
        beta: DPO's beta.
    """

    hidden: Sequence[tuple[int, ...]] = ((64,), (80,), (100,), (128,))
    activation: Sequence[str] = ("relu",)
    initialisation: Sequence[str] = ("pytorch",)
    fit_learning_rate: Sequence[float] = (1e-3, 1e-2, 3e-2)
    learning_rate: Sequence[float] = (2e-4, 3e-4, 4e-4)
    beta: Sequence[float] = (0.01, 0.02, 0.05, 0.1)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        names = [field.name for field in dataclasses.fields(self)]
        axes = [getattr(self, name) for name in names]
        return (dict(zip(names, values, strict=True)) for values in itertools.product(*axes))

    def __len__(self) -> int:
        return int(np.prod([len(getattr(self, f.name)) for f in dataclasses.fields(self)]))


#: The structural alternatives, each at several learning rates and two betas.
STRUCTURE = Space(
    hidden=((100,), (64, 64)),
    activation=("relu", "tanh", "gelu"),
    initialisation=("pytorch", "lecun_normal"),
    fit_learning_rate=(1e-2,),
    learning_rate=(1e-4, 2e-4, 3e-4, 6e-4),
    beta=(0.02, 0.05),
)
#: A search of a few candidates, to see it work.
QUICK = Space(hidden=((64,), (100,)), fit_learning_rate=(1e-2,), beta=(0.02,))


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A setting that was tried, and how close it came.

    Args:
        values: its coordinates in the `Space`.
        coverage: for each panel, for each curve.
        best_distance: for each panel, root-mean-square distance of the nearest seed.
    """

    values: dict[str, Any]
    coverage: dict[str, dict[str, float]]
    best_distance: dict[str, float]

    @property
    def score(self) -> float:
        """Mean coverage over panels and curves: what the search maximises."""
        return float(np.mean([v for panel in self.coverage.values() for v in panel.values()]))

    @property
    def setting(self) -> Setting:
        """The setting, to run."""
        return _setting(self.values)


def _setting(values: dict[str, Any]) -> Setting:
    policy = MLP(
        hidden=tuple(values["hidden"]),
        activation=values["activation"],
        initialisation=values["initialisation"],
        fit_learning_rate=values["fit_learning_rate"],
    )
    return Setting(policy, DPO(values["beta"]), values["learning_rate"])


def calibrate(
    spaces: Iterable[Space] = (Space(), STRUCTURE),
    *,
    seeds: int = 100,
    out: str | Path = "runs/calibration",
    progress: bool = True,
) -> list[Candidate]:
    """Try every candidate against both digitised panels.

    Args:
        spaces: what to try.
        seeds: seeds a candidate.
        out: folder of the log ``candidates.jsonl``; candidates that it holds (of the same number
            of seeds and version) are not run again.
        progress: show a progress bar.

    Returns:
        All candidates, the best first.

    Raises:
        InputError: fewer than two seeds, or a folder that cannot be written.
    """
    if not isinstance(seeds, int) or seeds < 2:
        raise refuse("seeds", seeds, "a whole number >= 2, since a band needs several")
    log = writable_folder(out) / "candidates.jsonl"
    known = dict(_read(log, seeds))
    wanted = {_key(values): values for space in spaces for values in space}
    found = []
    with tqdm(wanted.items(), desc="candidates", disable=not progress) as bar:
        for key, values in bar:
            if key not in known:
                known[key] = _try(values, seeds)
                _append(log, known[key], seeds)
            found.append(known[key])
            best = max(found, key=lambda candidate: candidate.score)
            bar.set_postfix(best=f"{best.score:.3f}")
    return sorted(found, key=lambda c: (-c.score, sum(c.best_distance.values())))


def nearly_as_good(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The candidates whose score is within `NEARLY` of the best one's, the best first."""
    least = max(candidate.score for candidate in candidates) - NEARLY
    return [candidate for candidate in candidates if candidate.score >= least]


def _try(values: dict[str, Any], seeds: int) -> Candidate:
    setting = _setting(values)
    results = [agreement(figure3_curves(name, seeds, setting=setting)) for name in DIGITISED]
    return Candidate(
        values,
        {result.scenario: result.coverage for result in results},
        {result.scenario: result.best_distance for result in results},
    )


def _key(values: dict[str, Any]) -> str:
    return json.dumps(values, sort_keys=True)  # tuples and lists alike


def _append(log: Path, candidate: Candidate, seeds: int) -> None:
    entry = {"seeds": seeds, "version": __version__, **dataclasses.asdict(candidate)}
    with log.open("a") as file:
        file.write(json.dumps(entry) + "\n")


def _read(log: Path, seeds: int) -> Iterator[tuple[str, Candidate]]:
    """Candidates of earlier searches; a last line that a crash cut short is removed."""
    text = log.read_text() if log.exists() else ""
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        log.write_text(whole)
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            entry = json.loads(line)
            made_with = entry.pop("seeds"), entry.pop("version")
            candidate = Candidate(**entry)
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"out: line {number} of {str(log)!r} is no candidate ({error!r}), expected a log "
                "of earlier candidates. To mend it: remove the line, or choose another folder."
            ) from error
        if made_with == (seeds, __version__):
            yield _key(candidate.values), candidate


def table(candidates: Sequence[Candidate], most: int = 12) -> str:
    """Candidates as text, with their scores."""
    lines = [f"{'score':>6}  {'worst curve':>11}  {'distances':>13}  setting"]
    for candidate in candidates[:most]:
        worst = min(v for panel in candidate.coverage.values() for v in panel.values())
        distances = " / ".join(f"{value:.3f}" for value in candidate.best_distance.values())
        setting = ", ".join(f"{key} {value}" for key, value in candidate.values.items())
        lines.append(f"{candidate.score:6.3f}  {worst:11.3f}  {distances:>13}  {setting}")
    if candidates and candidates[0].score < COVERAGE_FLOOR:
        lines.append(f"No candidate reaches the floor of {COVERAGE_FLOOR}.")
    return "\n".join(lines)
