"""What the miniature runs: tasks, scenarios, losses and learning rates, all stated in advance."""

import dataclasses
import hashlib
import json
from typing import Any

from toymodel import losses
from toymodel._version import __version__
from toymodel.llm.small.base import BaseSettings
from toymodel.losses import PreferenceLoss

#: The paper's four scenarios, and the losses of its Table 9 and of its remedies.
SCENARIOS = ("both_on_policy", "chosen_off_policy", "rejected_off_policy", "both_off_policy")
LOSSES: dict[str, PreferenceLoss] = {
    "dpo": losses.DPO(0.1),
    "flex_dpo": losses.FlexDPO(0.1, 0.08),
    "sft_dpo": losses.SFTDPO(0.1, 0.05),
    "ipo": losses.IPO(0.1),
    "slic": losses.SLiC(5.0, 0.1),
}
ROUNDS = 3  # of iterative DPO
RECORDS = 10  # looks at a run beside the one before it begins
#: Share of right answers at which pretraining ends; they learn late and then at once.
_ENOUGH = {"verses": 0.2, "slogans": 0.25}
FLEX_BETAS = (0.02, 0.05, 0.08, 0.14)  # beta_rejected, beside beta_chosen = 0.1 (Figure 4)


@dataclasses.dataclass(frozen=True)
class Cell:
    """One training run from a base policy, or one look at the base policy itself.

    Args:
        task: name of the task.
        seed: of the base policy, its data and everything after it.
        method: a name of `LOSSES`, ``flex_dpo@0.02`` and the like, ``rloo``, ``reward_model``, or
            ``base``.
        scenario: where the pairs come from.
        learning_rate: of the run; 0 for the base.
        epochs: passes over the pairs.
        rounds: collections of pairs: each takes its share of the prompts, draws its pairs from the
            policy as it is, and holds that policy as reference.
    """

    task: str
    seed: int
    method: str
    scenario: str = "both_on_policy"
    learning_rate: float = 0.0
    epochs: int = 1
    rounds: int = 1

    @property
    def key(self) -> str:
        """Names the cell in logs and files."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @property
    def loss(self) -> PreferenceLoss:
        """The preference loss of its method."""
        name, _, beta = self.method.partition("@")
        return losses.FlexDPO(0.1, float(beta)) if beta else LOSSES[name]


@dataclasses.dataclass(frozen=True)
class Plan:
    """How much is run.

    Args:
        seeds: of base policies.
        methods: names of `LOSSES`; each is run in every scenario.
        learning_rates: of preference losses, each run and shown.
        rl_learning_rates: of policy optimisation, each run and shown.
        prompts: from which pairs are made.
        tests: prompts of each set that policies are scored on.
        samples: answers a prompt, of which the best and the worst are a pair.
        batch_size: pairs a step.
        rl_steps: updates of policy optimisation.
        others: the other tasks, beside arithmetic.
        pretraining: multiplies the steps of pretraining and of tuning.
        width: units of the models.
        layers: their blocks.
    """

    seeds: tuple[int, ...] = (0, 1, 2, 3)
    methods: tuple[str, ...] = tuple(LOSSES)
    learning_rates: tuple[float, ...] = (1e-5, 1e-4)
    rl_learning_rates: tuple[float, ...] = (1e-4, 1e-3)
    prompts: int = 1000
    tests: int = 500
    samples: int = 8
    batch_size: int = 16
    rl_steps: int = 60
    others: tuple[str, ...] = ("verses", "slogans")
    pretraining: float = 1.0
    width: int = 64
    layers: int = 2

    def cells(self, seed: int) -> list[Cell]:
        """Everything of one seed, in the order in which it is run."""
        found = [
            Cell("arithmetic", seed, "base"),
            *(
                Cell("arithmetic", seed, method, scenario, rate)
                for rate in self.learning_rates
                for scenario in SCENARIOS
                for method in self.methods
            ),
            *(
                Cell("arithmetic", seed, "dpo", learning_rate=rate, epochs=epochs, rounds=rounds)
                for rate in self.learning_rates
                for epochs, rounds in ((2, 1), (1, ROUNDS))
            ),
            *self._reward(seed, "arithmetic"),
        ]
        for task in self.others:
            found.append(Cell(task, seed, "base"))
            betas = FLEX_BETAS if task == "verses" else ()
            methods = ("dpo", *(f"flex_dpo@{beta:g}" for beta in betas))
            found += [
                Cell(task, seed, method, learning_rate=rate)
                for rate in self.learning_rates
                for method in methods
            ]
            found += self._reward(seed, task)
        return found

    def _reward(self, seed: int, task: str) -> list[Cell]:
        rl = [Cell(task, seed, "rloo", learning_rate=rate) for rate in self.rl_learning_rates]
        return [Cell(task, seed, "reward_model"), *rl]

    def base(self, task: str) -> BaseSettings:
        """How the base policy of a task is made: it must be right at times, and not always."""
        usual = BaseSettings(width=self.width, layers=self.layers)
        pretraining, tuning = usual.pretraining, usual.tuning
        if task in _ENOUGH:
            pretraining = dataclasses.replace(pretraining, enough=_ENOUGH[task])
            tuning = dataclasses.replace(tuning, steps=10, enough=1.5 * _ENOUGH[task])
        steps = max(1, round(self.pretraining * pretraining.steps))
        rate = pretraining.learning_rate * BaseSettings.width / self.width  # as wide models need
        pretraining = dataclasses.replace(pretraining, steps=steps, learning_rate=rate)
        steps = max(1, round(self.pretraining * tuning.steps))
        tuning = dataclasses.replace(tuning, steps=steps, learning_rate=rate / 3)
        return dataclasses.replace(usual, pretraining=pretraining, tuning=tuning)

    @property
    def digest(self) -> str:
        """Names the plan, whatever its seeds, and who runs it: its runs go on in one folder."""
        fields: dict[str, Any] = dataclasses.asdict(self) | {"losses": repr(LOSSES)}
        fields["toymodel"] = __version__
        del fields["seeds"]
        fields["bases"] = repr([self.base(task) for task in ("arithmetic", *self.others)])
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:12]


QUICK = Plan(
    seeds=(0, 1),
    methods=("dpo",),
    learning_rates=(1e-4,),
    rl_learning_rates=(1e-3,),
    prompts=100,
    tests=100,
    rl_steps=10,
    others=(),
    pretraining=0.2,
)
