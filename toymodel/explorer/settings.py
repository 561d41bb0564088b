"""What is chosen in the explorer: everything that makes a run, and the code that makes it."""

import dataclasses
import textwrap
from collections.abc import Hashable
from types import ModuleType
from typing import Any

import jax
import optax

from toymodel import losses, optimisers, policies
from toymodel._errors import refuse, whole
from toymodel._typing import Scalar
from toymodel.explorer import worlds
from toymodel.explorer.worlds import World
from toymodel.losses import PreferenceLoss
from toymodel.optimisers import Custom, Optimiser
from toymodel.paper.setting import CALIBRATED, EPOCHS
from toymodel.policies import Policy
from toymodel.simulation import simulate
from toymodel.trajectory import Trajectory

_ADAM = Optimiser("adam", CALIBRATED.learning_rate, {})


@dataclasses.dataclass(frozen=True, eq=False)
class Settings:
    """A run to be made.

    Args:
        world: the scenario.
        policy: the policy's form.
        loss: the preference loss.
        optimiser: the optimiser, by name.
        steps: training steps.
        seed: the seed.

    Example:
        >>> print(Settings().code())
        import toymodel as tm
        <BLANKLINE>
        run = tm.simulate(
            "both_on_policy",
            tm.MLP(hidden=(100,)),
            tm.losses.DPO(beta=0.02),
            "adam",
            learning_rate=0.0003,
            steps=2000,
            seed=0,
        )
    """

    world: World = dataclasses.field(default_factory=lambda: worlds.get("both_on_policy"))
    policy: Policy = CALIBRATED.policy
    loss: PreferenceLoss = CALIBRATED.loss
    optimiser: Optimiser = _ADAM
    steps: int = EPOCHS
    seed: int = 0

    def run(self) -> Trajectory:
        """Make the run.

        Raises:
            InputError: settings that do not go together.
        """
        whole("steps", self.steps, 1, 100_000)  # longer runs are no work for an explorer
        return simulate(
            self.world.scenario,
            self.policy,
            self.loss,
            self.optimiser,
            steps=self.steps,
            seed=self.seed,
            progress=False,
        )

    @property
    def structure(self) -> Hashable:
        """What JAX compiles for: settings that differ in numbers alone have the same one."""
        parts = (self.world.scenario, self.policy, self.loss, self.optimiser)
        leaves, tree = jax.tree.flatten(parts)
        return tree, tuple(jax.numpy.shape(leaf) for leaf in leaves)

    def code(self) -> str:
        """Python that makes this run, exactly."""
        optimiser = self.optimiser
        name, rate = f'"{optimiser.name}"', number(optimiser.learning_rate)
        options = {**optimiser.options, **dict(optimiser.flags)}
        if options:
            given = _arguments(options)
            method = [f"tm.optimisers.get({name}, {rate}, {given})"]
        else:
            method = [name, f"learning_rate={rate}"]
        arguments = [
            self.world.code,
            policy_code(self.policy),
            loss_code(self.loss),
            *method,
            f"steps={self.steps}",
            f"seed={self.seed}",
        ]
        lines = ["import toymodel as tm\n\n", self.world.setup, "run = tm.simulate(\n"]
        lines += [textwrap.indent(f"{argument},\n", "    ") for argument in arguments]
        return "".join([*lines, ")"])


def named(
    optimiser: str | Optimiser | Custom | optax.GradientTransformation,
    learning_rate: Scalar | None = None,
    **options: Scalar,
) -> Optimiser:
    """An optimiser by name; an optax object, whose numbers nobody can see, is refused.

    Args:
        optimiser: a name, or what `toymodel.optimisers.get` gave.
        learning_rate: with a name: the size of a step.
        options: with a name: further numbers.

    Raises:
        InputError: an optax object, an unknown name or option, or a number out of its range.
    """
    found = optimisers.get(optimiser, learning_rate, **options)
    if not isinstance(found, Optimiser):
        raise refuse("optimiser", "an optax object", "one by name", 'such as "adam"')
    return found


def loss_code(loss: Any) -> str:
    """The expression that makes a loss, with all its settings.

    Example:
        >>> loss_code(losses.WPO())
        'tm.losses.WPO(loss=tm.losses.DPO(beta=0.1), aligned=True, largest=1.0)'
    """
    given = {field.name: getattr(loss, field.name) for field in dataclasses.fields(loss)}
    return _made(loss, losses, "tm.losses", given)


def policy_code(policy: Any) -> str:
    """The expression that makes a policy; what is at its default is left out.

    Example:
        >>> from toymodel.policies import MLP
        >>> policy_code(MLP(hidden=(32,), activation="tanh"))
        "tm.MLP(hidden=(32,), activation='tanh')"
    """
    given = {
        field.name: getattr(policy, field.name)
        for field in dataclasses.fields(policy)
        if getattr(policy, field.name) != field.default
    }
    return _made(policy, policies, "tm", given)


def _made(instance: Any, module: ModuleType, place: str, given: dict[str, Any]) -> str:
    """The call of a class of the project, or of one's own by its name."""
    kind, arguments = type(instance), _arguments(given)
    if getattr(module, kind.__name__, None) is kind:
        return f"{place}.{kind.__name__}({arguments})"
    name = module.REGISTRY.name_of(instance)  # it must be registered where this runs
    get = f"{module.__name__.replace('toymodel', 'tm')}.get"
    return f"{get}({', '.join(filter(None, [repr(name), arguments]))})"


def number(value: Any) -> str:
    """A number as Python writes it, whatever array holds it."""
    return repr(value.item() if hasattr(value, "item") else value)


def _arguments(given: dict[str, Any]) -> str:
    return ", ".join(f"{name}={_value(value)}" for name, value in given.items())


def _value(value: Any) -> str:
    if isinstance(value, PreferenceLoss):
        return loss_code(value)
    if isinstance(value, tuple):
        inner = ", ".join(map(_value, value))
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    return number(value)
