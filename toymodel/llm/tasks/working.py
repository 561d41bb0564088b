"""An answer to a chain, read as working and result in any layout, and its points."""

import dataclasses
from collections.abc import Iterable, Sequence

from toymodel.llm.tasks.chains import DIGITS, STEPS, follow, results

SIGNS = {"plus": "+", "minus": "-", "times": "*"}
FILLERS = frozenset({"first", "gives", ",", "hm", "then"})
#: Words before the result.
MARKERS = ("=", "answer", "maybe")


@dataclasses.dataclass(frozen=True)
class Working:
    """What an answer says.

    Args:
        steps: the step that is claimed, or None, and the partial result, of each line of working.
        result: the final answer; None where there is none.
        clean: whether every word has its place.
    """

    steps: tuple[tuple[str | None, int], ...]
    result: int | None
    clean: bool


def read_working(answer: str) -> Working:
    """Working and result of an answer.

    Args:
        answer: any text.

    Example:
        >>> read_working("*9 5 +5 0 = 0")
        Working(steps=(('*9', 5), ('+5', 0)), result=0, clean=True)
        >>> read_working("hm 5 then 0 maybe").result is None
        True
    """
    words = answer.split()
    at = next((i for i, word in enumerate(words) if word in MARKERS), len(words))
    after = words[at + 1 :]
    has_result = len(after) == 1 and after[0] in DIGITS
    steps, clean = _lines(words[:at])
    return Working(steps, int(after[0]) if has_result else None, clean and has_result)


def points(start: int, chain: Sequence[str], working: Working) -> int:
    """The paper's rubric, from 1 to 5.

    5: right result and right working. 4: right result; working missing, with gaps, or with
    repetitions. 3: wrong result after mostly (more than half) right working, or right result after
    working with errors. 2: wrong, with some working right. 1: wrong throughout, or no result.

    Args:
        start: first value of the chain.
        chain: its steps.
        working: of an answer.

    Example:
        >>> [points(5, ("*9", "+5"), read_working(text)) for text in ("*9 5 +5 0 = 0", "= 0")]
        [5, 4]
    """
    if working.result is None:
        return 1
    truth = list(zip(chain, results(start, chain), strict=True))
    if working.result == truth[-1][1]:
        if not working.clean:
            return 3
        if len(working.steps) == len(truth) and _within(working.steps, truth):
            return 5
        return 4 if _gaps_or_repetitions(working.steps, truth) else 3
    share = share_right(start, chain, working)
    return 3 if share > 0.5 else 2 if share > 0 else 1


def share_right(start: int, chain: Sequence[str], working: Working) -> float:
    """The share of the working that is right, where errors that are carried on count once.

    A line is right if it claims the chain's step, or none, and follows from the line before it.

    Args:
        start: first value of the chain.
        chain: its steps.
        working: of an answer; lines that are missing or too many are wrong.

    Example:
        >>> share_right(5, ("*9", "+5"), read_working("*9 6 +5 1 = 1"))
        0.5
    """
    befores = [start, *(value for _, value in working.steps)]
    right = sum(
        claim in (None, step) and value == follow(before, step)
        for step, (claim, value), before in zip(chain, working.steps, befores, strict=False)
    )
    return right / max(len(chain), len(working.steps))


def _lines(words: Iterable[str]) -> tuple[tuple[tuple[str | None, int], ...], bool]:
    """Lines of working, and whether every word has its place."""
    found: list[tuple[str | None, int]] = []
    claim: str | None = None  # a sign alone waits for its number
    clean = True
    for word in words:
        if word in FILLERS:
            continue
        if word in SIGNS or word in STEPS:
            clean &= claim is None
            claim = SIGNS.get(word, word)
        elif word not in DIGITS:
            clean = False
        elif claim is not None and len(claim) == 1:
            claim += word
        else:
            found.append((claim, int(word)))
            claim = None
    return tuple(found), clean and claim is None


def _same(line: tuple[str | None, int], truth: tuple[str, int]) -> bool:
    return line[0] in (None, truth[0]) and line[1] == truth[1]


def _within(lines: Sequence[tuple[str | None, int]], truth: Sequence[tuple[str, int]]) -> bool:
    """Whether the lines are true ones in their order."""
    rest = iter(truth)
    return all(any(_same(line, true) for true in rest) for line in lines)


def _gaps_or_repetitions(
    lines: Sequence[tuple[str | None, int]], truth: Sequence[tuple[str, int]]
) -> bool:
    """Whether the lines are right but for some that are missing, or said again."""
    if _within(lines, truth):
        return True
    rest = iter(lines)
    complete = all(any(_same(line, true) for line in rest) for true in truth)
    return complete and all(any(_same(line, true) for true in truth) for line in lines)
