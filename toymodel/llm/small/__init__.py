"""Small language models made from a config and trained here: nothing is downloaded."""

import importlib
from typing import Any

_WHERE = {
    "BaseSettings": "base",
    "PairSet": "pairs",
    "base_policy": "base",
    "gpt2": "models",
    "make_pairs": "pairs",
    "shares": "answering",
    "word_tokenizer": "tokenizer",
}

__all__ = [*sorted(_WHERE)]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)
