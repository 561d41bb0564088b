"""Where preference pairs come from: what is compared, who prefers, and which pairs a step sees."""

from toymodel.sampling.annotators import Annotator, Biased, BradleyTerry, Ideal, Noisy
from toymodel.sampling.base import REGISTRY, part
from toymodel.sampling.collection import all_pairs, checked, collect, compare, with_pairs
from toymodel.sampling.comparisons import BestWorst, Comparison, FromPolicy, FromTable, Mixed
from toymodel.sampling.minibatches import minibatch, minibatch_indices
from toymodel.sampling.regimes import coverage, policy_gap
from toymodel.sampling.restrictions import Covering, Within

__all__ = [
    "REGISTRY",
    "Annotator",
    "BestWorst",
    "Biased",
    "BradleyTerry",
    "Comparison",
    "Covering",
    "FromPolicy",
    "FromTable",
    "Ideal",
    "Mixed",
    "Noisy",
    "Within",
    "all_pairs",
    "checked",
    "collect",
    "compare",
    "coverage",
    "minibatch",
    "minibatch_indices",
    "part",
    "policy_gap",
    "with_pairs",
]
