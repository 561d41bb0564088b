"""Slogans: so many words about a product, with two qualities that have to be said."""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from toymodel._errors import InputError, refuse, unknown, whole
from toymodel.llm.tasks.base import Score, Task
from toymodel.llm.tasks.draws import by_rank, of_test, pick

PRODUCTS = (
    "tea",
    "bread",
    "soap",
    "lamps",
    "boots",
    "honey",
    "chairs",
    "paint",
    "bikes",
    "pens",
    "coats",
    "music",
)
QUALITIES = (
    "warm",
    "fresh",
    "soft",
    "bright",
    "strong",
    "sweet",
    "calm",
    "bold",
    "light",
    "quick",
    "clean",
    "true",
)
VERBS = ("try", "love", "taste", "choose", "share", "find")
OWNERS = ("our", "your", "the", "this")
SCENES = ("mornings", "friends", "homes", "days", "hearts", "journeys", "winters", "gardens")
JOINTS = ("for", "with", "in", "and")
MARKS = (",", "!")  # of the data set's layout; they count as no words
LEAST, MOST = 5, 16  # words that can be asked for

#: Error -> how often a weak model makes it, independently of the others.
WEAK = {"length": 0.5, "strays": 0.3, "forgets": 0.5}


@dataclasses.dataclass(frozen=True)
class Asked:
    """What a prompt asks for: ``tea warm true from 5 to 6``."""

    product: str
    qualities: tuple[str, str]
    low: int
    high: int

    @property
    def words(self) -> tuple[str, ...]:
        """The words that have to occur."""
        return (self.product, *self.qualities)

    @property
    def prompt(self) -> str:
        """Its text."""
        return f"{' '.join(self.words)} from {self.low} to {self.high}"


@dataclasses.dataclass(frozen=True)
class Slogans(Task):
    """Slogans of a stated length about a product, with two qualities that they have to mention.

    A right answer to ``tea warm true from 5 to 6`` has 5 or 6 words, among them ``tea``, ``warm``
    and ``true``, and names no other product. The policy joins phrases by small words; the data set
    parts them by commas, ends with an exclamation mark and prefers other words; a weak model
    joins phrases by ``plus`` alone and makes the errors of `WEAK`: a word or two too few or too
    many (``length``), another product beside the asked one (``strays``), an asked word replaced
    (``forgets``).

    Each product lacks some lengths in ``train`` and ``test``; ``shifted`` has only those.

    Args:
        low: the least lower end of a range, at least 5.
        high: the greatest upper end, at most 16.
        span: the widest range has so many words between its ends.

    Example:
        >>> task, prompt = Slogans(), "tea warm true from 5 to 6"
        >>> task.answer(np.random.default_rng(0), prompt, "policy")
        'find warm mornings in true tea'
        >>> dict(task.score(prompt, "try our warm tea").aspects)
        {'word_count': 0.0, 'content': 0.75}
    """

    low: int = 5
    high: int = 12
    span: int = 2

    name: ClassVar[str] = "slogans"
    vocabulary: ClassVar[Sequence[str]] = (
        *(*PRODUCTS, *QUALITIES, *VERBS, *OWNERS, *SCENES, *JOINTS, *MARKS),
        *("plus", "from", "to", *map(str, range(LEAST, MOST + 1))),
    )
    styles: ClassVar[Sequence[str]] = ("policy", "dataset", "weak")
    splits: ClassVar[Sequence[str]] = ("train", "test", "shifted")
    aspects: ClassVar[Sequence[str]] = ("word_count", "content")

    def __post_init__(self) -> None:
        whole("low", self.low, LEAST, MOST)
        whole("high", self.high, self.low, MOST)
        whole("span", self.span, 0)

    def prompts(self, random: np.random.Generator, count: int, split: str) -> list[str]:
        if split not in self.splits:
            raise unknown("split", split, self.splits)
        ranges = [
            (low, high)
            for low, high in itertools.product(range(self.low, self.high + 1), repeat=2)
            if low <= high <= low + self.span
        ]
        pairs = list(itertools.permutations(QUALITIES, 2))
        found: list[str] = []
        while len(found) < count:
            low, high = pick(random, ranges)
            asked = Asked(pick(random, PRODUCTS), pick(random, pairs), low, high)
            kept = (PRODUCTS.index(asked.product) + low) % 4 == 0
            if kept == (split == "shifted") and (
                kept or of_test(asked.prompt) == (split == "test")
            ):
                found.append(asked.prompt)
        return found

    def answer(self, random: np.random.Generator, prompt: str, style: str) -> str:
        if style not in self.styles:
            raise unknown("style", style, self.styles)
        asked = read(prompt)
        if style == "dataset":
            return " ".join([*compose(random, asked, joints=(), late=True), "!"])
        if style == "policy":
            return " ".join(compose(random, asked))
        words = compose(random, asked, joints=("plus",))
        for kind, err in ERRORS.items():
            if random.random() < WEAK[kind]:
                words = err(random, asked, words)
        return " ".join(words)

    def score(self, prompt: str, answer: str) -> Score:
        """By rules; with the aspects w and c, the points are 1 + floor(2 w + 2 c).

        ``word_count``: 1 in the range that is asked for, else 0. ``content``: the share of four
        that holds: the product and each quality are named, and no other product is. So 5 is right,
        4 lacks some content and 3 most of it or the length; 2 and 1 lack both.
        """
        words = [word for word in answer.split() if word not in MARKS]
        try:
            asked = read(prompt)
        except InputError:
            words = []
        if not words:
            return Score(1, dict.fromkeys(self.aspects, 0.0), well_formed=False)
        others = set(PRODUCTS) - {asked.product}
        held = [*(word in words for word in asked.words), others.isdisjoint(words)]
        in_range = asked.low <= len(words) <= asked.high
        aspects = {"word_count": float(in_range), "content": sum(held) / len(held)}
        return Score(1 + math.floor(2 * sum(aspects.values())), aspects)


def read(prompt: str) -> Asked:
    """What a prompt asks for.

    Args:
        prompt: the text.

    Raises:
        InputError: it is not one of this task.

    Example:
        >>> read("tea warm true from 5 to 6").qualities
        ('warm', 'true')
    """
    words = prompt.split()
    numbers = {str(number): number for number in range(LEAST, MOST + 1)}
    if len(words) == 7 and (words[3], words[5]) == ("from", "to"):
        product, first, second, _, low, _, high = words
        known = product in PRODUCTS and {first, second} <= set(QUALITIES) and first != second
        if known and {low, high} <= set(numbers) and numbers[low] <= numbers[high]:
            return Asked(product, (first, second), numbers[low], numbers[high])
    raise refuse("prompt", prompt, "one such as 'tea warm true from 5 to 6'")


def compose(
    random: np.random.Generator,
    asked: Asked,
    *,
    joints: Sequence[str] = JOINTS,
    late: bool = False,
) -> list[str]:
    """A slogan that is right in every respect: phrases such as ``our warm tea``, joined.

    Args:
        random: of the words.
        asked: what is wanted.
        joints: between phrases; none: a comma, which is no word.
        late: prefer late words of each class to early ones: the data set's taste.
    """
    length = pick(random, range(asked.low, asked.high + 1))
    joint = bool(joints)
    fitting = [
        k for k in range(2, length) if _fewest(k, joint) <= length <= _fewest(k, joint) + k + 1
    ]
    phrases = pick(random, fitting)
    extras = random.permutation(phrases + 1) < length - _fewest(phrases, joint)
    scenes = [by_rank(random, SCENES, late=late) for _ in range(phrases)]
    others = [quality for quality in QUALITIES if quality not in asked.qualities]
    qualities = [by_rank(random, others, late=late) for _ in range(phrases)]
    scenes[pick(random, range(phrases))] = asked.product
    for at, quality in zip(random.permutation(phrases), asked.qualities, strict=False):
        qualities[at] = quality
    words = [by_rank(random, VERBS, late=late)] if extras[-1] else []
    for at, (quality, scene) in enumerate(zip(qualities, scenes, strict=True)):
        if at:
            words.append(by_rank(random, joints, late=late) if joint else MARKS[0])
        words += [by_rank(random, OWNERS, late=late)] if extras[at] else []
        words += [quality, scene]
    return words


def _fewest(phrases: int, joint: bool) -> int:
    """Words of so many phrases; an owner for each and a verb may come on top."""
    return 3 * phrases - 1 if joint else 2 * phrases


def wrong_length(random: np.random.Generator, asked: Asked, words: list[str]) -> list[str]:
    """One or two words below the range or above it; words that are asked for stay."""
    if pick(random, (False, True)):
        target = asked.low - pick(random, (1, 2)[: asked.low - LEAST + 1])
        while len(words) > target:
            at = pick(random, [i for i, word in enumerate(words) if word not in asked.words])
            words = [*words[:at], *words[at + 1 :]]
        return words
    target = asked.high + pick(random, (1, 2))
    while len(words) < target:
        at = pick(random, range(len(words)))
        words = [*words[:at], pick(random, SCENES), *words[at:]]
    return words


def stray(random: np.random.Generator, asked: Asked, words: list[str]) -> list[str]:
    """Another product in the place of a word that is not asked for."""
    at = pick(random, [i for i, word in enumerate(words) if word not in asked.words])
    other = pick(random, [product for product in PRODUCTS if product != asked.product])
    return [*words[:at], other, *words[at + 1 :]]


def forget(random: np.random.Generator, asked: Asked, words: list[str]) -> list[str]:
    """A scene in the place of a word that is asked for."""
    lost = pick(random, asked.words)
    return [pick(random, SCENES) if word == lost else word for word in words]


#: The errors of `WEAK`; the first lowers ``word_count`` alone, the others ``content`` alone.
ERRORS = {"length": wrong_length, "strays": stray, "forgets": forget}
