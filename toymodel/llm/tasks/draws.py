"""What tasks draw: one of several things, evenly or by rank, and which prompts are for tests."""

import bisect
import functools
import itertools
import zlib
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Thing = TypeVar("Thing")


def pick(random: np.random.Generator, things: Sequence[Thing]) -> Thing:
    """One of them, each equally likely.

    Example:
        >>> pick(np.random.default_rng(0), "abcd")
        'c'
    """
    return things[int(random.random() * len(things))]


def by_rank(random: np.random.Generator, things: Sequence[Thing], *, late: bool = False) -> Thing:
    """One of them, the k-th in proportion to 1 / k, so that the first is the commonest.

    Args:
        random: of the draw.
        things: the commonest first.
        late: count ranks from the end.

    Example:
        >>> random = np.random.default_rng(0)
        >>> "".join(by_rank(random, "abcd") for _ in range(16))
        'baaacdbcbdcacaca'
    """
    sums = _sums(len(things))
    rank = bisect.bisect(sums, random.random() * sums[-1])
    return things[-1 - rank if late else rank]


def of_test(prompt: str, one_in: int = 4) -> bool:
    """Whether a prompt is kept for tests, as one in so many is: by a checksum of its text.

    Example:
        >>> [of_test(prompt) for prompt in ("a", "b", "c", "d")]
        [False, False, False, True]
    """
    return zlib.crc32(prompt.encode()) % one_in == 0


@functools.cache
def _sums(count: int) -> tuple[float, ...]:
    return tuple(itertools.accumulate(1 / rank for rank in range(1, count + 1)))
