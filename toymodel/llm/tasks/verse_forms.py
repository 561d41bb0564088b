"""The made-up language of verses and its forms: words by tone and rhyme, rows, tunes, titles.

A word is an onset and a rhyme, ``b`` + ``an``. A voiced onset makes it level, a voiceless one
oblique; words with one ending rhyme. So both can be read off the spelling, though not by a model
whose tokens are whole words.
"""

import dataclasses
import itertools

import numpy as np

from toymodel._errors import refuse
from toymodel.llm.tasks.draws import by_rank, pick

LEVEL, OBLIQUE = 0, 1
ONSETS = ("bdglmn", "pktfsh")  # level, oblique
RHYMES = ("an", "ei", "or", "un", "il")
WORDS = {
    onset + rhyme: (tone, rhyme)
    for tone in (LEVEL, OBLIQUE)
    for onset in ONSETS[tone]
    for rhyme in RHYMES
}
TITLE_WORDS = tuple(word for word in WORDS if word[0] in "mnsh")  # rare in what a policy writes
WIDTHS = tuple(range(3, 8))  # words in a row, at least and at most


@dataclasses.dataclass(frozen=True)
class Form:
    """How many rows, and which of them (counted from 0) rhyme with the title."""

    rows: int
    rhyming: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Tune:
    """A tone pattern: the other tone after every run of words and every turn of rows."""

    first: int
    run: int
    turn: int

    def tone(self, row: int, place: int) -> int:
        """Of the word at a place of a row, both counted from 0."""
        return (self.first + place // self.run + row // self.turn) % 2


FORMS = {"quatrain": Form(4, (0, 1, 3)), "metrical": Form(8, (1, 3, 5, 7))}
TUNES = {
    name: Tune(*parts)
    for name, parts in zip(
        ("willow", "river", "lantern", "frost", "swallow", "ferry", "plum", "terrace"),
        itertools.product((LEVEL, OBLIQUE), (1, 2), (1, 2)),
        strict=True,
    )
}


TITLES = tuple(itertools.permutations(TITLE_WORDS, 2))


@dataclasses.dataclass(frozen=True)
class Asked:
    """What a prompt asks for: ``quatrain willow 3 about nan sei``.

    Args:
        form: a name of `FORMS`.
        tune: a name of `TUNES`.
        width: words in a row, of `WIDTHS`.
        title: two of `TITLE_WORDS`, which have to occur in the rows too; rows that rhyme do so
            with the second.
    """

    form: str
    tune: str
    width: int
    title: tuple[str, ...]

    @property
    def prompt(self) -> str:
        """Its text."""
        return f"{self.form} {self.tune} {self.width} about {' '.join(self.title)}"


def read(prompt: str) -> Asked:
    """What a prompt asks for.

    Args:
        prompt: the text.

    Raises:
        InputError: it is not one of this task.

    Example:
        >>> read("quatrain willow 3 about nan sei").title
        ('nan', 'sei')
    """
    words = prompt.split()
    if len(words) == 6 and words[3] == "about":
        form, tune, width, _, *title = words
        known = form in FORMS and tune in TUNES and width in map(str, WIDTHS)
        if known and tuple(title) in TITLES:
            return Asked(form, tune, int(width), tuple(title))
    raise refuse("prompt", prompt, "one such as 'quatrain willow 3 about nan sei'")


@dataclasses.dataclass(frozen=True)
class Poem:
    """A title and rows of words."""

    title: list[str]
    rows: list[list[str]]


def compose(random: np.random.Generator, asked: Asked, *, late: bool = False) -> Poem:
    """A poem that is right in every respect.

    The asked words stand somewhere before the last row, not at a row's end.

    Args:
        random: of the words.
        asked: what is wanted.
        late: prefer late onsets to early ones: the data set's taste.

    Example:
        >>> poem = compose(np.random.default_rng(0), read("quatrain willow 3 about nan sei"))
        >>> print(*map(" ".join, poem.rows), sep=" / ")
        bun pan gei / tun nor pei / nan sei dil / kei ban hei
    """
    form, tune = FORMS[asked.form], TUNES[asked.tune]
    rows = [row_of_words(random, asked, row, late=late) for row in range(form.rows)]
    _, rhyme = WORDS[asked.title[-1]]
    for row in form.rhyming:
        rows[row][-1] = word(random, tune.tone(row, asked.width - 1), rhyme, late=late)
    free = list(itertools.product(range(form.rows - 1), range(asked.width - 1)))
    for wanted in asked.title:
        fitting = [place for place in free if tune.tone(*place) == WORDS[wanted][0]]
        row, at = pick(random, fitting)
        rows[row][at] = wanted
        free.remove((row, at))
    return Poem(list(asked.title), rows)


def row_of_words(
    random: np.random.Generator, asked: Asked, row: int, *, late: bool = False
) -> list[str]:
    """Words in the tones of a row, with any rhymes."""
    tune = TUNES[asked.tune]
    places = range(asked.width)
    return [word(random, tune.tone(row, at), pick(random, RHYMES), late=late) for at in places]


def word(random: np.random.Generator, tone: int, rhyme: str, *, late: bool = False) -> str:
    """A word of a tone and a rhyme; the onset of rank k is drawn in proportion to 1 / k."""
    return by_rank(random, ONSETS[tone], late=late) + rhyme
