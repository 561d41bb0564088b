"""Small language models made from a config and trained here: nothing is downloaded."""

from toymodel.llm.small.answering import shares
from toymodel.llm.small.base import BaseSettings, base_policy
from toymodel.llm.small.models import gpt2
from toymodel.llm.small.pairs import PairSet, make_pairs
from toymodel.llm.small.tokenizer import word_tokenizer

__all__ = [
    "BaseSettings",
    "PairSet",
    "base_policy",
    "gpt2",
    "make_pairs",
    "shares",
    "word_tokenizer",
]
