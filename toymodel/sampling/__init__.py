"""Where preference pairs come from: what is compared, who prefers, and which pairs a step sees."""

from toymodel.sampling.base import REGISTRY
from toymodel.sampling.minibatches import minibatch, minibatch_indices

__all__ = ["REGISTRY", "minibatch", "minibatch_indices"]
