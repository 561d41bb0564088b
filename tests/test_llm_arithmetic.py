"""Arithmetic chains: right by construction, wrong as the rubric says, never an exception."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from toymodel import InputError
from toymodel.llm.tasks import Arithmetic, Task
from toymodel.llm.tasks.arithmetic import WEAK_RATES, weak_answer
from toymodel.llm.tasks.chains import STEPS, draw_chains, follow, is_held_out, read_chain, results
from toymodel.llm.tasks.working import FILLERS, MARKERS, SIGNS

TASK = Arithmetic()
RIGHT = ("policy", "solution")

chains = st.builds(
    lambda start, steps: " ".join([str(start), *steps, "?"]),
    st.integers(0, 9),
    st.lists(st.sampled_from(STEPS), min_size=1, max_size=7),
)
seeds = st.integers(0, 2**32 - 1)
right_styles = st.sampled_from(RIGHT)


def generator(seed=0):
    return np.random.default_rng(seed)


def points(prompt, answer):
    return TASK.score(prompt, answer).points


def lines_of(prompt):
    """Working of the policy's format: a list of ``STEP VALUE``."""
    start, steps = read_chain(prompt)
    return [f"{s} {v}" for s, v in zip(steps, results(start, steps), strict=True)]


def truth_of(prompt):
    return results(*read_chain(prompt))[-1]


def written(lines, result):
    return " ".join([*lines, "=", str(result)])


# Chains


def test_chains_go_from_left_to_right_modulo_ten():
    assert results(5, ("*9", "+5", "+2")) == [5, 0, 2]
    assert results(2, ("+3", "*4")) == [5, 0]  # with precedence it would be 4
    assert results(3, ("-4",)) == [9]


@given(chains)
def test_a_chain_is_python_arithmetic_with_brackets(prompt):
    start, steps = read_chain(prompt)
    text = "(" * len(steps) + str(start) + "".join(f"{step})" for step in steps)
    assert truth_of(prompt) == eval(text) % 10


@pytest.mark.parametrize(
    "text", ["", "?", "5 ?", "5 +3", "5 * 3 ?", "x +3 ?", "5 +3 ? 2", "5 +0 ?"]
)
def test_what_is_no_chain_is_refused_by_the_answer_but_not_by_the_verifier(text):
    with pytest.raises(InputError, match="a chain such as"):
        TASK.answer(generator(), text, "policy")
    assert TASK.score(text, "*9 5 = 5").points == 1


def test_frequencies_are_uniform_or_zipfs():
    count = 4000

    def shares(exponent):
        steps = [
            s for p in draw_chains(generator(), count, (5, 5), exponent) for s in p.split()[1:-1]
        ]
        return np.sort([steps.count(step) / len(steps) for step in STEPS])[::-1]

    places = np.arange(1, len(STEPS) + 1)
    for exponent in (0.0, 1.0, 1.5):
        expected = places**-exponent / (places**-exponent).sum()
        error = np.sqrt(expected / (5 * count))
        assert np.abs(shares(exponent) - expected).max() < 5 * error.max()


# The task


def test_it_is_a_task():
    assert isinstance(TASK, Task)
    assert TASK.styles[0] == "policy"
    assert {"train", "test", "shifted"} <= set(TASK.splits)


@pytest.mark.parametrize("split", TASK.splits)
def test_equal_seeds_give_equal_data_and_others_do_not(split):
    def drawn(seed):
        random = generator(seed)
        prompts = TASK.prompts(random, 50, split)
        return [(p, s, TASK.answer(random, p, s)) for p in prompts for s in TASK.styles]

    assert drawn(3) == drawn(3)
    assert drawn(3) != drawn(4)


@given(seeds, st.sampled_from(TASK.splits), st.integers(0, 40))
def test_splits_hold_what_they_say(seed, split, count):
    prompts = TASK.prompts(generator(seed), count, split)
    assert len(prompts) == count
    lengths = {"pretraining": range(3, 7), "shifted": range(6, 7)}.get(split, range(3, 6))
    assert all(len(read_chain(prompt)[1]) in lengths for prompt in prompts)
    assert {is_held_out(prompt) for prompt in prompts} <= {split in ("test", "shifted")}


def test_no_prompt_is_learnt_and_tested():
    small = Arithmetic(shortest=1, longest=1, shifted=2)  # few enough to meet again
    drawn = {split: set(small.prompts(generator(), 3000, split)) for split in small.splits}
    learnt, tested = drawn["train"] | drawn["pretraining"], drawn["test"] | drawn["shifted"]
    assert not learnt & tested
    assert len(drawn["train"] | drawn["test"]) == 10 * len(STEPS)  # and none is lost


@given(chains, seeds)
def test_every_word_is_in_the_vocabulary(prompt, seed):
    words = set(prompt.split())
    for style in TASK.styles:
        words |= set(TASK.answer(generator(seed), prompt, style).split())
    assert words <= set(TASK.vocabulary)
    assert len(set(TASK.vocabulary)) == len(TASK.vocabulary) < 60


def test_styles_say_the_same_in_other_words():
    prompt = "5 *9 +5 -2 ?"
    own, other = (TASK.answer(generator(), prompt, style) for style in RIGHT)
    assert own == "*9 5 +5 0 -2 8 = 8"
    assert other == "first times 9 gives 5 , plus 5 gives 0 , minus 2 gives 8 , answer 8"


@pytest.mark.parametrize(
    "settings", [{"shortest": 0}, {"shortest": 6}, {"longest": 6}, {"shifted": 5}]
)
def test_lengths_that_do_not_fit_are_refused(settings):
    with pytest.raises(InputError, match="shortest <= longest < shifted"):
        Arithmetic(**settings)


def test_unknown_names_are_refused():
    with pytest.raises(InputError, match="did you mean 'train'"):
        TASK.prompts(generator(), 1, "trian")
    with pytest.raises(InputError, match="did you mean 'solution'"):
        TASK.answer(generator(), "5 *9 ?", "solutions")
    with pytest.raises(InputError, match="did you mean 'slip'"):
        weak_answer(generator(), "5 *9 ?", "slips")


# The rubric


@given(chains, right_styles)
def test_right_answers_get_five(prompt, style):
    found = TASK.score(prompt, TASK.answer(generator(), prompt, style))
    assert (found.points, found.well_formed) == (5, True)
    assert found.aspects == {"answer": 1.0, "working": 1.0}
    assert set(found.aspects) == set(TASK.aspects)


@given(chains)
def test_the_result_alone_gets_four(prompt):
    assert points(prompt, f"= {truth_of(prompt)}") == 4


@given(chains, st.data())
def test_a_gap_or_a_repetition_gets_four(prompt, data):
    lines = lines_of(prompt)
    at = data.draw(st.integers(0, len(lines) - 1))
    gap, again = lines[:at] + lines[at + 1 :], [*lines[:at], lines[at], *lines[at:]]
    assert points(prompt, written(gap, truth_of(prompt))) == 4
    assert points(prompt, written(again, truth_of(prompt))) == 4
    assert points(prompt, written(lines + lines, truth_of(prompt))) == 4


@given(chains, st.data())
def test_a_right_result_after_an_error_gets_three(prompt, data):
    lines = lines_of(prompt)
    at = data.draw(st.integers(0, len(lines) - 1))
    step, value = lines[at].split()
    off = data.draw(st.integers(1, 9))
    lines[at] = f"{step} {(int(value) + off) % 10}"
    assume(lines[at] not in lines_of(prompt))  # else it may be a repetition
    assert points(prompt, written(lines, truth_of(prompt))) == 3


@given(chains, st.data())
def test_another_step_than_the_chains_is_an_error(prompt, data):
    lines = lines_of(prompt)
    at = data.draw(st.integers(0, len(lines) - 1))
    _, steps = read_chain(prompt)
    other = data.draw(st.sampled_from(sorted(set(STEPS) - set(steps))))
    lines[at] = f"{other} {lines[at].split()[1]}"
    assert points(prompt, written(lines, truth_of(prompt))) == 3


@given(chains, st.integers(1, 9))
def test_a_wrong_result_after_right_working_gets_three(prompt, off):
    assert points(prompt, written(lines_of(prompt), (truth_of(prompt) + off) % 10)) == 3


@given(chains, st.data())
def test_a_slip_that_is_carried_on_counts_once(prompt, data):
    start, steps = read_chain(prompt)
    at = data.draw(st.integers(0, len(steps) - 1))
    values = results(start, steps)
    wrong = (values[at] + data.draw(st.integers(1, 9))) % 10
    values[at:] = [wrong, *results(wrong, steps[at + 1 :])]
    assume(values[-1] != truth_of(prompt))
    lines = [f"{s} {v}" for s, v in zip(steps, values, strict=True)]
    found = TASK.score(prompt, written(lines, values[-1]))
    share = 1 - 1 / len(steps)
    assert found.aspects["working"] == pytest.approx(share)
    assert found.points == (3 if share > 0.5 else 2 if share > 0 else 1)


@given(chains, st.data())
def test_mostly_wrong_gets_two_and_wholly_wrong_one(prompt, data):
    start, steps = read_chain(prompt)
    right = data.draw(st.integers(0, len(steps) // 2))
    before, values = start, []
    for at, step in enumerate(steps):
        off = 0 if at < right else data.draw(st.integers(1, 9))
        before = (follow(before, step) + off) % 10
        values.append(before)
    assume(values[-1] != truth_of(prompt))
    lines = [f"{s} {v}" for s, v in zip(steps, values, strict=True)]
    assert points(prompt, written(lines, values[-1])) == (2 if right else 1)


@given(chains, right_styles, st.data())
def test_no_result_gets_one(prompt, style, data):
    words = TASK.answer(generator(), prompt, style).split()
    kept = data.draw(st.integers(0, len(words) - 1))
    found = TASK.score(prompt, " ".join(words[:kept]))
    assert (found.points, found.well_formed) == (1, False)


@given(chains, right_styles, st.data())
def test_words_out_of_place_are_errors(prompt, style, data):
    words = TASK.answer(generator(), prompt, style).split()
    at = data.draw(st.integers(0, len(words) - 2))
    junk = data.draw(st.sampled_from(["?", "<unk>", "12", "x"]))
    words.insert(at, junk)
    found = TASK.score(prompt, " ".join(words))
    assert (found.points, found.well_formed) == (3, False)


@given(chains, st.text() | st.lists(st.sampled_from([*TASK.vocabulary, "<unk>"])).map(" ".join))
def test_no_text_makes_the_verifier_raise(prompt, answer):
    found = TASK.score(prompt, answer)
    assert found.points in range(1, 6)
    assert set(found.aspects) == set(TASK.aspects)
    assert all(0 <= value <= 1 for value in found.aspects.values())
    if found.points == 5:
        assert found.well_formed
        assert found.aspects == {"answer": 1.0, "working": 1.0}
    assert TASK.score(answer, answer).points in range(1, 6)


@given(st.lists(st.sampled_from([*FILLERS, *SIGNS, *MARKERS, *"0123456789"]), max_size=9))
def test_points_fall_with_the_result(words):
    """Five and four need the right result; one with a right result is impossible."""
    found = TASK.score("5 *9 +5 ?", " ".join(words))
    assert (found.points >= 4) <= (found.aspects["answer"] == 1)
    assert (found.aspects["answer"] == 1) <= (found.points >= 3)


# The weak model


@given(chains, seeds)
def test_weak_answers_get_what_their_errors_deserve(prompt, seed):
    steps = len(read_chain(prompt)[1])

    def graded(kind):
        return TASK.score(prompt, weak_answer(generator(seed), prompt, kind))

    assert graded("right").points == 5
    assert graded("miscopy").points == 3
    assert graded("unfinished").points == 1
    assert graded("guess").points == (4 if graded("guess").aspects["answer"] else 1)
    slip = graded("slip")
    assert slip.aspects["working"] >= 1 - 2 / steps  # the slip, and a line that mends it by luck
    assert slip.points <= 3
    assert graded("lost").points in (1, 2, 3, 5)


def test_weak_answers_err_at_the_stated_rates():
    assert sum(WEAK_RATES.values()) == pytest.approx(1)
    random, count = generator(), 3000
    prompts = TASK.prompts(random, count, "train")
    texts = [TASK.answer(random, prompt, "weak") for prompt in prompts]
    guesses = sum(len(text.split()) == 3 for text in texts) / count
    unfinished = sum("maybe" not in text for text in texts) / count
    right = np.mean([points(p, t) == 5 for p, t in zip(prompts, texts, strict=True)])
    assert guesses == pytest.approx(WEAK_RATES["guess"], abs=0.03)
    assert unfinished == pytest.approx(WEAK_RATES["unfinished"], abs=0.03)
    assert right == pytest.approx(WEAK_RATES["right"], abs=0.03)
