"""Score preference data before training: which pairs are likely to push their chosen down."""

from toymodel.llm.scoring.first_step import first_step, token_kernel
from toymodel.llm.scoring.likeness import likeness
from toymodel.llm.scoring.loading import load_model
from toymodel.llm.scoring.preparing import longest_of, prepare
from toymodel.llm.scoring.ranking import kept, ranked
from toymodel.llm.scoring.run import Result, score_pairs
from toymodel.llm.scoring.settings import RANKINGS, Settings
from toymodel.llm.scoring.states import Reader, States

__all__ = [
    "RANKINGS",
    "Reader",
    "Result",
    "Settings",
    "States",
    "first_step",
    "kept",
    "likeness",
    "load_model",
    "longest_of",
    "prepare",
    "ranked",
    "score_pairs",
    "token_kernel",
]
