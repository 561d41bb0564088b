"""Worlds with many prompts, features, and prompts and responses that no training pair holds.

`generate` makes one from a key; `loglinear` and `mlp` make policies that share by its features;
`accuracy`, `drift` and `heldout_mass` measure training prompts, held-out ones and shifted ones.
"""

from toymodel.worlds.draws import draw_pairs
from toymodel.worlds.generator import generate
from toymodel.worlds.measures import accuracy, by_split, drift, heldout_mass
from toymodel.worlds.sharing import loglinear, mlp
from toymodel.worlds.world import Split, World

__all__ = [
    "Split",
    "World",
    "accuracy",
    "by_split",
    "draw_pairs",
    "drift",
    "generate",
    "heldout_mass",
    "loglinear",
    "mlp",
]
