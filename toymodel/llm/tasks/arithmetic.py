"""Arithmetic chains with working, scored by the paper's rubric for mathematics."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from toymodel._errors import InputError, refuse, unknown
from toymodel.llm.tasks.base import Score, Task
from toymodel.llm.tasks.chains import (
    DIGITS,
    END,
    STEPS,
    draw_chains,
    is_held_out,
    read_chain,
    results,
)
from toymodel.llm.tasks.working import FILLERS, MARKERS, SIGNS, points, read_working, share_right

#: How often the weak model answers how: the only source of its errors.
WEAK_RATES = {
    "right": 0.10,
    "slip": 0.25,  # one partial result is wrong, and carried on
    "miscopy": 0.10,  # right working, another result
    "lost": 0.25,  # partial results are random from some step of the first half on
    "guess": 0.15,  # a random result without working
    "unfinished": 0.15,  # right working that stops before its end, without a result
}


@dataclasses.dataclass(frozen=True)
class Arithmetic(Task):
    """Chains such as ``5 *9 +5 -2 ?``: from left to right, modulo ten, answered with working.

    Styles: ``policy`` (``*9 5 +5 0 -2 8 = 8``); ``solution``, the same in other words (``first
    times 9 gives 5 , plus 5 gives 0 , minus 2 gives 8 , answer 8``); ``weak``, a weak model's
    (``hm 5 then 0 then 8 maybe 8``), which errs as `WEAK_RATES` says.

    Splits: ``pretraining``, chains of all lengths whose steps are of Zipf's frequencies; ``train``
    and ``test``, uniform; ``shifted``, uniform and longer. One chain in five is held out: those
    of ``test`` and ``shifted`` are in neither ``pretraining`` nor ``train``.

    Args:
        shortest: fewest steps of a chain.
        longest: most steps, but for ``shifted``.
        shifted: steps of a chain of ``shifted``, the most in ``pretraining``.
        exponent: of Zipf's law in ``pretraining``; the larger, the rarer are rare steps.

    Example:
        >>> Arithmetic().score("5 *9 +5 ?", "*9 5 +5 0 = 0").points
        5
    """

    shortest: int = 3
    longest: int = 5
    shifted: int = 6
    exponent: float = 1.0

    name = "arithmetic"
    vocabulary = (*DIGITS, *STEPS, END, *SIGNS, *sorted(FILLERS), *MARKERS)
    styles = ("policy", "solution", "weak")
    splits = ("train", "test", "shifted", "pretraining")
    aspects = ("answer", "working")

    def __post_init__(self) -> None:
        if not 1 <= self.shortest <= self.longest < self.shifted:
            given = (self.shortest, self.longest, self.shifted)
            raise refuse("shortest, longest, shifted", given, "1 <= shortest <= longest < shifted")

    def prompts(self, random: np.random.Generator, count: int, split: str) -> list[str]:
        if split not in self.splits:
            raise unknown("split", split, self.splits)
        lengths, exponent = (self.shortest, self.longest), 0.0
        if split == "pretraining":
            lengths, exponent = (self.shortest, self.shifted), self.exponent
        if split == "shifted":
            lengths = (self.shifted, self.shifted)
        held_out = split in ("test", "shifted")
        found: list[str] = []
        while len(found) < count:
            drawn = draw_chains(random, count, lengths, exponent)
            found += [prompt for prompt in drawn if is_held_out(prompt) == held_out]
        return found[:count]

    def answer(self, random: np.random.Generator, prompt: str, style: str) -> str:
        if style not in self.styles:
            raise unknown("style", style, self.styles)
        if style == "weak":
            kind = str(random.choice(list(WEAK_RATES), p=list(WEAK_RATES.values())))
            return weak_answer(random, prompt, kind)
        start, steps = read_chain(prompt)
        return _LAYOUTS[style](steps, results(start, steps))

    def score(self, prompt: str, answer: str) -> Score:
        working = read_working(answer)
        try:
            start, steps = read_chain(prompt)
        except InputError:
            return Score(1, {"answer": 0.0, "working": 0.0}, well_formed=False)
        aspects = {
            "answer": float(working.result == results(start, steps)[-1]),
            "working": share_right(start, steps, working),
        }
        return Score(points(start, steps, working), aspects, working.clean)


def weak_answer(random: np.random.Generator, prompt: str, kind: str) -> str:
    """What a weak model answers that makes one kind of error.

    Args:
        random: where the place and the size of the error are drawn from.
        prompt: a chain.
        kind: of error, a name of `WEAK_RATES`.

    Raises:
        InputError: another kind, or no chain.

    Example:
        >>> weak_answer(np.random.default_rng(0), "5 *9 +5 -2 ?", "miscopy")
        'hm 5 then 0 then 8 maybe 6'
    """
    if kind not in WEAK_RATES:
        raise unknown("kind", kind, WEAK_RATES)
    start, steps = read_chain(prompt)
    values: list[int] = results(start, steps)
    result: int | None = values[-1]
    match kind:
        case "slip":
            at = int(random.integers(len(steps)))
            wrong = _another(random, values[at])
            values[at:] = [wrong, *results(wrong, steps[at + 1 :])]
            result = values[-1]
        case "miscopy":
            result = _another(random, values[-1])
        case "lost":
            at = int(random.integers(len(steps) // 2 + 1))
            values[at:] = random.integers(10, size=len(steps) - at).tolist()
            result = values[-1]
        case "guess":
            values, result = [], int(random.integers(10))
        case "unfinished":
            values, result = values[: int(random.integers(len(steps)))], None
    said = " then ".join(map(str, values))
    end = "" if result is None else f"maybe {result}"
    return " ".join(part for part in ("hm", said, end) if part)


def _policy(steps: Sequence[str], values: Sequence[int]) -> str:
    lines = [f"{step} {value}" for step, value in zip(steps, values, strict=True)]
    return " ".join([*lines, "=", str(values[-1])])


def _solution(steps: Sequence[str], values: Sequence[int]) -> str:
    word = {sign: name for name, sign in SIGNS.items()}
    lines = [
        f"{word[step[0]]} {step[1]} gives {value} ,"
        for step, value in zip(steps, values, strict=True)
    ]
    return " ".join(["first", *lines, "answer", str(values[-1])])


def _another(random: np.random.Generator, value: int) -> int:
    """Any digit but one."""
    return int(value + random.integers(1, 10)) % 10


_LAYOUTS = {"policy": _policy, "solution": _solution}
