"""Ours beside the paper's: does a difference have the paper's sign, the other, or cannot we say?"""

import dataclasses
import enum

import numpy as np

from toymodel.attribution.effects import estimate
from toymodel.studies.claims import with_interval
from toymodel.studies.study import Claim, cell


class Verdict(enum.Enum):
    """What a comparison says."""

    AGREES = "agrees"
    DIFFERS = "differs"
    UNDECIDED = "undecided"


def sign(by_seed: np.ndarray) -> np.ndarray:
    """-1 or 1 where the 95 % interval over seeds, the last axis, leaves out 0, else 0.

    Example:
        >>> sign(np.array([[1.0, 1.1, 0.9], [1.0, -1.0, 0.1]])).tolist()
        [1, 0]
    """
    found = estimate(by_seed)
    return np.asarray((found.low > 0).astype(int) - (found.high < 0).astype(int))


@dataclasses.dataclass(frozen=True)
class Row:
    """A difference of ours beside the paper's.

    Args:
        table: of the paper, such as ``Table 8``.
        what: the difference.
        ours: by seed, [seed].
        paper: the paper's, of each of its models.
    """

    table: str
    what: str
    ours: np.ndarray
    paper: tuple[float, ...]

    @property
    def verdict(self) -> Verdict:
        """By sign, where the 95 % interval over seeds leaves out 0 and the paper's models agree.

        Example:
            >>> Row("Table 8", "rise", np.array([0.1, 0.12, 0.11]), (0.05, 0.02)).verdict
            <Verdict.AGREES: 'agrees'>
            >>> Row("Table 8", "rise", np.array([0.1, -0.12, 0.11]), (0.05, 0.02)).verdict
            <Verdict.UNDECIDED: 'undecided'>
        """
        ours, theirs = int(sign(self.ours)), set(np.sign(self.paper))
        if ours == 0 or len(theirs) > 1 or theirs == {0.0}:
            return Verdict.UNDECIDED
        return Verdict.AGREES if ours in theirs else Verdict.DIFFERS

    @property
    def paper_text(self) -> str:
        """The paper's numbers, with their signs."""
        return ", ".join(f"{value:+.3g}" for value in self.paper)

    def claim(self) -> Claim:
        """The same for the table that `toymodel reproduce` prints."""
        reached = {Verdict.AGREES: True, Verdict.DIFFERS: False, Verdict.UNDECIDED: None}
        found = estimate(self.ours)
        text = f"{self.what} [{found.low:.3g}, {found.high:.3g}]"
        return Claim(self.table, text, float(found.mean), self.paper_text, reached[self.verdict])

    def markdown(self) -> str:
        """A row of the report."""
        cells = (self.table, cell(self.what), with_interval(self.ours), self.paper_text)
        return f"| {' | '.join(cells)} | {self.verdict.value} |"


def tally(rows: list[Row]) -> dict[Verdict, int]:
    """How many rows have each verdict."""
    return {verdict: sum(row.verdict is verdict for row in rows) for verdict in Verdict}
