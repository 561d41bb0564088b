"""Ours beside the paper's: does a difference have the paper's sign, the other, or cannot we say?"""

import dataclasses
import enum

import numpy as np

from toymodel.attribution.effects import estimate
from toymodel.paper.claims import with_interval
from toymodel.paper.report import Claim


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
        found = estimate(self.ours)
        signs = set(np.sign(self.paper))
        if not np.isfinite(found.low) or found.low <= 0 <= found.high or len(signs) > 1:
            return Verdict.UNDECIDED
        if signs == {0.0}:
            return Verdict.UNDECIDED
        return Verdict.AGREES if np.sign(found.mean) in signs else Verdict.DIFFERS

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
        ours = with_interval(self.ours)
        what = self.what.replace("|", "\\|")
        return f"| {self.table} | {what} | {ours} | {self.paper_text} | {self.verdict.value} |"


def tally(rows: list[Row]) -> dict[Verdict, int]:
    """How many rows have each verdict."""
    return {verdict: sum(row.verdict is verdict for row in rows) for verdict in Verdict}
