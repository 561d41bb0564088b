"""Where the dispersed mass goes, and what carries it there.

Other prompts' chosen responses receive it. They are also the likeliest outside responses when
dispersion begins, so the four worlds alone cannot tell squeezing (what is pushed down flows to the
likeliest) from interference (other pairs push *their* chosen up, and shared weights carry that
over). The split of steps decides: does the own rejected push them up, or do other pairs? A control
with one prompt's pair alone shows that other pairs are needed.
"""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from toymodel import plots, scenarios
from toymodel.attribution.effects import estimate
from toymodel.decomposition import grouped
from toymodel.optimisers import get as optimiser
from toymodel.paper.setting import CALIBRATED, EPOCHS
from toymodel.plots.pushes import stacked
from toymodel.plots.style import ROLE_COLOURS
from toymodel.scenarios import Role
from toymodel.simulation import simulate
from toymodel.studies.claims import DEGRADATION, DISPERSION, DROP, claim
from toymodel.studies.study import Claim, Study, register

_SPLIT = 100  # steps of the run that are split into their parts
_SPLIT_SEEDS = 8
_EARLY = 200  # steps in which the own rejected still pushes up
_OUTSIDE = (Role.OTHER_CHOSEN, Role.OTHER_REJECTED, Role.UNSEEN)


def compute(seeds: int) -> xr.Dataset:
    """Mass gained by each role while it disperses, [scenario, seed, role]; and one role's pushes.

    The gain is measured, as everywhere, from the step with the least mass outside the pair to the
    end; it is the mean over prompts.
    """
    gains, alone = [], []
    for name in scenarios.PAPER:
        run = CALIBRATED.run(name, seeds=range(seeds), epochs=EPOCHS)
        gains.append(run.properties()["gain_by_role"].mean("prompt"))
        pairs = run.scenario.pairs
        first = [int(of[0]) for of in (pairs.prompt, pairs.chosen, pairs.rejected)]
        control = CALIBRATED.run(
            scenarios.build(log_table=run.scenario.log_table, pairs=[first]),
            seeds=range(seeds),
            epochs=EPOCHS,
        )
        alone.append(control.properties()[["dispersion", "drawdown", "drop"]].isel(prompt=0))
    dim = xr.DataArray(list(scenarios.PAPER), dims="scenario")
    table, without = xr.concat(gains, dim=dim), xr.concat(alone, dim=dim)
    run = simulate(
        "both_on_policy",
        CALIBRATED.policy,
        CALIBRATED.loss,
        optimiser("adam", CALIBRATED.learning_rate),
        steps=EPOCHS,
        seed=list(range(min(seeds, _SPLIT_SEEDS))),
        progress=False,
    )
    parts = run.decompose(at=_SPLIT)
    roles = np.asarray(run.scenario.roles)
    moved = []
    for prompt in range(roles.shape[0]):
        at = np.flatnonzero(roles[prompt] == Role.OTHER_CHOSEN)
        moved.append(grouped(parts, prompt).isel(response=at).mean("response", skipna=False))
    pushes = xr.concat(moved, dim="prompt").mean("prompt", skipna=False)
    pushes = pushes.rename(seed="split_seed")
    found = xr.Dataset({"gain": table, **{f"alone {k}": v for k, v in without.items()}})
    return found.merge(pushes.rename({name: f"push {name}" for name in pushes.data_vars}))


def draw(found: xr.Dataset) -> Figure:
    """Gains by role in each scenario, and what moves other prompts' chosen responses."""
    with plots.style.style():
        figure, grid = plots.style.new_figure(1, 2, panel=(6.2, 4.4))
        left, right = grid[0]
        names = found["scenario"].values
        for place, role in enumerate(_OUTSIDE):
            made = estimate(found["gain"].sel(role=role.title).transpose("scenario", "seed").values)
            x = np.arange(len(names)) + 0.26 * (place - 1)
            left.bar(x, made.mean, 0.24, color=ROLE_COLOURS[role], label=role.title)
            left.errorbar(
                *(x, made.mean),
                yerr=[made.mean - made.low, made.high - made.mean],
                fmt="none",
                ecolor="black",
                capsize=2,
                linewidth=1,
            )
        made = estimate(found["alone dispersion"].transpose("scenario", "seed").values)
        left.plot(
            *(np.arange(len(names)), made.mean, "kx"),
            label="all outside, trained on one pair alone",
        )
        left.axhline(0, color="black", linewidth=0.6)
        left.set_xticks(range(len(names)), [name.replace("_", "\n", 1) for name in names])
        left.set(
            ylabel="probability gained while dispersing",
            title="who receives the mass (mean, 95 % interval)",
        )
        note = "others' rejected: 0 to three digits"
        left.annotate(note, (0.02, 0.93), xycoords="axes fraction", fontsize=8)
        left.set_ylim(top=1.5 * float(found["gain"].mean("seed").max()))
        left.legend(loc="upper right")
        stacked(right, _pushes(found).mean("split_seed"))
        right.set(
            ylabel="change of log-probability (nats a step)",
            title="what moves another prompt's chosen (both on policy)",
        )
        right.set_ylim(top=1.7 * right.get_ylim()[1])
        right.legend(loc="upper right", ncols=2)
    return figure


def _pushes(found: xr.Dataset) -> xr.Dataset:
    """What moves other prompts' chosen, [split_seed, step], under the names of `grouped`."""
    names = [str(name) for name in found.data_vars if str(name).startswith("push ")]
    return found[names].rename({name: name.removeprefix("push ") for name in names})


def compare(found: xr.Dataset) -> list[Claim]:
    """Whether other prompts' chosen receive most, everywhere; and what carries it."""
    claims = []
    names = [str(name) for name in found["scenario"].values]
    gain = found["gain"]
    others = gain.sel(role=[role.title for role in _OUTSIDE[1:]]).max("role", skipna=False)
    lead = gain.sel(role=Role.OTHER_CHOSEN.title) - others
    for name in names:
        what = "others' chosen gain minus next"
        claims.append(claim(name, what, lead.sel(scenario=name), above=0))
    for name in names:
        one = found.sel(scenario=name)
        for kind, ends in (
            ("dispersion", {"below": DISPERSION}),
            ("drawdown", {"below": DEGRADATION}),
            ("drop", {"above": DROP}),
        ):
            claims.append(claim(name, f"one pair alone: {kind}", one[f"alone {kind}"], **ends))
    pushes = 1000 * _pushes(found)
    late = pushes.isel(step=slice(-len(found["step"]) // 2, None)).mean("step", skipna=False)
    where, what = "both_on_policy", "late push (millinats)"
    for part, sign in (("own chosen", -1), ("own rejected", -1), ("other pairs", 1)):
        claims.append(_signed(where, f"{what}: {part}", late[part], sign))
    without = late["change"] - late["preconditioning"]
    claims.append(_signed(where, f"{what}: all but preconditioning", without, -1))
    claims.append(_signed(where, f"{what}: all", late["change"], 1))
    early = pushes["own rejected"].sel(step=slice(None, _EARLY)).mean("step", skipna=False)
    claims.append(_signed(where, f"push in the first {_EARLY} steps: own rejected", early, 1))
    stated = ("own chosen", "own rejected", "other pairs", "change")
    rest = [name for name in late.data_vars if name not in stated]
    return claims + [claim(where, f"{what}: {part}", late[part]) for part in rest]


def _signed(where: str, what: str, by_seed: xr.DataArray, sign: int) -> Claim:
    """That a number is positive, or negative, with its whole interval."""
    return claim(where, what, by_seed, **({"above": 0.0} if sign > 0 else {"below": 0.0}))


FIGURE = register(
    Study(
        name="why_mass",
        title="Where the dispersed mass goes",
        alt=(
            "Bars of mass gained by role, highest for other prompts' chosen; and stacked pushes "
            "over training."
        ),
        caption="Left: probability that each kind of response gains from the step with the least "
        "mass outside the pair to the end (mean over prompts; 95 % interval over seeds); crosses: "
        "dispersion when one prompt's pair is trained alone. Right: "
        "what moves the log-probability of another prompt's chosen response in a step, in parts "
        "that add up to the black line (mean over such responses, prompts and 8 seeds).\n"
        "The mass goes to other prompts' chosen responses. Meanwhile the own pair pushes them "
        "down, other pairs push them up. Without other pairs nothing disperses.",
        compute=compute,
        draw=draw,
        compare=compare,
        on_request=True,
        group="why",
        seeds=64,
    )
)
