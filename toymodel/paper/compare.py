"""How close a band of seeds comes to a digitised curve: coverage, and the best seed's distance."""

import dataclasses

import numpy as np
import xarray as xr

from toymodel.paper.data import DIGITISATION_ERROR, digitised

#: The curves that are compared, and the aims that were set in advance.
COMPARED = ("chosen_mean", "chosen_min", "rejected_max")
COVERAGE_AIM, COVERAGE_FLOOR, DISTANCE_AIM = 0.9, 0.8, 0.05


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How well one panel is reproduced.

    Args:
        scenario: the panel.
        coverage: for each curve, the share of epochs at which the paper's value lies in the
            central 95 % of seeds, widened by the digitisation error.
        strict_coverage: the same without widening.
        best_distance: root-mean-square distance of the nearest seed, over its curves together.
        best_seed: that seed.
    """

    scenario: str
    coverage: dict[str, float]
    strict_coverage: dict[str, float]
    best_distance: float
    best_seed: int

    @property
    def mean_coverage(self) -> float:
        """Mean over the curves."""
        return float(np.mean(list(self.coverage.values())))


def agreement(curves: xr.Dataset) -> Agreement:
    """Compare curves [seed, epoch] of a digitised scenario with the paper's.

    Args:
        curves: what `toymodel.paper.figure3_curves` gave.

    Raises:
        InputError: a scenario whose panel was not digitised.
    """
    scenario = curves.attrs["scenario"]
    paper = digitised(scenario)
    ours = curves.interp(epoch=paper["epoch"].values)
    coverage, strict, squares = {}, {}, []
    for name in COMPARED:
        target = paper[name].values
        seeds = ours[name].transpose("seed", "epoch").values
        low, high = np.quantile(seeds, [0.025, 0.975], axis=0)
        slack = DIGITISATION_ERROR
        coverage[name] = float(np.mean((target >= low - slack) & (target <= high + slack)))
        strict[name] = float(np.mean((target >= low) & (target <= high)))
        squares.append(np.mean((seeds - target) ** 2, axis=1))
    distance = np.sqrt(np.mean(squares, axis=0))
    best = int(np.argmin(distance))
    seed = int(curves["seed"].values[best])
    return Agreement(scenario, coverage, strict, float(distance[best]), seed)
