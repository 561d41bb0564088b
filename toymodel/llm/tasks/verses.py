"""Verses in a made-up language: rows, words, rhyme, tones and title as a form and a tune ask."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from toymodel._errors import InputError, refuse, unknown
from toymodel.llm.tasks.base import Score, Task
from toymodel.llm.tasks.draws import of_test, pick
from toymodel.llm.tasks.verse_errors import ERRORS
from toymodel.llm.tasks.verse_forms import (
    FORMS,
    TITLES,
    TUNES,
    WIDTHS,
    WORDS,
    Asked,
    Form,
    Poem,
    Tune,
    compose,
    read,
)

#: Style -> the words before the title, and the mark between rows.
_LAYOUT = {"policy": ("", "/"), "dataset": ("title", ";"), "weak": ("poem", ",")}
_OPENINGS = {opening for opening, _ in _LAYOUT.values() if opening}
_MARKS = {mark for _, mark in _LAYOUT.values()}

#: Aspect -> how often a weak model errs in it, independently of the others.
WEAK = {
    "row_number": 0.3,
    "words_per_row": 0.4,
    "rhyme": 0.5,
    "tone_pattern": 0.5,
    "title": 0.4,
}


@dataclasses.dataclass(frozen=True)
class Verses(Task):
    """Poems of 4 or 8 short rows, in a form, to a tune, about two words.

    A right answer to ``quatrain willow 3 about nan sei`` has the title ``nan sei`` and four rows of
    three words, of which 1, 2 and 4 rhyme with the title's last word (``metrical``: eight rows, of
    which 2, 4, 6 and 8 rhyme); tones follow ``willow``, and both words of the title occur in the
    rows too. The data set's answers have another layout and prefer other words; a weak model's
    have a third layout and the errors of `verse_errors`, as often as `WEAK` says.

    Each form and width lacks one tune in ``train`` and ``test``; ``shifted`` has only those.

    Args:
        widths: words in a row, each of 3 to 7.

    Example:
        >>> task, prompt = Verses(), "quatrain willow 3 about nan sei"
        >>> task.answer(np.random.default_rng(0), prompt, "policy")
        'nan sei : bun pan gei / tun nor pei / nan sei dil / kei ban hei'
        >>> score = task.score(prompt, "nan mun : bun pan gei / tun nan / dil kei hei")
        >>> score.points, score.aspects["words_per_row"], score.aspects["title"]
        (1, 0.6666666666666666, 0.5)
    """

    widths: tuple[int, ...] = (3, 4)

    name: ClassVar[str] = "verses"
    vocabulary: ClassVar[Sequence[str]] = (
        *(*FORMS, *TUNES, *map(str, WIDTHS), "about", ":"),
        *(word for layout in _LAYOUT.values() for word in layout if word),
        *WORDS,
    )
    styles: ClassVar[Sequence[str]] = tuple(_LAYOUT)
    splits: ClassVar[Sequence[str]] = ("train", "test", "shifted")
    aspects: ClassVar[Sequence[str]] = tuple(WEAK)

    def __post_init__(self) -> None:
        if not self.widths or not set(self.widths) <= set(WIDTHS):
            raise refuse("widths", self.widths, "whole numbers from 3 to 7")

    def prompts(self, random: np.random.Generator, count: int, split: str) -> list[str]:
        if split not in self.splits:
            raise unknown("split", split, self.splits)
        kinds = self._kinds(shifted=split == "shifted")
        found: list[str] = []
        while len(found) < count:
            form, tune, width = pick(random, kinds)
            prompt = Asked(form, tune, width, pick(random, TITLES)).prompt
            if split == "shifted" or of_test(prompt) == (split == "test"):
                found.append(prompt)
        return found

    def _kinds(self, shifted: bool) -> list[tuple[str, str, int]]:
        """Form, tune and width together: those of training, or those that are kept from it."""
        forms, tunes = list(FORMS), list(TUNES)
        return [
            (form, tune, width)
            for form, tune, width in itertools.product(forms, tunes, self.widths)
            for lacks in [(2 * forms.index(form) + self.widths.index(width)) % len(tunes)]
            if (tunes.index(tune) == lacks) == shifted
        ]

    def answer(self, random: np.random.Generator, prompt: str, style: str) -> str:
        if style not in self.styles:
            raise unknown("style", style, self.styles)
        asked = read(prompt)
        poem = compose(random, asked, late=style == "dataset")
        if style == "weak":
            for aspect, err in ERRORS.items():
                if random.random() < WEAK[aspect]:
                    poem = err(random, asked, poem)
        opening, mark = _LAYOUT[style]
        rows = f" {mark} ".join(map(" ".join, poem.rows))
        return " ".join([*opening.split(), *poem.title, ":", rows])

    def score(self, prompt: str, answer: str) -> Score:
        """By rules; as many points as aspects are full, and at least one.

        ``row_number``: 1 or 0. ``words_per_row``: share of rows with as many words as asked.
        ``rhyme``: of those rows that ought to rhyme with the title and are there, the share that
        does. ``tone_pattern``: share of words in the tone that the tune prescribes,
        in rows with as many words as asked. ``title``: half for asked words in their places of the
        title, half for those that occur in the rows.
        """
        try:
            asked = read(prompt)
        except InputError:
            return Score(1, dict.fromkeys(self.aspects, 0.0), well_formed=False)
        poem = _parse(answer)
        form, tune = FORMS[asked.form], TUNES[asked.tune]
        aspects = {
            "row_number": float(len(poem.rows) == form.rows),
            "words_per_row": _mean([len(row) == asked.width for row in poem.rows]),
            "rhyme": _rhyme(form, asked.title, poem.rows),
            "tone_pattern": _tones(tune, asked.width, poem.rows),
            "title": _title(asked.title, poem),
        }
        full = sum(value == 1.0 for value in aspects.values())
        return Score(max(1, full), aspects, well_formed=bool(poem.title and poem.rows))


def _parse(answer: str) -> Poem:
    """Words up to the first colon are the title, without an opening; marks part rows."""
    words = answer.split()
    end = words.index(":") if ":" in words else -1
    title = words[: max(end, 0)]
    rows: list[list[str]] = [[]]
    for word in words[end + 1 :]:
        if word in _MARKS:
            rows.append([])
        else:
            rows[-1].append(word)
    return Poem(title[1:] if title and title[0] in _OPENINGS else title, [r for r in rows if r])


def _mean(found: Sequence[bool]) -> float:
    return sum(found) / len(found) if found else 0.0


def _rhyme(form: Form, title: Sequence[str], rows: Sequence[Sequence[str]]) -> float:
    _, rhyme = WORDS[title[-1]]
    ends = [rows[at][-1] for at in form.rhyming if at < len(rows)]
    return _mean([end in WORDS and WORDS[end][1] == rhyme for end in ends])


def _tones(tune: Tune, width: int, rows: Sequence[Sequence[str]]) -> float:
    return _mean(
        [
            word in WORDS and WORDS[word][0] == tune.tone(row, place)
            for row, words in enumerate(rows)
            if len(words) == width
            for place, word in enumerate(words)
        ]
    )


def _title(asked: Sequence[str], poem: Poem) -> float:
    in_place = sum(a == b for a, b in zip(asked, poem.title, strict=False))
    used = {word for row in poem.rows for word in row}
    longest = max(len(asked), len(poem.title))
    return (in_place / longest + _mean([word in used for word in asked])) / 2
