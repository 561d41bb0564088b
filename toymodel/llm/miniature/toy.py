"""The toy's predictions for the miniature: signs and orders of effects, and how often they hold."""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from tqdm import tqdm

from toymodel import optimisers
from toymodel.llm.loop import no_bar
from toymodel.llm.miniature.plan import LOSSES, SCENARIOS
from toymodel.llm.miniature.records import Records
from toymodel.llm.miniature.tables import ONCE
from toymodel.llm.miniature.verdicts import sign
from toymodel.paper.setting import CALIBRATED, EPOCHS
from toymodel.simulation import simulate
from toymodel.studies.claims import share

#: What changes from before to after: log pi(y+), log pi(y-) (nats), and the probability outside.
QUANTITIES = ("chosen", "rejected", "outside")
#: Epochs after which the toy is read. The last, where the paper's own run ends, is the prediction.
READINGS = (100, 500, EPOCHS)


@dataclasses.dataclass(frozen=True)
class Effects:
    """Changes from before to after training, as measured or as predicted.

    Args:
        losses: names.
        changes: [quantity, loss, scenario, seed], in the order of `QUANTITIES` and `SCENARIOS`.
    """

    losses: tuple[str, ...]
    changes: np.ndarray

    def signs(self) -> np.ndarray:
        """-1 or 1 where the 95 % interval over seeds leaves out 0, else 0."""
        return sign(self.changes)

    def orders(self) -> np.ndarray:
        """Signs of paired differences, [quantity, comparison].

        Between each two losses in one scenario, then between each two scenarios for one loss.
        """
        losses = _differences(self.changes, axis=1)
        scenarios = _differences(self.changes, axis=2)
        return sign(np.concatenate([losses, scenarios], axis=1))


def predict(
    losses: Sequence[str] = tuple(LOSSES), *, seeds: int = 32, progress: bool | None = True
) -> dict[int, Effects]:
    """What the toy says, in the calibrated setting, with the miniature's losses.

    Args:
        losses: names of `toymodel.llm.miniature.plan.LOSSES`.
        seeds: of the toy's policy.
        progress: show a progress bar; None: only on a terminal.

    Returns:
        Effects by the epoch at which the toy is read; see `READINGS`.
    """
    found = np.full((len(READINGS), len(QUANTITIES), len(losses), len(SCENARIOS), seeds), np.nan)
    cells = list(itertools.product(enumerate(losses), enumerate(SCENARIOS)))
    with tqdm(cells, desc="the toy's predictions", unit="run", disable=no_bar(progress)) as bar:
        for (i, loss), (j, scenario) in bar:
            run = simulate(
                scenario,
                CALIBRATED.policy,
                LOSSES[loss],
                optimisers.get("adam", CALIBRATED.learning_rate),
                steps=EPOCHS,
                seed=range(seeds),
                record=(0, *READINGS),
                progress=False,
            )
            pairs = run.pair_log_probs().transpose("step", "seed", "pair")
            chosen, rejected = (pairs[half].values for half in ("chosen", "rejected"))
            outside = 1 - np.exp(chosen) - np.exp(rejected)
            for at, curve in enumerate((chosen, rejected, outside)):
                found[:, at, i, j] = (curve[1:] - curve[0]).mean(axis=-1)
    return {reading: Effects(tuple(losses), found[at]) for at, reading in enumerate(READINGS)}


def measured(records: Records, losses: Sequence[str], rate: float) -> Effects:
    """The same of the language models.

    Outside is the probability of everything but the pair and the samples of the base policy.

    Args:
        records: of the miniature.
        losses: names.
        rate: the learning rate that is read.
    """
    names = {"chosen": "logps/chosen", "rejected": "logps/rejected", "outside": "outside"}
    cell = {**ONCE, "learning_rate": rate}
    changes = [
        [
            [records.change(name, **cell, method=loss, scenario=where) for where in SCENARIOS]
            for loss in losses
        ]
        for name in (names[quantity] for quantity in QUANTITIES)
    ]
    return Effects(tuple(losses), np.array(changes))


@dataclasses.dataclass(frozen=True)
class Score:
    """How often the toy was right.

    Args:
        right: comparisons in which both say the same.
        decided: those in which both say anything.
        asked: all.
        guessed: those decided that a guess gets right: of signs the language models' commonest,
            said everywhere; of orders, whose direction is a matter of listing, a coin's half.
    """

    right: int
    decided: int
    asked: int
    guessed: float

    @property
    def text(self) -> str:
        """For tables: the share with Wilson's interval."""
        if not self.decided:
            return f"none of {self.asked} decided"
        found, low, high = share(self.right, self.decided)
        return (
            f"{self.right} of {self.decided} decided ({found:.0%} [{low:.0%}, {high:.0%}]), "
            f"of {self.asked}"
        )


def score(toy: np.ndarray, model: np.ndarray, *, by_coin: bool = False) -> Score:
    """Count agreeing signs.

    Args:
        toy: signs, [comparison].
        model: signs of the language models, [comparison].
        by_coin: whether a coin is the guess to compare with.

    Example:
        >>> score(np.array([1, -1, 0, 1]), np.array([1, 1, 1, 0]))
        Score(right=1, decided=2, asked=4, guessed=2.0)
    """
    decided = (toy != 0) & (model != 0)
    most = np.sign(model[model != 0].sum()) or 1
    guessed = decided.sum() / 2 if by_coin else (model == most)[decided].sum()
    right = (toy == model)[decided].sum()
    return Score(int(right), int(decided.sum()), toy.size, float(guessed))


def scores(toy: Effects, model: Effects) -> Iterator[tuple[str, str, Score]]:
    """Kind of comparison, quantity, and score.

    Args:
        toy: predicted.
        model: measured, of the same losses.
    """
    for kind, one, other in (
        ("sign", toy.signs(), model.signs()),
        ("order", toy.orders(), model.orders()),
    ):
        for at, quantity in enumerate(QUANTITIES):
            by_coin = kind == "order"
            yield kind, quantity, score(one[at].ravel(), other[at].ravel(), by_coin=by_coin)


def _differences(changes: np.ndarray, axis: int) -> np.ndarray:
    """Between each two along an axis, [quantity, comparison, seed]."""
    moved = np.moveaxis(changes, axis, 1)
    pairs = [moved[:, i] - moved[:, j] for i, j in itertools.combinations(range(moved.shape[1]), 2)]
    if not pairs:
        return np.empty((len(changes), 0, changes.shape[-1]))
    return np.stack(pairs, axis=1).reshape(len(changes), -1, changes.shape[-1])
