"""Errors in poems, one kind for each aspect that the verifier looks at."""

from collections.abc import Callable, Mapping

import numpy as np

from toymodel.llm.tasks.draws import pick
from toymodel.llm.tasks.verse_forms import (
    FORMS,
    RHYMES,
    WORDS,
    Asked,
    Poem,
    row_of_words,
    word,
)


def one_row_off(random: np.random.Generator, asked: Asked, poem: Poem) -> Poem:
    """Without the last row, or with one more."""
    if pick(random, (False, True)):
        return Poem(poem.title, poem.rows[:-1])
    return Poem(poem.title, [*poem.rows, row_of_words(random, asked, len(poem.rows))])


def one_word_off(random: np.random.Generator, asked: Asked, poem: Poem) -> Poem:
    """A row lacks a word or has one more, before its end; asked words stay."""
    at = pick(random, range(len(poem.rows)))
    row, place = poem.rows[at], pick(random, range(asked.width - 1))
    if row[place] not in asked.title and pick(random, (False, True)):
        changed = [*row[:place], *row[place + 1 :]]
    else:
        changed = [*row[:place], pick(random, list(WORDS)), *row[place:]]
    return _with_row(poem, at, changed)


def one_rhyme_off(random: np.random.Generator, asked: Asked, poem: Poem) -> Poem:
    """The end of a row that ought to rhyme has another ending, in the same tone."""
    at = pick(random, [row for row in FORMS[asked.form].rhyming if row < len(poem.rows)])
    tone, rhyme = WORDS[poem.rows[at][-1]]
    other = pick(random, [ending for ending in RHYMES if ending != rhyme])
    return _with_row(poem, at, [*poem.rows[at][:-1], word(random, tone, other)])


def some_tones_off(random: np.random.Generator, asked: Asked, poem: Poem) -> Poem:
    """Each word changes its tone with probability 1/4, at least one does; asked words stay."""
    places = [
        (row, place)
        for row, words in enumerate(poem.rows)
        for place in range(len(words))
        if words[place] not in asked.title
    ]
    changed = {place for place in places if random.random() < 0.25} or {pick(random, places)}
    rows = [list(row) for row in poem.rows]
    for row, place in changed:
        tone, rhyme = WORDS[rows[row][place]]
        rows[row][place] = word(random, 1 - tone, rhyme)
    return Poem(poem.title, rows)


def other_title(random: np.random.Generator, asked: Asked, poem: Poem) -> Poem:
    """One word of the title is another."""
    at = pick(random, range(len(poem.title)))
    other = pick(random, [word for word in WORDS if word not in asked.title])
    return Poem([*poem.title[:at], other, *poem.title[at + 1 :]], poem.rows)


def _with_row(poem: Poem, at: int, row: list[str]) -> Poem:
    return Poem(poem.title, [*poem.rows[:at], row, *poem.rows[at + 1 :]])


#: Aspect -> the error that lowers it and no other aspect of a right poem.
ERRORS: Mapping[str, Callable[[np.random.Generator, Asked, Poem], Poem]] = {
    "title": other_title,
    "tone_pattern": some_tones_off,
    "rhyme": one_rhyme_off,
    "words_per_row": one_word_off,
    "row_number": one_row_off,
}
