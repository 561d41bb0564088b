"""Scenarios that have a name: the paper's four, and the lookup."""

from typing import Any

from toymodel._errors import InputError
from toymodel._registry import Registry
from toymodel.scenarios.building import build
from toymodel.scenarios.world import Scenario

#: All scenarios that have a name.
REGISTRY: Registry[Any] = Registry("scenario")

_PAPER_PAIRS = ((0, 0, 4), (1, 1, 6), (2, 2, 7), (3, 3, 5))


def _paper(name: str, chosen: float, rejected: float, unseen: tuple[float, float]) -> Scenario:
    row = [chosen] * 4 + [rejected] * 4 + list(unseen)
    return build([row] * 4, _PAPER_PAIRS, name=name)


@REGISTRY.register("both_on_policy")
def both_on_policy() -> Scenario:
    """Chosen and rejected both likely at the start: 0.12 and 0.12 (paper, Figure 3)."""
    return _paper("both_on_policy", 0.12, 0.12, (0.03, 0.01))


@REGISTRY.register("chosen_off_policy")
def chosen_off_policy() -> Scenario:
    """Chosen unlikely, rejected likely at the start: 0.02 and 0.12 (paper, Figure 3)."""
    return _paper("chosen_off_policy", 0.02, 0.12, (0.40, 0.04))


@REGISTRY.register("rejected_off_policy")
def rejected_off_policy() -> Scenario:
    """Chosen likely, rejected unlikely at the start: 0.12 and 0.02 (paper, Figure 3)."""
    return _paper("rejected_off_policy", 0.12, 0.02, (0.40, 0.04))


@REGISTRY.register("both_off_policy")
def both_off_policy() -> Scenario:
    """Chosen and rejected both unlikely at the start: 0.02 and 0.02 (paper, Figure 3)."""
    return _paper("both_off_policy", 0.02, 0.02, (0.80, 0.04))


#: The paper's four, in the order of the figure here.
PAPER = ("both_on_policy", "chosen_off_policy", "rejected_off_policy", "both_off_policy")


def names() -> list[str]:
    """The names that `get` knows."""
    return list(REGISTRY)


def get(scenario: str | Scenario) -> Scenario:
    """A scenario by name; a `Scenario` is handed through.

    Raises:
        InputError: an unknown name (the nearest is suggested) or something else altogether.

    Example:
        >>> get("both_on_policy").shape
        (4, 10)
    """
    if isinstance(scenario, Scenario):
        return scenario
    if not isinstance(scenario, str):
        raise InputError(f"scenario: got {scenario!r}, expected a Scenario or a name.")
    result: Scenario = REGISTRY.get(scenario)
    return result
