"""Phase diagrams: where drop, degradation and dispersion appear, with Adam and with SGD.

Not in the paper, whose figures show single settings: around the calibrated one, five pairs of
settings are swept, with 64 seeds a cell.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import xarray as xr
from matplotlib.figure import Figure

from toymodel import plots, sweeps
from toymodel._version import __version__
from toymodel.losses import DPO, SFTDPO, FlexDPO, PreferenceLoss
from toymodel.paper.setting import CALIBRATED, EPOCHS
from toymodel.policies import MLP
from toymodel.studies.study import Claim, Study, register
from toymodel.sweeps import Axis, Sweep, geomspace

#: Stores of the sweeps: stopped ones go on, and `toymodel plot` draws from them.
STORES = Path("runs/phase-diagrams")

#: Learning rates that push the rejected down alike (by 120 and 142 nats) in the calibrated setting.
RATES = {"adam": float(CALIBRATED.learning_rate), "sgd": 0.3}
_RATE = "learning rate, as a multiple"
_POINTS = 12
_BETA = geomspace(0.002, 0.2, _POINTS)
_INITIAL = geomspace(0.005, 0.12, _POINTS)
_MULTIPLES = geomspace(0.1, 10, _POINTS)
_STRENGTHS = geomspace(0.005, 0.5, _POINTS)


@dataclasses.dataclass(frozen=True)
class Map:
    """One pair of settings.

    Args:
        title: what is shown, in a line.
        alt: what is seen, for those who do not see it.
        caption: two lines that help to read it.
        loss: the preference loss.
        x: the setting across, or `_RATE`.
        y: the setting upwards.
        values: of both.
    """

    title: str
    alt: str
    caption: str
    loss: PreferenceLoss
    x: str
    y: str
    values: Mapping[str, tuple[Any, ...]]

    def sweep(
        self, name: str, optimiser: str, seeds: int, progress: bool | None = None
    ) -> xr.Dataset:
        """One optimiser's diagram; stopped before its end, it goes on."""
        rate = RATES[optimiser]
        base = Sweep(
            "both_on_policy",
            CALIBRATED.policy,
            self.loss,
            optimiser,
            learning_rate=None if _RATE in self.values else rate,
            steps=EPOCHS,
        )
        axes = [
            Axis(dim, {"learning_rate": tuple(rate * m for m in values)})
            if dim == _RATE
            else Axis(dim, {dim: values})
            for dim, values in self.values.items()
        ]
        precision = jnp.result_type(float).name
        store = STORES / f"{name}-{optimiser}-{seeds}-{precision}-{__version__}.zarr"
        found = sweeps.sweep(base, [*axes, {"seed": range(seeds)}], store=store, progress=progress)
        if _RATE in found.dims:
            found = found.drop_vars("learning_rate").assign_coords(
                {_RATE: list(self.values[_RATE])}
            )
        return found


_NETWORK = tuple(MLP(hidden=(width,)) for width in (8, 16, 32, 64, 128, 256))

MAPS = {
    "phases_rate": Map(
        "beta against learning rate",
        "Maps over learning rate and beta, Adam left and SGD right: drop nearly everywhere, "
        "degradation and dispersion in a band under Adam only.",
        "Across: the learning rate, as a multiple of the calibrated one (Adam 3e-4, SGD 0.3); up: "
        "DPO's beta. Inside the black line half of all seeds and prompts show the property.\n"
        "The drop needs nothing but training long enough; degradation and dispersion fill a wide "
        "band of the map with Adam. With SGD in this one-hidden-layer network they are absent at "
        "every rate; with two hidden layers they are not (docs/why/chosen.md).",
        DPO(),
        _RATE,
        "loss.beta",
        {"loss.beta": tuple(_BETA), _RATE: tuple(_MULTIPLES)},
    ),
    "phases_flex": Map(
        "strength on the chosen against strength on the rejected (Flex-DPO)",
        "Maps over both strengths of Flex-DPO: degradation and dispersion end at the diagonal, "
        "with either optimiser.",
        "Across: the pull on the chosen; up: the push on the rejected. The diagonal is DPO.\n"
        "Below the diagonal the chosen is pulled harder than the rejected is pushed, and just "
        "below it degradation and dispersion are gone, with either optimiser.",
        FlexDPO(),
        "loss.beta_chosen",
        "loss.beta_rejected",
        {"loss.beta_rejected": tuple(_STRENGTHS), "loss.beta_chosen": tuple(_STRENGTHS)},
    ),
    "phases_sft": Map(
        "weight of the SFT term against beta (DPO with SFT)",
        "Maps over SFT weight and beta: under Adam degradation and dispersion end near a weight "
        "of a millionth; under SGD there are none.",
        "Across: the weight of the SFT term; up: beta.\n"
        "Right of the line the chosen no longer falls. In this network a weight of a millionth "
        "is enough under Adam; why, and what is enough elsewhere, is in docs/why/sft.md.",
        SFTDPO(),
        "loss.gamma",
        "loss.beta",
        {"loss.beta": tuple(_BETA), "loss.gamma": tuple(geomspace(1e-9, 1e-2, _POINTS))},
    ),
    "phases_initial": Map(
        "initial probability of the chosen against that of the rejected",
        "Maps over initial probabilities of chosen and rejected: every start degrades and "
        "disperses under Adam, none under SGD.",
        "Across and up: the initial probability of each of the four chosen and of each of the four "
        "rejected responses; the paper's four scenarios stand near the corners.\n"
        "The network is fitted to each table anew. With Adam every start ends in degradation and "
        "dispersion, with SGD none does.",
        CALIBRATED.loss,
        "scenario.chosen",
        "scenario.rejected",
        {"scenario.rejected": tuple(_INITIAL), "scenario.chosen": tuple(_INITIAL)},
    ),
    "phases_width": Map(
        "width of the hidden layer against learning rate",
        "Maps over width and learning rate: degradation from half the calibrated rate on under "
        "Adam; under SGD only at the narrowest.",
        "Across: the learning rate, as a multiple of the calibrated one; up: hidden units.\n"
        "With Adam degradation begins near half the calibrated rate at every width; with SGD only "
        "the narrowest network shows it.",
        CALIBRATED.loss,
        _RATE,
        "policy.hidden",
        {"policy.hidden": tuple(p.hidden for p in _NETWORK), _RATE: tuple(_MULTIPLES)},
    ),
}


def compute(name: str, seeds: int, progress: bool | None = None) -> xr.Dataset:
    """The properties over both settings and both optimisers."""
    shown = MAPS[name]
    found = [shown.sweep(name, optimiser, seeds, progress) for optimiser in RATES]
    return xr.concat(
        [one.drop_vars("learning_rate", errors="ignore") for one in found],
        xr.DataArray(list(RATES), dims="optimiser", name="optimiser"),
    )


def draw(name: str, found: xr.Dataset) -> Figure:
    """Drop, degradation and dispersion by optimiser."""
    shown = MAPS[name]
    return plots.three_phases(found, shown.x, shown.y, columns="optimiser")


def compare(found: xr.Dataset) -> list[Claim]:
    """How much of each map shows each property, and that SGD shows no more than Adam."""
    claims = []
    shares = {}
    for what, onset in (
        ("drop", "drop_onset"),
        ("degradation", "degradation_onset"),
        ("dispersion", "dispersion_onset"),
    ):
        came = found[onset].notnull().mean(("seed", "prompt")) >= 0.5
        for optimiser in RATES:
            share = float(came.sel(optimiser=optimiser).mean())
            shares[what, optimiser] = share
            is_bound = what != "drop" and optimiser == "sgd"
            aim = f"<= {shares[what, 'adam']:.3f}" if is_bound else "-"
            reached = share <= shares[what, "adam"] if is_bound else None
            claims.append(Claim(optimiser, f"share of cells: {what}", share, aim, reached))
    return claims


def _figure(name: str, shown: Map) -> Study:
    return Study(
        name=name,
        title=f"Phase diagram: {shown.title}",
        alt=shown.alt,
        caption=shown.caption,
        compute=lambda seeds, progress=None: compute(name, seeds, progress=progress),
        draw=lambda found: draw(name, found),
        compare=compare,
        on_request=True,
        group="phase-diagrams",
        seeds=64,
        shows_progress=True,
    )


STUDIES = [register(_figure(name, shown)) for name, shown in MAPS.items()]
