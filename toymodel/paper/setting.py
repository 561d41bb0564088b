"""The toy's setting, which the paper does not state: found by `toymodel calibrate`.

One setting serves all scenarios. The search and its evidence are in ``docs/calibration.md``.
"""

from collections.abc import Iterable

from toymodel import optimisers
from toymodel._struct import number, struct
from toymodel._typing import Scalar
from toymodel.losses import DPO
from toymodel.losses.base import PreferenceLoss
from toymodel.policies import MLP
from toymodel.policies.base import Policy
from toymodel.scenarios import Scenario
from toymodel.simulation import simulate
from toymodel.trajectory import Trajectory


@struct
class Setting:
    """Everything of the paper's experiment but the scenario."""

    policy: Policy = number(default=MLP(hidden=(100,)), doc="the policy and its fit")
    loss: PreferenceLoss = number(default=DPO(beta=0.02), doc="the preference loss")
    learning_rate: Scalar = number(default=3e-4, doc="Adam's learning rate", above=0)

    def run(
        self,
        scenario: str | Scenario,
        *,
        seeds: Iterable[int] = range(100),
        epochs: int = 2000,
        record: int = 10,
        progress: bool = False,
    ) -> Trajectory:
        """Train in this setting: full batches, Adam, one update an epoch."""
        return simulate(
            scenario,
            self.policy,
            self.loss,
            optimisers.get("adam", self.learning_rate),
            steps=epochs,
            seed=list(seeds),
            record=record,
            progress=progress,
        )


#: The calibrated setting: Figures 1 and 3, and the left panel of Figure 2.
CALIBRATED = Setting()
#: The paper's faster run (Figure 2, middle and right panels), of which only this is known: the
#: rejected reaches 1e-45, the smallest float32, near epoch 485 of 500. The learning rate is fitted
#: to that number.
FAST = Setting(learning_rate=1.05e-3)
EPOCHS, FAST_EPOCHS = 2000, 500
