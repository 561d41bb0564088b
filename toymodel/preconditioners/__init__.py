"""How gradients become steps: Adam with one thing changed, the natural gradient, and D of a step.

The forms of Adam are in `FACTORIES`, from which `toymodel.optimisers` takes them by name.
"""

from toymodel.preconditioners.adam import (
    FACTORIES,
    Moments,
    adam_column,
    adam_global,
    adam_layer,
    adam_own_clock,
    adam_pooled,
    adam_row,
    adam_uncorrected,
    denominator,
)
from toymodel.preconditioners.fisher import natural
from toymodel.preconditioners.reading import diagonal

__all__ = [
    "FACTORIES",
    "Moments",
    "adam_column",
    "adam_global",
    "adam_layer",
    "adam_own_clock",
    "adam_pooled",
    "adam_row",
    "adam_uncorrected",
    "denominator",
    "diagonal",
    "natural",
]
