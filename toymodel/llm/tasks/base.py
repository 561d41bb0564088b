"""What a task is: seeded prompts, answers in several formats, and a verifier that goes by rules."""

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np


@dataclasses.dataclass(frozen=True)
class Score:
    """What the verifier says of one answer.

    Args:
        points: 1 (worthless) to 5 (right in every respect), as the paper's rubric.
        aspects: name -> 0 to 1, such as ``rhyme``; empty where a task has none.
        well_formed: whether the answer can be read as one at all.
    """

    points: int
    aspects: Mapping[str, float] = dataclasses.field(default_factory=dict)
    well_formed: bool = True


class Task(abc.ABC):
    """A task over a closed vocabulary: words separated by spaces, no tokenizer to download.

    Everything random comes from the generator that is given, so equal seeds give equal data.
    """

    #: Its name on the command line.
    name: ClassVar[str]
    #: Every word that prompts and answers may hold, without the special tokens.
    vocabulary: ClassVar[Sequence[str]]
    #: Formats that `answer` can write: a policy's, a data set's, and a weak model's, in this order.
    styles: ClassVar[Sequence[str]]
    #: Names of the sets that `prompts` can draw: ``train``, ``test`` and ``shifted`` at least.
    splits: ClassVar[Sequence[str]]
    #: Names of `Score.aspects`, in the order of tables.
    aspects: ClassVar[Sequence[str]]

    @abc.abstractmethod
    def prompts(self, random: np.random.Generator, count: int, split: str) -> list[str]:
        """That many prompts; ``train`` and ``test`` never have one in common."""

    @abc.abstractmethod
    def answer(self, random: np.random.Generator, prompt: str, style: str) -> str:
        """An answer in a format; right unless the format is one of a weak model."""

    @abc.abstractmethod
    def score(self, prompt: str, answer: str) -> Score:
        """What an answer is worth; never raises, whatever the text."""
