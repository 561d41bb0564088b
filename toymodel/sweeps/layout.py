"""The shape of a sweep's results: labelled dimensions of cells, cut into blocks, and variables.

A cell is one training run. Cells fill a box with one dimension for each factor of the design; the
box is cut into equal blocks (smaller ones at the ends), which are computed, written and committed
whole. Nothing here knows what a cell computes.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

Block = tuple[int, ...]  # a block's place along each dimension of cells


@dataclasses.dataclass(frozen=True)
class Variable:
    """One result of every cell.

    Args:
        dims: its own dimensions, after those of the cells, such as ``("prompt",)``.
        shape: their sizes.
        dtype: of its values.
        attrs: ``long_name`` and ``units``, for axes and readers.
    """

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype
    attrs: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Coordinate:
    """Labels along one dimension.

    Args:
        dim: the dimension; several coordinates may share one (a paired design).
        values: numbers or text, one for each place.
        attrs: ``long_name`` and ``units``.
    """

    dim: str
    values: np.ndarray
    attrs: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Layout:
    """Dimensions, blocks, coordinates and variables of a sweep's results.

    Args:
        sizes: cells along each dimension, in order.
        steps: cells of a block along each dimension.
        coordinates: by name; those of the cells and those of the variables' own dimensions.
        variables: by name.
        settings: plain data from which the sweep can be built again.
    """

    sizes: Mapping[str, int]
    steps: Mapping[str, int]
    coordinates: Mapping[str, Coordinate]
    variables: Mapping[str, Variable]
    settings: Mapping[str, Any]

    @property
    def dims(self) -> tuple[str, ...]:
        """The dimensions of the cells."""
        return tuple(self.sizes)

    @property
    def shape(self) -> tuple[int, ...]:
        """How many cells along each."""
        return tuple(self.sizes.values())

    @property
    def cells(self) -> int:
        """How many cells in all."""
        return math.prod(self.shape)

    @property
    def block_counts(self) -> tuple[int, ...]:
        """How many blocks along each dimension."""
        return tuple(-(-self.sizes[dim] // self.steps[dim]) for dim in self.sizes)

    def blocks(self) -> Iterator[Block]:
        """Every block, the last dimension fastest."""
        return itertools.product(*map(range, self.block_counts))

    def region(self, block: Block) -> dict[str, slice]:
        """The cells of a block, as a slice of each dimension."""
        starts = {dim: at * self.steps[dim] for dim, at in zip(self.sizes, block, strict=True)}
        return {
            dim: slice(start, min(start + self.steps[dim], self.sizes[dim]))
            for dim, start in starts.items()
        }
