"""Does a reward model rank held-out responses better, and more steadily, than DPO's own reward?

The counterpart of the paper's Figures 5, 7, 8 and 9. ``docs/roads/accuracy.md`` has the answer.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from toymodel import worlds
from toymodel.policies import MLP, Policy
from toymodel.roads.accuracy_picture import draw
from toymodel.roads.accuracy_runs import ARMS, SCALE, Run, blockwise, relabel, sft
from toymodel.studies.claims import claim, with_interval
from toymodel.studies.study import Claim, Study, register
from toymodel.worlds import World

#: The worlds: a seed each.
SIZES: Mapping[str, Any] = {
    **{"prompts": 128, "responses": 12, "features": 6, "pairs": 4, "heldout_prompts": 64},
    **{"shifted_prompts": 0, "heldout_responses": 0},
}
BATCH, UPDATES, EVERY = 16, 192, 2
#: Labels: the temperature of the Bradley-Terry annotator. Held-out pairs are always labelled truly.
LABELS: Mapping[str, float] = {"clean": 0.0, "noisy": 1.0}
#: Learning rates (Adam) in units of reward: the rate itself is this over `SCALE`.
STEPS = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3)
#: Between these two of them jumpiness is compared.
FAST_AND_SLOW = (0.1, 0.01)
ALIKE = 0.02  # accuracies that differ by less are called alike
#: Seeds of the worlds on which rates are chosen start here.
SELECTION = 100_000


def _perceptron(world: World) -> Policy:
    return worlds.mlp(world, MLP(hidden=(32,)))


FORMS: Mapping[str, Callable[[World], Policy]] = {
    "feature MLP": _perceptron,
    "log-linear": worlds.loglinear,
}


def compute(seeds: int) -> xr.Dataset:
    """Curves of every arm at its own chosen rate, and what all rates give on other worlds."""
    chosen_on = max(1, seeds // 4)
    tests, selection = _worlds(range(seeds)), _worlds(range(SELECTION, SELECTION + chosen_on))
    recorded = jnp.arange(0, UPDATES + 1, EVERY)
    by_form = [_form(make, tests, selection, recorded) for make in FORMS.values()]
    found: xr.Dataset = xr.concat(by_form, xr.Variable("form", list(FORMS)))
    return found


def _worlds(seeds: range) -> Run:
    """Worlds of all seeds, clean first, then noisy; the parts of a run that no form changes."""
    made = [worlds.generate(jax.random.key(seed), **SIZES) for seed in seeds]
    world = jax.tree.map(lambda *leaves: jnp.stack(leaves), *made)
    keys = jax.vmap(jax.random.key)(jnp.asarray(seeds))
    labelled = [
        dataclasses.replace(world, scenario=jax.vmap(relabel, (0, 0, 0, None))(*parts, temperature))
        for parts in [(keys, world.scenario, world.score)]
        for temperature in LABELS.values()
    ]
    both = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *labelled)
    heldout = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf]), world.evaluation.pairs)
    rates = jnp.zeros(len(LABELS) * len(seeds))
    return Run(both, heldout, None, jnp.concatenate([keys, keys]), rates)


def _form(
    make: Callable[[World], Policy], tests: Run, selection: Run, recorded: jax.Array
) -> xr.Dataset:
    starts = [sft(runs.world, runs.key, make=make) for runs in (tests, selection)]
    by_arm = []
    for arm in ARMS:
        at = 0 if arm == "reward model" else 1  # fresh parameters, or those of the SFT policy
        final, other = (
            runs._replace(start=start[at])
            for runs, start in zip((tests, selection), starts, strict=True)
        )
        block = len(final.key)  # runs a call: both uses share one compilation
        train = functools.partial(
            blockwise, block=block, recorded=recorded, make=make, arm=arm, batch_size=BATCH
        )
        rates, count = np.asarray(STEPS) / SCALE[arm], len(other.key)
        tried = train(other, np.tile(np.arange(count), len(STEPS)), np.repeat(rates, count))
        heldout = tried["heldout"].reshape(len(STEPS), len(LABELS), -1, len(recorded))
        best = rates[late(heldout).mean(axis=-1).argmax(axis=0)]  # [label]
        found = train(final, np.arange(block), np.repeat(best, block // len(LABELS)))
        columns = {
            name: (("label", "seed", "step"), value.reshape(len(LABELS), -1, len(recorded)))
            for name, value in found.items()
        }
        dims = ("reward_step", "label", "other")
        tried_columns = {
            "tried_accuracy": (dims, late(heldout)),
            "tried_jumpiness": (dims, jumpiness(heldout)),
        }
        places = {"label": list(LABELS), "step": np.asarray(recorded), "reward_step": list(STEPS)}
        by_arm.append(xr.Dataset({**columns, **tried_columns, "rate": ("label", best)}, places))
    joined: xr.Dataset = xr.concat(by_arm, xr.Variable("arm", list(ARMS)))
    return joined


def late(curve: np.ndarray) -> np.ndarray:
    """The mean over the last quarter of the records, [...]; the last axis holds the records."""
    mean: np.ndarray = curve[..., -(curve.shape[-1] // 4) :].mean(axis=-1)
    return mean


def jumpiness(curve: np.ndarray) -> np.ndarray:
    r"""Mean absolute change between records in the second half of training.

    .. math:: \frac{1}{n}\sum_t |a_{t+1} - a_t|

    The first half is left out, since a curve that rises once changes too.

    Args:
        curve: accuracies, [..., record].

    Returns:
        [...].

    Example:
        >>> float(jumpiness(np.asarray([0.0, 1.0, 0.5, 0.7, 0.5])).round(3))
        0.2
    """
    half = curve[..., curve.shape[-1] // 2 :]
    mean: np.ndarray = np.abs(np.diff(half, axis=-1)).mean(axis=-1)
    return mean


# Claims -----------------------------------------------------------------------------------------


def compare(found: xr.Dataset) -> list[Claim]:
    """The paper's two statements, and ours, each with its interval over worlds."""
    claims = []
    for form in found["form"].values:
        for label in found["label"].values:
            one = found.sel(form=form, label=label).transpose("arm", "seed", "reward_step", ...)
            claims += _of_a_cell(f"{form}, {label}", one)
    linear = found.sel(form="log-linear").transpose("arm", "label", ...)
    for words, name in (("any rate", "tried_accuracy"), ("any record", "heldout")):
        both = [linear[name].sel(arm=arm).values for arm in ("reward model", "DPO")]
        gap = float(np.abs(both[0] - both[1]).max())
        claims.append(
            Claim("log-linear", f"|DPO less reward model|, {words}", gap, "< 0.01", gap < 0.01)
        )
    return claims


def _of_a_cell(where: str, found: xr.Dataset) -> list[Claim]:
    fresh, same, dpo = (found["heldout"].sel(arm=arm).values for arm in ARMS)
    jumps = {arm: found["tried_jumpiness"].sel(arm=arm).values for arm in ARMS}
    fast, slow = (STEPS.index(step) for step in FAST_AND_SLOW)
    jumpier = jumps["DPO"][slow] - jumps["reward model"][slow]
    return [
        claim(where, "paper: reward model less DPO, accuracy", late(fresh) - late(dpo), above=0),
        claim(
            where,
            "paper: DPO less reward model, jumpiness",
            jumpiness(dpo) - jumpiness(fresh),
            above=0,
        ),
        claim(where, "DPO: accuracy", late(dpo), above=0.6),
        claim(
            where,
            "DPO less reward model, accuracy",
            late(dpo) - late(fresh),
            above=-ALIKE,
            below=ALIKE,
        ),
        claim(
            where,
            "same start: DPO less reward model, accuracy",
            late(dpo) - late(same),
            above=-ALIKE,
            below=ALIKE,
        ),
        claim(where, f"equal rate {STEPS[slow]:g}: DPO less reward model, jumpiness", jumpier),
        *(
            claim(
                where,
                f"{arm}: jumpiness at 10 times that rate, rise",
                jumps[arm][fast] - jumps[arm][slow],
                above=0,
            )
            for arm in ("reward model", "DPO")
        ),
    ]


def table(found: xr.Dataset) -> str:
    """Accuracy, jumpiness, loss and the chosen rates, as Markdown."""
    columns = ("rate", "held-out accuracy", "jumpiness", "training accuracy", "training loss")
    lines = [
        "Late in training (last quarter; jumpiness: second half), mean [95 %] over worlds.",
        "",
        f"| form | labels | who | {' | '.join(columns)} |",
        "|---" * (3 + len(columns)) + "|",
    ]
    for form in found["form"].values:
        for label in found["label"].values:
            for arm in found["arm"].values:
                one = found.sel(form=form, label=label, arm=arm).transpose("seed", "step", ...)
                cells = [
                    f"{float(one['rate']):.2g}",
                    with_interval(late(one["heldout"].values), ".3f"),
                    with_interval(jumpiness(one["heldout"].values), ".4f"),
                    with_interval(late(one["training"].values), ".3f"),
                    with_interval(late(one["loss"].values), ".3f"),
                ]
                lines.append(f"| {' | '.join((form, label, arm, *cells))} |")
    meanings = (f"- {arm}: {words}" for arm, words in ARMS.items())
    return "\n".join([*lines, "", *meanings, ""])


FIGURE = register(
    Study(
        name="roads_accuracy",
        title="Held-out accuracy of a reward model and of DPO's implicit reward",
        alt=(
            "Held-out accuracy over training of a reward model and of DPO's implicit reward: the "
            "curves coincide."
        ),
        caption=(
            "Worlds with features: 128 training prompts with 4 pairs each, 64 held-out prompts. "
            "Adam, 192 updates of 16 pairs (6 epochs), the same batches for all. Noisy labels are "
            "Bradley-Terry at temperature 1; accuracy is against the true order of held-out pairs. "
            "Curves: mean and 95 % interval over worlds, each at the rate that is best in the last "
            "quarter on other worlds, a quarter as many.\n"
            "Right: jumpiness (mean absolute change of accuracy between records two updates apart, "
            "second half) on those other worlds, noisy labels, at every rate tried; rates in units "
            "of reward, that is Adam's rate times beta for DPO; dots mark the chosen rates."
        ),
        compute=compute,
        draw=draw,
        compare=compare,
        table=table,
        on_request=True,
        group="roads",
        seeds=32,
    )
)
