"""What a run lowers, seen from the policy's logits; it may remember something between updates."""

import abc
from typing import Any

import jax

from toymodel import losses, sampling
from toymodel._registry import Registry
from toymodel._typing import TableArray
from toymodel.scenarios import Scenario

#: All objectives beside plain preference losses, by name.
REGISTRY: Registry[Any] = Registry("objective", parts=(losses.REGISTRY, sampling.REGISTRY))


class Objective(abc.ABC):
    """What training lowers: a gradient in logits, from whatever data the present policy calls for.

    Subclasses are frozen dataclasses (`struct`), so their numbers can be swept. A run's parameters
    never enter: the policy's closed-form VJP pulls the gradient back. Everything is written for one
    run and maps over seeds, worlds and numbers.

    The memory is any pytree of arrays whose shapes stay: a reference that moves, pairs drawn from
    the policy of some steps ago, samples that several updates share.
    """

    def check(self, scenario: Scenario) -> None:  # noqa: B027 (nothing to refuse is usual)
        """Refuse a world that lacks what the objective needs, before anything is compiled.

        Raises:
            InputError: what is missing, and how to mend it.
        """

    @abc.abstractmethod
    def begin(self, scenario: Scenario, reference: TableArray, key: jax.Array) -> Any:
        """The memory before the first update.

        Args:
            scenario: the world.
            reference: log-probabilities of the fitted policy, [prompt, response].
            key: the run's key.
        """

    def refresh(
        self,
        memory: Any,
        scenario: Scenario,
        log_probs: TableArray,
        key: jax.Array,
        number: jax.Array,
    ) -> Any:
        """The memory as update `number` needs it: new data, where the time has come.

        Args:
            memory: as the update before left it.
            scenario: the world.
            log_probs: log-probabilities of the present policy, [prompt, response].
            key: the run's key; fold `number` in.
            number: how many updates were made before.
        """
        del scenario, log_probs, key, number
        return memory

    @abc.abstractmethod
    def logit_gradient(
        self,
        memory: Any,
        scenario: Scenario,
        log_probs: TableArray,
        key: jax.Array,
        number: jax.Array,
    ) -> TableArray:
        """dL/dz, [prompt, response], to go down along; arguments as in `refresh`, after it."""
