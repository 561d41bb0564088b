"""Chains of arithmetic modulo ten, worked out from left to right: ``5 *9 +5 -2 ?``."""

from collections.abc import Sequence

import numpy as np

from toymodel._errors import refuse
from toymodel.llm.tasks.draws import of_test

DIGITS = tuple("0123456789")
#: What a chain does to its value; ``+0``, ``-0``, ``*0`` and ``*1`` would be too easy.
STEPS = tuple(
    sign + digit for sign in "+-*" for digit in DIGITS if digit > "0" and sign + digit > "*1"
)
END = "?"


def follow(value: int, step: str) -> int:
    """The value after a step, modulo ten.

    Args:
        value: before it, 0 to 9.
        step: a sign and a digit.

    Example:
        >>> follow(5, "*9"), follow(3, "-4")
        (5, 9)
    """
    number = int(step[1])
    changed = {"+": value + number, "-": value - number, "*": value * number}[step[0]]
    return changed % 10


def read_chain(prompt: str) -> tuple[int, tuple[str, ...]]:
    """The start and the steps of a chain.

    Args:
        prompt: such as ``5 *9 +5 ?``.

    Raises:
        InputError: it is no chain.

    Example:
        >>> read_chain("5 *9 +5 ?")
        (5, ('*9', '+5'))
    """
    start, *steps, end = prompt.split() if len(prompt.split()) > 2 else ("", "", "")
    if start not in DIGITS or end != END or not set(steps) <= set(STEPS):
        raise refuse("prompt", prompt, "a chain such as '5 *9 +5 ?'")
    return int(start), tuple(steps)


def results(start: int, steps: Sequence[str]) -> list[int]:
    """The partial results of a chain, one for each step; the last is the answer.

    There is no precedence: ``2 +3 *4`` is (2 + 3) * 4.

    Args:
        start: the first value.
        steps: what is done to it.

    Example:
        >>> results(2, ("+3", "*4"))
        [5, 0]
    """
    found = []
    for step in steps:
        start = follow(start, step)
        found.append(start)
    return found


def draw_chains(
    random: np.random.Generator, count: int, lengths: tuple[int, int], exponent: float
) -> list[str]:
    r"""Random chains whose steps are of uniform or Zipf's frequencies.

    .. math:: p_k \propto k^{-\text{exponent}}

    k is the place of a step in a fixed shuffled order, so each sign has rare and common digits.

    Args:
        random: where they are drawn from.
        count: how many.
        lengths: fewest and most steps.
        exponent: 0 for uniform frequencies.

    Example:
        >>> draw_chains(np.random.default_rng(0), 2, (2, 3), 0.0)
        ['5 -8 +8 +2 ?', '6 +1 *5 *7 ?']
    """
    weights = _RANKS ** -float(exponent)
    kinds = random.choice(len(STEPS), p=weights / weights.sum(), size=(count, lengths[1]))
    starts = random.integers(0, 10, count)
    how_many = random.integers(lengths[0], lengths[1] + 1, count)
    return [
        " ".join([DIGITS[start], *(STEPS[kind] for kind in row[:length]), END])
        for start, row, length in zip(starts, kinds, how_many, strict=True)
    ]


def is_held_out(prompt: str) -> bool:
    """Whether a chain belongs to the test sets: one in five, by a checksum of its text."""
    return of_test(prompt, one_in=5)


_RANKS = 1.0 + np.random.default_rng(0).permutation(len(STEPS))
