"""Experiments at scale: from a TOML file to a trained model, on one device or on many.

toymodel llm train FILE.toml
accelerate launch -m toymodel.llm.experiment FILE.toml
"""

import importlib
from typing import Any

_WHERE = {"Experiment": "settings", "plan": "planning", "read": "settings", "run": "running"}

__all__ = [*sorted(_WHERE)]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)
