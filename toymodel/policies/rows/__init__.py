"""Policies for many cells at once, written row by row with the cells last: the fast form of sweeps.

A cell is one training run. XLA's processor code is at its best on long contiguous loops without
gathers, so parameters are split into rows, each ``[..., cell]``. There are two forms: `GapRows`
computes only the gap between the two logits of each pair (all that a loss of the margin needs);
`TableRows` computes whole tables. Both equal `Policy.logits` and `Policy.vjp`, which are the
definition; a test holds them together.
"""

from collections.abc import Sequence

from toymodel.policies.base import Policy
from toymodel.policies.mlp import MLP
from toymodel.policies.rows.base import Entry, GapRows, RowPolicy, Rows, TableRows, Triple
from toymodel.policies.rows.mlp import MLPGaps, MLPTables
from toymodel.policies.rows.tabular import TabularGaps, TabularTables
from toymodel.policies.tabular import Tabular

__all__ = ["Entry", "GapRows", "RowPolicy", "Rows", "TableRows", "Triple", "gaps", "tables"]

_MOST_ENTRIES = 128  # the code is unrolled over them: beyond this, compiling takes too long


def tables(policy: Policy, shape: tuple[int, int]) -> TableRows | None:
    """The form for any loss, or None where there is none or the world is too large to unroll.

    A perceptron without hidden layers has none: the rows are those of its hidden layers.

    Args:
        policy: the policy.
        shape: of the world: prompts and responses.
    """
    if shape[0] * shape[1] > _MOST_ENTRIES:
        return None
    if type(policy) is Tabular:
        return TabularTables()
    return MLPTables(policy) if type(policy) is MLP and policy.hidden else None


def gaps(policy: Policy, shape: tuple[int, int], pairs: Sequence[Triple]) -> GapRows | None:
    """The form for losses of the margin, or None as `tables` has it.

    Args:
        policy: the policy.
        shape: of the world: prompts and responses.
        pairs: prompt, chosen and rejected response of each pair.
    """
    if shape[0] * shape[1] > _MOST_ENTRIES:
        return None
    if type(policy) is Tabular:
        return TabularGaps(pairs)
    return MLPGaps(policy, pairs) if type(policy) is MLP and policy.hidden else None
