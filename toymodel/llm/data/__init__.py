"""Preference data and questions: files, folders and hub, in the schemas of public data sets."""

from toymodel.llm.data.answers import pair_of
from toymodel.llm.data.pairs import Row
from toymodel.llm.data.reading import ReadPair, load_pairs, load_questions, read_pairs
from toymodel.llm.data.schemas import PAIRS, QUESTIONS, Question

__all__ = [
    "PAIRS",
    "QUESTIONS",
    "Question",
    "ReadPair",
    "Row",
    "load_pairs",
    "load_questions",
    "pair_of",
    "read_pairs",
]
