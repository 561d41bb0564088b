"""The bridge: the same losses and the same three properties in a real language model.

Nothing in the library imports this package, and torch is loaded when a name of it is first used.
"""

import importlib
from typing import Any

#: Where each public name is.
_WHERE = {
    "Alarms": "alarms",
    "DPOTrainer": "trainer",
    "Limits": "alarms",
    "PairTokens": "batches",
    "Probe": "probes",
    "PropertiesCallback": "callback",
    "collate": "batches",
    "tokenise": "batches",
    "halves": "gradients",
    "load_pairs": "data",
    "loss_of": "trl_losses",
    "pair_batch": "sequences",
    "rephrased": "probes",
    "score": "sequences",
    "standard_probes": "probes",
    "surrogate": "objective",
    "train": "loop",
}

__all__ = [*sorted(_WHERE)]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE})
