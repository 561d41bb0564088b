"""Where the dispersed mass goes, and what carries it there.

Other prompts' chosen responses receive it. They are also the likeliest outside responses when
dispersion begins, so the four worlds alone cannot tell squeezing (what is pushed down flows to the
likeliest) from interference (other pairs push *their* chosen up, and shared weights carry that
over). A control decides: the same run with one prompt's pair alone.
"""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from toymodel import plots, scenarios
from toymodel.attribution.effects import estimate
from toymodel.optimisers import get as optimiser
from toymodel.paper.report import Claim, PaperFigure, register
from toymodel.paper.setting import CALIBRATED, EPOCHS
from toymodel.plots.pushes import grouped, stacked
from toymodel.plots.style import ROLE_COLOURS
from toymodel.scenarios import Role
from toymodel.simulation import simulate

_SPLIT = 100  # steps of the run that are split into their parts
_SPLIT_SEEDS = 8
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
        moved.append(grouped(parts, prompt).isel(response=at).mean(("response", "seed")))
    pushes = xr.concat(moved, dim="prompt").mean("prompt")
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
        left.set_ylim(top=1.5 * float(found["gain"].mean("seed").max()))
        left.legend(loc="upper right")
        stacked(
            right,
            found[[name for name in found.data_vars if str(name).startswith("push ")]].rename(
                {name: str(name).removeprefix("push ") for name in found.data_vars
                 if str(name).startswith("push ")}
            ),
        )  # fmt: skip
        right.set(
            ylabel="change of log-probability (nats a step)",
            title="what moves another prompt's chosen (both on policy)",
        )
        right.set_ylim(top=1.7 * right.get_ylim()[1])
        right.legend(loc="upper right", ncols=2)
    return figure


def compare(found: xr.Dataset) -> list[Claim]:
    """Whether other prompts' chosen receive most, everywhere; and what carries it."""
    claims = []
    gain = found["gain"].transpose("scenario", "seed", "role")
    chosen, rejected, unseen = (gain.sel(role=role.title).values for role in _OUTSIDE)
    for at, name in enumerate(found["scenario"].values):
        made = estimate(chosen[at] - np.maximum(rejected[at], unseen[at]))
        claims.append(
            Claim(
                str(name),
                f"others' chosen gain minus next [{made.low:.3f}, {made.high:.3f}]",
                float(made.mean),
                "> 0",
                bool(made.low > 0),
            )
        )
    alone = {k: estimate(found[f"alone {k}"].values) for k in ("dispersion", "drawdown", "drop")}
    for at, name in enumerate(found["scenario"].values):
        for kind, aim in (("dispersion", 0.01), ("drawdown", 0.05)):
            value, high = float(alone[kind].mean[at]), float(alone[kind].high[at])
            claims.append(
                Claim(
                    str(name),
                    f"one pair alone: {kind} (up to {high:.4f})",
                    value,
                    f"< {aim}",
                    high < aim,
                )
            )
        fall = float(alone["drop"].mean[at])
        claims.append(Claim(str(name), "one pair alone: drop (nats)", fall, "> 2.3", fall > 2.3))
    late = found.isel(step=slice(-len(found["step"]) // 2, None)).mean("step")
    for part in ("own chosen", "own rejected", "other pairs", "preconditioning", "memory"):
        per_thousand = 1000 * float(late[f"push {part}"])
        claims.append(
            Claim("both_on_policy", f"late push (millinats): {part}", per_thousand, "-", True)
        )
    return claims


FIGURE = register(
    PaperFigure(
        name="why_mass",
        title="Where the dispersed mass goes",
        caption="Left: probability that each kind of response gains from the step with the least "
        "mass outside the pair to the end (mean over prompts; 95 % interval over seeds); crosses: "
        "dispersion when one prompt's pair is trained alone. Right: "
        "what moves the log-probability of another prompt's chosen response in a step, in parts "
        "that add up to the black line (mean over such responses, prompts and 8 seeds).\n"
        "The mass goes to other prompts' chosen responses. Without other pairs there is none to "
        "receive: the rejected falls by tens of nats and nothing disperses.",
        compute=compute,
        draw=draw,
        compare=compare,
        on_request=True,
        group="why",
        seeds=64,
    )
)
