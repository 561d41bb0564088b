"""Ours beside the paper's: does a difference have the paper's sign, the other, or cannot we say?"""

import dataclasses
import enum

import numpy as np

from toymodel.attribution.effects import estimate


class Verdict(enum.Enum):
    """What a comparison says."""

    AGREES = "agrees"
    DIFFERS = "differs"
    UNDECIDED = "undecided"


@dataclasses.dataclass(frozen=True)
class Row:
    """A difference of ours beside the paper's.

    Args:
        table: of the paper, such as ``Table 8``.
        what: the difference.
        ours: by seed, [seed].
        paper: the paper's.
    """

    table: str
    what: str
    ours: np.ndarray
    paper: float

    @property
    def verdict(self) -> Verdict:
        """By sign, where the 95 % interval over seeds leaves out 0.

        Example:
            >>> Row("Table 8", "rise", np.array([0.1, 0.12, 0.11]), 0.05).verdict
            <Verdict.AGREES: 'agrees'>
            >>> Row("Table 8", "rise", np.array([0.1, -0.12, 0.11]), 0.05).verdict
            <Verdict.UNDECIDED: 'undecided'>
        """
        found = estimate(self.ours)
        if not np.isfinite(found.low) or found.low <= 0 <= found.high or self.paper == 0:
            return Verdict.UNDECIDED
        same = np.sign(found.mean) == np.sign(self.paper)
        return Verdict.AGREES if same else Verdict.DIFFERS
