"""Preference losses: one contract (`PreferenceLoss`), a file for each family, one registry.

To find a loss's gradient, read its `slopes`: DPO's is ``toymodel/losses/dpo.py``, ``DPO.slopes``.
"""

from collections.abc import Callable
from typing import Any

from toymodel._struct import number, static, struct
from toymodel.losses.base import REGISTRY, PairBatch, PreferenceLoss, SignedLog
from toymodel.losses.dpo import DPO, SFTDPO, FlexDPO, FlexSFTDPO
from toymodel.losses.ipo import IPO
from toymodel.losses.slic import SLiC

__all__ = [
    "DPO",
    "IPO",
    "REGISTRY",
    "SFTDPO",
    "FlexDPO",
    "FlexSFTDPO",
    "PairBatch",
    "PreferenceLoss",
    "SLiC",
    "SignedLog",
    "get",
    "names",
    "number",
    "register",
    "static",
    "struct",
]


def names() -> list[str]:
    """The names that `get` knows."""
    return list(REGISTRY)


def get(loss: str | PreferenceLoss, **numbers: Any) -> PreferenceLoss:
    """A loss by name and hyper-parameters; a loss is handed through.

    Raises:
        InputError: an unknown name or hyper-parameter (the nearest is suggested), or a number out
            of range.

    Example:
        >>> get("flex_dpo", beta_rejected=0.05)
        FlexDPO(beta_chosen=0.1, beta_rejected=0.05)
    """
    if isinstance(loss, PreferenceLoss):
        return loss
    result: PreferenceLoss = REGISTRY.get(loss, **numbers)
    return result


def register(name: str) -> Callable[[type[PreferenceLoss]], type[PreferenceLoss]]:
    """A class decorator that makes a user's own loss known by name.

    Example:
        >>> import jax.numpy as jnp
        >>> @register("squared_margin")
        ... @struct
        ... class SquaredMargin(PreferenceLoss):
        ...     '''Push the margin to one.'''
        ...     scale: float = number(default=1.0, above=0, doc="size of the loss")
        ...     def value(self, pairs):
        ...         return self.scale * (pairs.margin - 1) ** 2
        ...     def slopes(self, pairs):
        ...         slope = 2 * self.scale * (pairs.margin - 1)
        ...         return slope, -slope
        >>> get("squared_margin", scale=2.0)
        SquaredMargin(scale=2.0)
    """
    return REGISTRY.register(name)
