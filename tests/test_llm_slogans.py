"""Slogans: right by construction, and each error lowers its own aspect alone."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from toymodel._errors import InputError
from toymodel.llm.tasks import Slogans
from toymodel.llm.tasks.slogans import ERRORS, PRODUCTS, SCENES, WEAK, compose, read

TASK = Slogans()
LONG = Slogans(high=16, span=4)
PROMPT = "tea warm true from 5 to 6"

seeds = st.integers(0, 2**32 - 1)
splits = st.sampled_from(Slogans.splits)


def drawn(seed, split="train", task=TASK):
    """A generator and one prompt from it."""
    random = np.random.default_rng(seed)
    return random, task.prompts(random, 1, split)[0]


@given(seeds, splits, st.sampled_from(["policy", "dataset"]))
def test_right_answers_are_full_in_every_aspect(seed, split, style):
    random, prompt = drawn(seed, split, LONG)
    score = LONG.score(prompt, LONG.answer(random, prompt, style))
    assert dict(score.aspects) == {"word_count": 1.0, "content": 1.0}
    assert score.points == 5
    assert score.well_formed


@pytest.mark.parametrize(
    ("kind", "aspect"), [("length", "word_count"), ("strays", "content"), ("forgets", "content")]
)
@given(seed=seeds, split=splits)
def test_an_error_lowers_its_own_aspect_and_no_other(kind, aspect, seed, split):
    random, prompt = drawn(seed, split, LONG)
    asked = read(prompt)
    said = ERRORS[kind](random, asked, compose(random, asked))
    score = LONG.score(prompt, " ".join(said))
    assert [name for name, value in score.aspects.items() if value < 1] == [aspect]
    assert score.points < 5


@pytest.mark.parametrize(
    ("answer", "word_count", "content", "points"),
    [
        ("find warm mornings in true tea", 1, 1, 5),
        ("warm mornings , our true tea !", 1, 1, 5),  # marks are no words
        ("find warm mornings in soft tea", 1, 0.75, 4),
        ("find warm bread in soft tea", 1, 0.5, 4),
        ("find warm bread in soft homes", 1, 0.25, 3),
        ("warm true tea", 0, 1, 3),
        ("warm soap", 0, 0.25, 1),
        ("warm homes", 0, 0.5, 2),
        ("tea warm true tea warm true tea", 0, 1, 3),
        ("!", 0, 0, 1),
    ],
)
def test_scores_by_hand(answer, word_count, content, points):
    score = TASK.score(PROMPT, answer)
    assert dict(score.aspects) == {"word_count": word_count, "content": content}
    assert score.points == points


@pytest.mark.parametrize("kind", WEAK)
def test_a_weak_model_errs_as_often_as_stated(kind):
    random = np.random.default_rng(0)
    found = []
    for prompt in TASK.prompts(random, 3000, "train"):
        asked, said = read(prompt), TASK.answer(random, prompt, "weak").split()
        found.append(
            {
                "length": not asked.low <= len(said) <= asked.high,
                "strays": bool(set(said) & set(PRODUCTS) - {asked.product}),
                "forgets": not set(asked.words) <= set(said),
            }[kind]
        )
    assert np.mean(found) == pytest.approx(WEAK[kind], abs=0.03)


def test_shifted_has_only_unseen_kinds():
    prompts = {split: TASK.prompts(np.random.default_rng(0), 3000, split) for split in TASK.splits}
    kinds = {
        split: {(read(prompt).product, read(prompt).low) for prompt in found}
        for split, found in prompts.items()
    }
    assert kinds["train"] == kinds["test"]
    assert not kinds["train"] & kinds["shifted"]
    assert {low for _, low in kinds["shifted"]} == {low for _, low in kinds["train"]}


def test_the_data_sets_words_are_others():
    random = np.random.default_rng(0)
    prompts = TASK.prompts(random, 500, "train")
    early = {}
    for style in ("policy", "dataset"):
        found = " ".join(TASK.answer(random, prompt, style) for prompt in prompts).split()
        found = [word for word in found if word in SCENES]
        early[style] = np.mean([word in SCENES[:4] for word in found])
    assert early["policy"] > 0.7 > 0.3 > early["dataset"]


@pytest.mark.parametrize(
    "prompt",
    ["", "tea warm warm from 5 to 6", "tea warm true from 6 to 5", "tea warm true from 4 to 5"],
)
def test_a_prompt_of_another_task_is_refused(prompt):
    with pytest.raises(InputError, match="prompt"):
        TASK.answer(np.random.default_rng(0), prompt, "policy")


def test_unknown_names_and_ranges_are_refused():
    random = np.random.default_rng(0)
    with pytest.raises(InputError, match="split"):
        TASK.prompts(random, 1, "tests")
    with pytest.raises(InputError, match="style"):
        TASK.answer(random, PROMPT, "strong")
    for sizes in ({"low": 4}, {"low": 9, "high": 8}, {"high": 17}, {"span": -1}):
        with pytest.raises(InputError, match=next(reversed(sizes))):
            Slogans(**sizes)
