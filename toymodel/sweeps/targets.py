"""Where a sweep's results go, and the one step every engine repeats: compute a block, write it."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np
import xarray as xr

from toymodel.sweeps.engine import Engine
from toymodel.sweeps.layout import Block, Layout


class Target(Protocol):
    """A store on disk or in memory. `write` may run anywhere, `commit` only where it is locked."""

    layout: Layout

    def locked(self) -> AbstractContextManager[None]:
        """Exclude other writers."""
        ...

    def pending(self) -> list[Block]:
        """Blocks that are not committed."""
        ...

    def finished(self, block: Block) -> np.ndarray:
        """Which cells of a block were computed before."""
        ...

    def write(
        self, block: Block, arrays: Mapping[str, np.ndarray], computed: np.ndarray | None = None
    ) -> int:
        """Write the computed cells of a block; returns the block's digest."""
        ...

    def commit(self, block: Block, digest: int) -> None:
        """Make a written block count as done."""
        ...

    def dataset(self) -> xr.Dataset:
        """The results, labelled."""
        ...


def compute_and_write(engine: Engine, target: Target, block: Block) -> int:
    """Compute what is missing of a block and write it; returns its digest."""
    wanted = ~target.finished(block)
    return target.write(block, engine.compute(block, wanted), wanted)
