"""Verses: right by construction, and each error lowers its own aspect alone."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from toymodel._errors import InputError
from toymodel.llm.tasks import Verses
from toymodel.llm.tasks.verse_errors import ERRORS
from toymodel.llm.tasks.verse_forms import FORMS, TUNES, WORDS, compose, read
from toymodel.llm.tasks.verses import WEAK

TASK = Verses()
LONG = Verses(widths=(3, 4, 5, 6, 7))
PROMPT = "quatrain willow 3 about nan sei"
RIGHT = "nan sei : bun pan gei / tun nor pei / nan sei dil / kei ban hei"

seeds = st.integers(0, 2**32 - 1)
splits = st.sampled_from(Verses.splits)


def drawn(seed, split="train", task=TASK):
    """A generator and one prompt from it."""
    random = np.random.default_rng(seed)
    return random, task.prompts(random, 1, split)[0]


def text(poem):
    return " ".join([*poem.title, ":", " / ".join(map(" ".join, poem.rows))])


@given(seeds, splits, st.sampled_from(["policy", "dataset"]))
def test_right_answers_are_full_in_every_aspect(seed, split, style):
    random, prompt = drawn(seed, split, LONG)
    score = LONG.score(prompt, LONG.answer(random, prompt, style))
    assert dict(score.aspects) == dict.fromkeys(Verses.aspects, 1.0)
    assert score.points == 5
    assert score.well_formed


@pytest.mark.parametrize("aspect", Verses.aspects)
@given(seed=seeds, split=splits)
def test_an_error_lowers_its_own_aspect_and_no_other(aspect, seed, split):
    random, prompt = drawn(seed, split, LONG)
    asked = read(prompt)
    score = LONG.score(prompt, text(ERRORS[aspect](random, asked, compose(random, asked))))
    lowered = [name for name, value in score.aspects.items() if value < 1]
    assert lowered == [aspect]
    assert score.points == 4


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (RIGHT, [1, 1, 1, 1, 1]),
        ("title " + RIGHT.replace("/", ";"), [1, 1, 1, 1, 1]),
        (RIGHT.removesuffix(" / kei ban hei"), [0, 1, 1, 1, 1]),
        (RIGHT + " /", [1, 1, 1, 1, 1]),  # an empty row is none
        (RIGHT.replace("nor pei", "pei"), [1, 0.75, 1, 1, 1]),
        (RIGHT.replace("hei", "hor"), [1, 1, 2 / 3, 1, 1]),
        (RIGHT.replace("dil", "til"), [1, 1, 1, 11 / 12, 1]),
        (RIGHT.replace("nan sei :", "nan :"), [1, 1, 1, 1, 0.75]),
        (RIGHT.replace("nan sei :", "sei nan :"), [1, 1, 1, 1, 0.5]),
        (RIGHT.replace("/ nan sei", "/ man sei"), [1, 1, 1, 1, 0.75]),
        ("nan sei :", [0, 0, 0, 0, 0.5]),
        ("", [0, 0, 0, 0, 0]),
    ],
)
def test_scores_by_hand(answer, expected):
    score = TASK.score(PROMPT, answer)
    assert list(score.aspects.values()) == pytest.approx(expected)
    assert score.points == max(1, expected.count(1))


def test_tones_follow_the_tune():
    tones = {
        name: [[tune.tone(i, j) for j in range(4)] for i in range(2)]
        for name, tune in TUNES.items()
    }
    assert tones["willow"] == [[0, 1, 0, 1], [1, 0, 1, 0]]
    assert tones["lantern"] == [[0, 0, 1, 1], [1, 1, 0, 0]]
    assert tones["terrace"] == [[1, 1, 0, 0], [1, 1, 0, 0]]
    patterns = {
        tuple(tune.tone(i, j) for i in range(4) for j in range(3)) for tune in TUNES.values()
    }
    assert len(patterns) == len(TUNES)  # three words in a row tell them all apart


@pytest.mark.parametrize("aspect", Verses.aspects)
def test_a_weak_model_errs_as_often_as_stated(aspect):
    random = np.random.default_rng(0)
    prompts = TASK.prompts(random, 3000, "train")
    scores = [TASK.score(prompt, TASK.answer(random, prompt, "weak")) for prompt in prompts]
    share = np.mean([score.aspects[aspect] < 1 for score in scores])
    # Words that slip in or out now and then undo or add another error.
    assert share == pytest.approx(WEAK[aspect], abs=0.04)
    assert all(score.well_formed for score in scores)


def test_shifted_has_only_unseen_kinds():
    prompts = {split: TASK.prompts(np.random.default_rng(0), 3000, split) for split in TASK.splits}
    kinds = {split: {tuple(p.split()[:3]) for p in found} for split, found in prompts.items()}
    assert kinds["train"] == kinds["test"]
    assert not kinds["train"] & kinds["shifted"]
    assert len(kinds["train"] | kinds["shifted"]) == len(FORMS) * len(TUNES) * len(TASK.widths)


def test_the_data_sets_words_are_others():
    random = np.random.default_rng(0)
    prompts = TASK.prompts(random, 500, "train")
    early = {}
    for style in ("policy", "dataset"):
        found = [
            word
            for prompt in prompts
            for word in TASK.answer(random, prompt, style).split()
            if word in WORDS and word not in prompt.split()
        ]
        early[style] = np.mean([word[0] in "bdpt" for word in found])
    assert early["policy"] > 0.5 > 0.3 > early["dataset"]


@pytest.mark.parametrize(
    "prompt", ["", "ode willow 3 about nan sei", "quatrain willow 3 about nan nan"]
)
def test_a_prompt_of_another_task_is_refused(prompt):
    with pytest.raises(InputError, match="prompt"):
        TASK.answer(np.random.default_rng(0), prompt, "policy")


def test_unknown_names_and_widths_are_refused():
    random = np.random.default_rng(0)
    with pytest.raises(InputError, match="split"):
        TASK.prompts(random, 1, "tests")
    with pytest.raises(InputError, match="style"):
        TASK.answer(random, PROMPT, "strong")
    for widths in ((), (2,), (3, 8)):
        with pytest.raises(InputError, match="widths"):
            Verses(widths=widths)
