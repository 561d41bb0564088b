"""What a run lowers: a loss on fixed pairs, or one whose data come from the policy as it learns.

Every objective is a `toymodel._struct.struct` with the three methods of `Objective`.
"""

from toymodel.objectives.base import REGISTRY, Objective
from toymodel.objectives.fixed import FixedPairs
from toymodel.objectives.iterative import Iterative

__all__ = ["REGISTRY", "FixedPairs", "Iterative", "Objective"]
