"""Policies: how parameters become probabilities, each with its derivative written by hand."""

from toymodel._errors import not_by_name
from toymodel.policies.autoregressive import Autoregressive
from toymodel.policies.base import REGISTRY, Fit, Policy
from toymodel.policies.feature_mlp import FeatureMLP
from toymodel.policies.loglinear import LogLinear
from toymodel.policies.mlp import MLP
from toymodel.policies.prefix_tabular import PrefixTabular
from toymodel.policies.tabular import Tabular
from toymodel.policies.tokens import Sequences

__all__ = [
    "MLP",
    "REGISTRY",
    "Autoregressive",
    "FeatureMLP",
    "Fit",
    "LogLinear",
    "Policy",
    "PrefixTabular",
    "Sequences",
    "Tabular",
    "get",
    "names",
]


def names() -> list[str]:
    """The names that `get` knows."""
    return list(REGISTRY)


def get(policy: str | Policy, /, **settings: object) -> Policy:
    """A policy by name and settings; a policy is handed through.

    Example:
        >>> get("mlp", hidden=(32, 32), activation="tanh").hidden
        (32, 32)
    """
    if isinstance(policy, Policy) and not settings:
        return policy
    if not isinstance(policy, str):
        raise not_by_name("policy", policy, Policy, REGISTRY)
    result: Policy = REGISTRY.get(policy, **settings)
    return result
