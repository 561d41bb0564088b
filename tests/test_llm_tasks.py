"""What every task with a verifier holds to, whatever it is about."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from toymodel.llm.tasks import BY_NAME

#: The longest answers, in words: right ones, and a weak model's.
LONGEST = {"arithmetic": (33, 33), "slogans": (20, 20), "verses": (43, 50)}

seeds = st.integers(0, 2**32 - 1)
every_task = pytest.mark.parametrize("task", [made() for made in BY_NAME.values()], ids=BY_NAME)


def drawn(task, seed, split="train"):
    """A generator and one prompt from it."""
    random = np.random.default_rng(seed)
    return random, task.prompts(random, 1, split)[0]


@every_task
@given(data=st.data(), seed=seeds)
def test_any_text_gets_a_score(task, data, seed):
    words = st.sampled_from(task.vocabulary)
    answer = data.draw(st.text() | st.lists(words, max_size=60).map(" ".join))
    _, prompt = drawn(task, seed, data.draw(st.sampled_from(task.splits)))
    score = task.score(prompt, answer)
    assert tuple(score.aspects) == tuple(task.aspects)
    assert all(0 <= value <= 1 for value in score.aspects.values())
    assert 1 <= score.points <= 5
    assert task.score(answer, prompt).points == 1  # the prompt is none


@every_task
@given(data=st.data(), seed=seeds)
def test_equal_seeds_give_equal_data_within_the_vocabulary(task, data, seed):
    split = data.draw(st.sampled_from(task.splits))
    style = data.draw(st.sampled_from(task.styles))
    random, prompt = drawn(task, seed, split)
    answer = task.answer(random, prompt, style)
    again, same = drawn(task, seed, split)
    assert (same, task.answer(again, same, style)) == (prompt, answer)
    assert {*prompt.split(), *answer.split()} <= set(task.vocabulary)
    right, weak = LONGEST[task.name]
    assert len(answer.split()) <= weak
    assert style == "weak" or len(answer.split()) <= right


@every_task
def test_no_prompt_is_learnt_and_tested(task):
    random = np.random.default_rng(0)
    train, test = (set(task.prompts(random, 3000, split)) for split in ("train", "test"))
    assert not train & test


@every_task
def test_the_vocabulary_is_small_and_has_no_word_twice(task):
    assert len(set(task.vocabulary)) == len(task.vocabulary) < 150
