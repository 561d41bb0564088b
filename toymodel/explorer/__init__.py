"""The live explorer: in a notebook, controls beside pictures that follow them.

`settings`, `presets`, `fields` and `scales` are plain data; `view` computes what `pictures` and
`maps` draw; `controls`, `choosers` and `app` are widgets, loaded when `explore` is called.
"""

import importlib
from typing import TYPE_CHECKING

from toymodel import losses, policies
from toymodel._errors import InputError
from toymodel._typing import Scalar
from toymodel.explorer import worlds
from toymodel.explorer.settings import Settings, named
from toymodel.losses import PreferenceLoss
from toymodel.optimisers import Optimiser
from toymodel.paper.setting import CALIBRATED, EPOCHS
from toymodel.policies import Policy
from toymodel.scenarios import Scenario

if TYPE_CHECKING:
    from toymodel.explorer.app import Explorer

__all__ = ["explore"]


def explore(
    scenario: Scenario | str = "both_on_policy",
    policy: Policy | str = CALIBRATED.policy,
    loss: PreferenceLoss | str = CALIBRATED.loss,
    optimiser: Optimiser | str = "adam",
    *,
    learning_rate: Scalar | None = None,
    steps: int = EPOCHS,
    seed: int = 0,
) -> "Explorer":
    """Explore a run in a notebook: sliders and menus beside live pictures.

    Takes what `toymodel.simulate` takes, as what to begin with; by default the calibrated setting
    of the paper's figures. Needs ``pip install "toymodel[notebook]"``.

    Args:
        scenario: a `Scenario`, or the name of one.
        policy: a `Policy` of the menu, or the name of one.
        loss: a registered `PreferenceLoss`, or the name of one.
        optimiser: the name of one, or what `toymodel.optimisers.get` gave.
        learning_rate: with an optimiser's name; default 3e-4.
        steps: training steps.
        seed: the seed.

    Returns:
        A widget, which the notebook shows. Its `run` is the `Trajectory` shown at the moment, its
        `code` the Python that makes it.

    Raises:
        InputError: ipywidgets is not installed, or an argument that does not fit.

    Example:
        >>> explorer = explore(loss="flex_dpo", steps=200)
        >>> print(explorer.code.splitlines()[5].strip())
        tm.losses.FlexDPO(beta_chosen=0.1, beta_rejected=0.08),
    """
    if isinstance(optimiser, str) and learning_rate is None:
        learning_rate = CALIBRATED.learning_rate
    method = named(optimiser, learning_rate)
    settings = Settings(
        worlds.get(scenario), policies.get(policy), losses.get(loss), method, steps, seed
    )
    try:
        importlib.import_module("ipywidgets")
    except ModuleNotFoundError:
        raise InputError(
            "explore: the package ipywidgets is missing, expected the extra notebook. "
            'To mend it: pip install "toymodel[notebook]".'
        ) from None
    from toymodel.explorer.app import Explorer

    return Explorer(settings)
