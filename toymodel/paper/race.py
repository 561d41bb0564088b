"""The race: every preference loss on the paper's four scenarios, each at its own best setting.

The toy's counterpart of the paper's Table 9. Each loss gets the same grid of learning rates and
strengths; one rule, fixed in advance, picks its setting on seeds of their own; other seeds measure.
It is run twice: at any learning rate, and at the one the paper's toy was calibrated to, since the
answers differ. `toymodel.paper.standings` reads the result.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from tqdm import tqdm

from toymodel import losses, optimisers, scenarios
from toymodel._struct import number, struct
from toymodel._typing import PairArray, Scalar
from toymodel.losses.base import PairBatch, PreferenceLoss
from toymodel.paper.setting import CALIBRATED, EPOCHS
from toymodel.paper.standings import MEASURES, compare, draw, table
from toymodel.simulation import simulate
from toymodel.studies.study import Study, register
from toymodel.trajectory import Trajectory

#: Registered losses that do not run, and why.
NOT_RUN = {
    "sum": "a sum of losses, with no terms of its own",
    "rdpo": "DPO exactly, where all responses have one length",
    "sigmoid_norm": "DPO exactly, where all responses have one token",
    "ld_dpo": "DPO exactly, where no response is longer than the other",
    "f_dpo": "runs as f_dpo_forward_kl and f_dpo_js, on DPO",
}
#: The number that sets a loss's strength, where it is not ``beta``. Several are scaled together.
STRENGTHS: dict[type[PreferenceLoss], tuple[str, ...]] = {
    losses.FlexDPO: ("beta_chosen", "beta_rejected"),
    losses.FlexSFTDPO: ("beta_chosen", "beta_rejected"),
    losses.IPO: ("eta",),
    losses.SLiC: ("delta",),
}


@dataclasses.dataclass(frozen=True)
class Plan:
    """The rules of a race, fixed before it.

    Args:
        rates: Adam's learning rates, among them the calibrated one.
        factors: multiples of the default strength of each loss (`strength_fields`).
        steps: full-batch updates.
        selection_seeds: seeds that pick the setting with the highest final chosen probability,
            averaged over scenarios; no seed that measures is among them.
    """

    rates: tuple[float, ...] = (3e-4, 3e-3, 3e-2, 3e-1)
    factors: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0, 10.0)
    steps: int = EPOCHS
    selection_seeds: tuple[int, ...] = tuple(range(1_000_000, 1_000_008))

    def grid(self, loss: PreferenceLoss) -> list[tuple[float, float]]:
        """The (rate, factor) to try; a loss without a strength has one factor, which is idle."""
        factors = self.factors if strength_fields(loss) else self.factors[:1]
        return [(rate, factor) for rate in self.rates for factor in factors]


RACE = Plan()
TOY_RATE = float(CALIBRATED.learning_rate)
#: The two races: at any learning rate of the plan, and at the paper's toy's.
RULES = {"own rate": None, "toy rate": TOY_RATE}
#: Default numbers and few steps, to see it work: for fewer than `_REHEARSAL_BELOW` seeds.
REHEARSAL = Plan((TOY_RATE,), (1.0,), 100, (1_000_000, 1_000_001))
_REHEARSAL_BELOW = 8


@struct(eq=False)
class OneOf(PreferenceLoss):
    """One of several losses, by number: one compilation serves them all, whatever their numbers."""

    index: Scalar = number(doc="which loss")
    losses: tuple[PreferenceLoss, ...] = number(doc="the losses")

    @property
    def takes_weights(self) -> bool:
        return all(loss.takes_weights for loss in self.losses)

    def value(self, pairs: PairBatch) -> PairArray:
        values: PairArray = jax.lax.switch(self.index, [x.value for x in self.losses], pairs)
        return values

    def slopes(self, pairs: PairBatch) -> tuple[PairArray, PairArray]:
        both: tuple[PairArray, PairArray] = jax.lax.switch(
            self.index, [x.slopes for x in self.losses], pairs
        )
        return both


def entrants() -> dict[str, PreferenceLoss]:
    """The losses that run, at their default numbers: all registered ones but `NOT_RUN`."""
    running = {name: losses.get(name) for name in losses.names() if name not in NOT_RUN}
    for divergence in ("forward_kl", "js"):
        running[f"f_dpo_{divergence}"] = losses.FDivergence(losses.DPO(), divergence)
    return running


def strength_fields(loss: PreferenceLoss) -> tuple[str, ...]:
    """The fields that set a loss's strength, of its inner loss where it has one; perhaps none."""
    inner = getattr(loss, "loss", None)
    if inner is not None:
        return strength_fields(inner)
    return STRENGTHS.get(type(loss), ("beta",) if hasattr(loss, "beta") else ())


def at_strength(loss: PreferenceLoss, factor: float) -> PreferenceLoss:
    """The loss with its strength multiplied.

    Example:
        >>> at_strength(losses.FlexDPO(), 10)
        FlexDPO(beta_chosen=1.0, beta_rejected=0.8)
    """
    inner = getattr(loss, "loss", None)
    if inner is not None:
        return dataclasses.replace(loss, loss=at_strength(inner, factor))  # type: ignore[type-var]
    fields = strength_fields(loss)
    numbers = {field: float(f"{factor * getattr(loss, field):.6g}") for field in fields}
    return dataclasses.replace(loss, **numbers)  # type: ignore[type-var]


def balanced(loss: PreferenceLoss) -> bool:
    """Whether a+ = -a-: the loss pulls the chosen up exactly as it pushes the rejected down."""
    some = ([-1.0, -2.0, -3.0], [-2.0, -2.5, -5.0], [-1.5, -2.2, -2.0], [-1.7, -2.6, -2.0])
    chosen, rejected = loss.slopes(PairBatch(*map(jnp.asarray, some)))
    return bool(jnp.allclose(chosen, -rejected))


def race(
    running: Mapping[str, PreferenceLoss],
    seeds: int,
    plan: Plan = RACE,
    *,
    progress: bool | None = None,
) -> xr.Dataset:
    """Pick each loss's setting on the selection seeds, then measure it on seeds 0 to ``seeds - 1``.

    Args:
        running: the losses by name, at their default numbers.
        seeds: seeds that measure.
        plan: grid, steps and selection seeds.
        progress: show a progress bar; by default on a terminal.

    Returns:
        The `MEASURES`, each [rule, loss, scenario, seed], rule being one of `RULES`; the picked
        learning_rate, factor and setting, [rule, loss]; what picked them, score [loss, rate,
        factor_tried] (NaN: not tried); `balanced` [loss].
    """
    field, worlds = tuple(running.values()), scenarios.names()

    def run(number: int, rate: float, factor: float, world: str, seeds: Sequence[int]) -> Any:
        tried = tuple(at_strength(x, factor) if k == number else x for k, x in enumerate(field))
        return simulate(
            world,
            CALIBRATED.policy,
            OneOf(number, tried),
            optimisers.get("adam", rate),
            steps=plan.steps,
            seed=list(seeds),
            record=max(1, plan.steps // 100),
            progress=False,
        )

    block = len(plan.selection_seeds)  # measuring in blocks as large shares the compilation
    blocks = [range(start, start + block) for start in range(0, seeds, block)]

    def measure(number: int, rate: float, factor: float) -> np.ndarray:
        """The `MEASURES` in every scenario, [measure, scenario, seed]."""
        parts = [
            [_measure(run(number, rate, factor, world, part)) for part in blocks]
            for world in worlds
        ]
        return np.stack([np.concatenate(x, axis=-1)[:, :seeds] for x in parts], axis=1)

    score = np.full((len(field), len(plan.rates), len(plan.factors)), np.nan)
    picked, measured = [], []
    total = sum(len(plan.grid(loss)) for loss in field) + len(RULES) * len(field)
    hidden = None if progress is None else not progress
    with tqdm(total=total, desc="race", unit="setting", disable=hidden) as bar:
        for number, loss in enumerate(field):
            bar.set_postfix_str(list(running)[number])
            for rate, factor in plan.grid(loss):
                runs = (run(number, rate, factor, x, plan.selection_seeds) for x in worlds)
                place = plan.rates.index(rate), plan.factors.index(factor)
                score[number, *place] = np.mean([final_chosen(x) for x in runs])
                bar.update()
            picks = [_best(score[number], plan, rate) for rate in RULES.values()]
            found = {pick: measure(number, *pick) for pick in dict.fromkeys(picks)}
            picked.append(picks)
            measured.append([found[pick] for pick in picks])
            bar.update(len(RULES))

    every = np.asarray(measured)  # [loss, rule, measure, scenario, seed]
    dims = ("loss", "rule", "scenario", "seed")
    labels = [[repr(at_strength(x, f)) for _, f in p] for x, p in zip(field, picked, strict=True)]
    return xr.Dataset(
        {
            **{name: (dims, every[:, :, at]) for at, name in enumerate(MEASURES)},
            "score": (("loss", "rate", "factor_tried"), score),
        },
        {
            "loss": list(running),
            "rule": list(RULES),
            "scenario": worlds,
            "seed": range(seeds),
            "rate": list(plan.rates),
            "factor_tried": list(plan.factors),
            "learning_rate": (("loss", "rule"), [[rate for rate, _ in p] for p in picked]),
            "factor": (("loss", "rule"), [[factor for _, factor in p] for p in picked]),
            "setting": (("loss", "rule"), labels),
            "balanced": ("loss", [balanced(loss) for loss in field]),
        },
        {"steps": plan.steps, "not_run": [f"{name} ({why})" for name, why in NOT_RUN.items()]},
    )


def _best(score: np.ndarray, plan: Plan, rate: float | None) -> tuple[float, float]:
    """The (rate, factor) with the highest score, perhaps at one rate; the first, where several."""
    rates = plan.rates if rate is None else (rate,)
    allowed = np.isin(plan.rates, rates)[:, None] & np.isfinite(score)
    at = np.unravel_index(np.argmax(np.where(allowed, score, -1)), score.shape)
    return plan.rates[at[0]], plan.factors[at[1]]


def final_chosen(run: Trajectory) -> np.ndarray:
    """The chosen probability after training, mean over prompts, [seed]."""
    final: np.ndarray = run.likelihoods().chosen_mean.values[:, -1]
    return final


def _measure(run: Trajectory) -> np.ndarray:
    """The `MEASURES` of a run, [measure, seed]."""
    found = run.properties().mean("prompt")
    rows = [found[name].values for name in MEASURES if name != "final_chosen"]
    return np.stack([final_chosen(run), *rows])


def compute(seeds: int, progress: bool | None = None) -> xr.Dataset:
    """The whole race; below eight seeds the `REHEARSAL`, which shows nothing about losses."""
    plan = RACE if seeds >= _REHEARSAL_BELOW else REHEARSAL
    return race(entrants(), seeds, plan, progress=progress)


register(
    Study(
        name="race",
        title="The race of the losses",
        alt=(
            "A row a loss with its final chosen probability: unbalanced and supervised losses "
            "near 1, balanced ones near 0.4 at the toy's rate."
        ),
        caption=(
            "Every loss after 2,000 full-batch epochs of Adam, each at its own best setting out of "
            "four learning rates times five strengths (0.1 to 10 times the default): the highest "
            "final chosen probability, mean of the scenarios, on eight other seeds. Left panel: "
            "any learning rate. The others: 3e-4, which the paper's toy was calibrated to. "
            "Coloured: mean of the scenarios with its 95 % t interval over seeds, hollow where "
            "more than 0.01 behind the best; grey: each scenario. Losses in italics are balanced "
            "(a+ = -a-). Fewer than eight seeds make a rehearsal of 100 epochs at one setting, "
            "which shows nothing about losses."
        ),
        compute=compute,
        draw=draw,
        compare=compare,
        table=table,
        on_request=True,
        seeds=64,
        shows_progress=True,
    )
)
