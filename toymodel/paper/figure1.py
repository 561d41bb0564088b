"""Figure 1: the toy at a glance, as heat maps: ideal, untrained, reference, after DPO."""

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from toymodel import scenarios
from toymodel.paper.data import digitised
from toymodel.paper.setting import CALIBRATED, FAST_EPOCHS
from toymodel.plots.style import new_figure, style
from toymodel.plots.tables import heat_map, mark_legend
from toymodel.scenarios import Role
from toymodel.studies.study import Claim, Study, register

_SCENARIO = "both_on_policy"
_STAGES = {
    "ideal": "what the pairs ask for",
    "untrained": "untrained network",
    "reference": "after pretraining and SFT (reference)",
    "trained": f"after {FAST_EPOCHS} epochs of DPO",
}


def compute(seeds: int) -> xr.Dataset:
    """The policy's table at four stages, mean over seeds, [stage, prompt, response]."""
    world = scenarios.get(_SCENARIO)
    run = CALIBRATED.run(world, seeds=range(seeds), epochs=FAST_EPOCHS)
    policy = CALIBRATED.policy

    def untrained(seed: jax.Array) -> jax.Array:
        return policy.log_probs(policy.init(jax.random.key(seed), world.shape))

    tables = {
        "ideal": np.asarray(world.roles == Role.OWN_CHOSEN, float),
        "untrained": np.exp(jax.jit(jax.vmap(untrained))(jnp.arange(seeds))).mean(axis=0),
        "reference": np.exp(run.log_probs[:, 0]).mean(axis=0),
        "trained": np.exp(run.log_probs[:, -1]).mean(axis=0),
    }
    return xr.Dataset(
        {
            "probability": (("stage", "prompt", "response"), np.stack(list(tables.values()))),
            "fit_error": float(jnp.max(run.fit.error)),
        },
        {"stage": list(tables), "role": (("prompt", "response"), np.asarray(world.roles))},
        {"scenario": _SCENARIO},
    )


def draw(data: xr.Dataset) -> Figure:
    """Four heat maps with one colour bar."""
    with style():
        figure, axes = new_figure(2, 2, panel=(5.0, 2.5))
        for ax, stage in zip(axes.flat, data["stage"].values, strict=True):
            table = data["probability"].sel(stage=stage)
            image = heat_map(ax, table.values, data["role"].values, _STAGES[str(stage)])
        bar = figure.colorbar(image, ax=axes, label="probability", ticks=[0, 0.05, 0.25, 0.5, 1])
        bar.outline.set_visible(False)
        mark_legend(figure)
    return figure


def compare(data: xr.Dataset) -> list[Claim]:
    """The reference is the scenario's table; after DPO the chosen leads and the rejected is 0."""
    table = data["probability"].sel(stage="trained").values
    roles = data["role"].values
    chosen, rejected = table[roles == Role.OWN_CHOSEN], table[roles == Role.OWN_REJECTED]
    error = float(data["fit_error"])
    paper = float(digitised(_SCENARIO).chosen_mean.sel(epoch=FAST_EPOCHS))
    return [
        Claim("reference", "largest error of a probability", error, "< 0.005", error < 0.005),
        Claim(
            "epoch 500",
            "mean chosen",
            float(chosen.mean()),
            f"{paper:.3f} +- 0.1",
            abs(float(chosen.mean()) - paper) < 0.1,
        ),
        Claim("epoch 500", "largest rejected", float(rejected.max()), "0", rejected.max() < 0.005),
    ]


register(
    Study(
        name="fig1",
        title="The toy at a glance",
        alt=(
            "Four tables of probability, prompts down and responses across: what the pairs ask "
            "for, untrained, after SFT, after 500 epochs of DPO. At the end the rejected are gone "
            "and every row shares its mass among all four chosen."
        ),
        caption=(
            "The policy as a table, prompts down and responses across, in the scenario "
            "both_on_policy; mean over seeds. DPO pushes the rejected responses (framed orange) to "
            "nothing, while the chosen ones (framed blue) get only a part of the freed mass: much "
            "of it goes to other prompts' chosen responses."
        ),
        compute=compute,
        draw=draw,
        compare=compare,
    )
)
