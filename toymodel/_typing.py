"""The words of the code base: aliases that name an array by what its axes hold.

Axes are written ``[prompt, response]`` everywhere. Log-probabilities are natural logarithms (nats).
The aliases carry meaning for readers; shapes are checked where data enters (`toymodel.scenarios`).
"""

from collections.abc import Sequence
from typing import Annotated, Any, TypeAlias

import jax
import numpy as np

#: A number that may be a Python float (typed by a user) or an array leaf (traced by JAX).
Scalar: TypeAlias = float | jax.Array
#: One value for each pair: log-probabilities, slopes, lengths.
PairArray: TypeAlias = Annotated[jax.Array, "[pair]"]
#: One value for each prompt and response: log-probabilities, logits, roles.
TableArray: TypeAlias = Annotated[jax.Array, "[prompt, response]"]
#: Recorded log-probabilities of one run.
CurveArray: TypeAlias = Annotated[jax.Array, "[record, prompt, response]"]
#: One value for each two of these: inner products of gradients.
KernelArray: TypeAlias = Annotated[jax.Array, "[prompt, response, prompt, response]"]
#: Anything NumPy can read as an array.
ArrayLike: TypeAlias = jax.Array | np.ndarray | Sequence[Any] | float
#: A policy's parameters: any pytree of arrays.
Params: TypeAlias = Any
