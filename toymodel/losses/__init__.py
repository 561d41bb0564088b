"""Preference losses: one contract (`PreferenceLoss`), a file for each family, one registry.

To find a loss's gradient, read its `slopes`: DPO's is ``toymodel/losses/dpo.py``, ``DPO.slopes``.
"""

from typing import Any

from toymodel._errors import not_by_name
from toymodel._struct import number, static, struct
from toymodel.losses.base import (
    REGISTRY,
    DetachedLoss,
    PairBatch,
    PreferenceLoss,
    SignedLog,
    register,
)
from toymodel.losses.batch import AOT, AOTUnpaired, BetaDPO
from toymodel.losses.bounded import BDPO, DPOP, RDPO, ChiPO
from toymodel.losses.checking import CheckReport, check
from toymodel.losses.compose import WPO, FDivergence, LengthDesensitised, WeightedSum
from toymodel.losses.dpo import DPO, SFTDPO, FlexDPO, FlexSFTDPO
from toymodel.losses.ipo import IPO
from toymodel.losses.margin import CDPO, EXO, ODPO, DiscoPOP, Hinge, MarginLoss, Robust
from toymodel.losses.normalised import AlphaPO, RainbowPO, SigmoidNorm, SimPO
from toymodel.losses.pointwise import BCO, KTO, NCA, SPPO, APODown, APOZero, CalDPO
from toymodel.losses.reference_free import CPO, ORPO, SFT, SLiC
from toymodel.losses.taxonomy import Traits, traits

__all__ = [
    "AOT",
    "BCO",
    "BDPO",
    "CDPO",
    "CPO",
    "DPO",
    "DPOP",
    "EXO",
    "IPO",
    "KTO",
    "NCA",
    "ODPO",
    "ORPO",
    "RDPO",
    "REGISTRY",
    "SFT",
    "SFTDPO",
    "SPPO",
    "WPO",
    "AOTUnpaired",
    "APODown",
    "APOZero",
    "AlphaPO",
    "BetaDPO",
    "CalDPO",
    "CheckReport",
    "ChiPO",
    "DetachedLoss",
    "DiscoPOP",
    "FDivergence",
    "FlexDPO",
    "FlexSFTDPO",
    "Hinge",
    "LengthDesensitised",
    "MarginLoss",
    "PairBatch",
    "PreferenceLoss",
    "RainbowPO",
    "Robust",
    "SLiC",
    "SigmoidNorm",
    "SignedLog",
    "SimPO",
    "Traits",
    "WeightedSum",
    "check",
    "get",
    "names",
    "number",
    "register",
    "static",
    "struct",
    "traits",
]


def names() -> list[str]:
    """The names that `get` knows."""
    return list(REGISTRY)


def get(loss: str | PreferenceLoss, /, **numbers: Any) -> PreferenceLoss:
    """A loss by name and hyper-parameters; a loss is handed through.

    Raises:
        InputError: an unknown name or hyper-parameter (the nearest is suggested), or a number out
            of range.

    Example:
        >>> get("flex_dpo", beta_rejected=0.05)
        FlexDPO(beta_chosen=0.1, beta_rejected=0.05)
    """
    if isinstance(loss, PreferenceLoss) and not numbers:
        return loss
    if not isinstance(loss, str):
        raise not_by_name("loss", loss, PreferenceLoss, REGISTRY)
    result: PreferenceLoss = REGISTRY.get(loss, **numbers)
    return result
