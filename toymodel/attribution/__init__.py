"""Attribution: switch ingredients of a run off, alone and together, and say what causes what."""

from toymodel.attribution.effects import Estimate, estimate
from toymodel.attribution.ingredients import STANDARD, Switches
from toymodel.attribution.result import LIMITS, Attribution
from toymodel.attribution.run import attribute

__all__ = [
    "LIMITS",
    "STANDARD",
    "Attribution",
    "Estimate",
    "Switches",
    "attribute",
    "estimate",
]
