"""The paper's numbers: the digitised panels of Figure 3 and the printed tables."""

import functools
import json
from importlib import resources
from typing import Any

import numpy as np
import xarray as xr

from toymodel._errors import unknown

#: Scenarios whose panel of Figure 3 was digitised.
DIGITISED = ("both_on_policy", "rejected_off_policy")
#: Error of the digitisation: in probability, and in epochs.
DIGITISATION_ERROR, DIGITISATION_EPOCHS = 0.003, 5

_FOLDER = resources.files("toymodel.paper") / "data"


@functools.cache
def digitised(scenario: str) -> xr.Dataset:
    """The digitised curves of one panel of Figure 3.

    Args:
        scenario: one of `DIGITISED`.

    Returns:
        A Dataset over ``epoch`` with chosen_mean, chosen_min, rejected_max and unseen_mean, as
        probabilities within `DIGITISATION_ERROR`. Below about 0.001 the curves rest on the axis's
        last pixel.

    Raises:
        InputError: a scenario whose panel was not digitised.

    Example:
        >>> round(float(digitised("both_on_policy").chosen_mean.max()), 2)
        0.58
    """
    if scenario not in DIGITISED:
        raise unknown("digitised panel", scenario, DIGITISED)
    text = (_FOLDER / f"figure3_{scenario}.csv").read_text()
    header, *rows = text.splitlines()
    values = np.array([[float(number) for number in row.split(",")] for row in rows])
    names = header.split(",")
    return xr.Dataset(
        {name: ("epoch", values[:, index]) for index, name in enumerate(names) if index},
        {"epoch": values[:, 0].astype(int)},
        {"scenario": scenario, "source": "arXiv:2406.07327, Figure 3, digitised"},
    )


def tables() -> dict[str, Any]:
    """The paper's Tables 1, 2, 7, 8 and 9 as plain data, each with its metric."""
    read: dict[str, Any] = json.loads((_FOLDER / "tables.json").read_text())
    return read
