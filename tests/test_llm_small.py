"""Small models made here: tokens, sampling held to the model, base policies kept whole, pairs."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from toymodel import InputError
from toymodel.llm.small import BaseSettings, base, base_policy, gpt2, make_pairs, word_tokenizer
from toymodel.llm.small.answering import Answer, answers, longest_answer, shares
from toymodel.llm.small.pairs import _extremes
from toymodel.llm.small.supervised import Teaching, example_tokens, teach
from toymodel.llm.tasks import Arithmetic, Score, Task

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what is imported

SCENARIOS = ("both_on_policy", "chosen_off_policy", "rejected_off_policy", "both_off_policy")


@dataclasses.dataclass(frozen=True)
class Letters(Task):
    """Say ``a``: an untrained model sometimes does, and a weak one half of the time."""

    rarely_wrong: bool = False

    name = "letters"
    vocabulary = (*"xyz?ab", "so", "hm")
    styles = ("policy", "solution", "weak")
    splits = ("train", "test", "shifted")
    aspects = ()

    def prompts(self, random, count, split):
        return [" ".join([*random.choice(list("xyz"), 2), "?"]) for _ in range(count)]

    def answer(self, random, prompt, style):
        weak = "hm a" if self.rarely_wrong or random.random() < 0.5 else "hm b"
        return {"policy": "a", "solution": "so a", "weak": weak}[style]

    def score(self, prompt, answer):
        return Score(5 if "a" in answer.split() else 1)


TASK = Letters()
TOKENIZER = word_tokenizer(TASK.vocabulary)
PROMPTS = TASK.prompts(np.random.default_rng(0), 6, "train")
TINY = BaseSettings(
    width=16,
    layers=1,
    heads=2,
    pretraining=Teaching("pretraining", (0.6, 0.2, 0.2), steps=2, batch_size=4),
    tuning=Teaching("train", (1.0,), steps=2, batch_size=4),
)


def model(seed=0, spread=20.0):
    """Untrained, with logits that are far from equal."""
    found = gpt2(len(TOKENIZER), positions=16, width=16, layers=1, heads=2, seed=seed)
    with torch.no_grad():
        found.transformer.wte.weight *= spread
    return found.eval()


def said(task=TASK, policy=None, prompts=PROMPTS, **options):
    return answers(policy or model(), TOKENIZER, task, prompts, **{"longest": 4, **options})


def next_log_probs(policy, tokens):
    """The plain computation, without a cache: log-probabilities of the next token."""
    with torch.no_grad():
        return policy(input_ids=torch.tensor([tokens])).logits[0, -1].double().log_softmax(-1)


# Tokens and models


@given(st.lists(st.sampled_from(TASK.vocabulary), min_size=1))
def test_words_come_back(words):
    text = " ".join(words)
    ids = TOKENIZER(text)["input_ids"]
    assert len(ids) == len(words)
    assert TOKENIZER.decode(ids) == text


def test_a_saved_tokenizer_is_the_same(tmp_path):
    from transformers import PreTrainedTokenizerFast

    TOKENIZER.save_pretrained(tmp_path)
    again = PreTrainedTokenizerFast.from_pretrained(tmp_path, local_files_only=True)
    text = "x y ? strange <eos>"
    assert again(text)["input_ids"] == TOKENIZER(text)["input_ids"]
    assert again(text)["input_ids"][-2:] == [TOKENIZER.unk_token_id, TOKENIZER.eos_token_id]
    assert again.pad_token_id == TOKENIZER.pad_token_id != TOKENIZER.eos_token_id


def test_the_seed_gives_the_weights_and_nothing_else_moves():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    weights = [gpt2(20, seed=seed).transformer.wte.weight for seed in (1, 1, 2)]
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


# Answers


@pytest.mark.parametrize("seed", range(3))
def test_the_likeliest_answer_is_the_argmax_at_each_step(seed):
    policy = model(seed)
    for prompt, [answer] in zip(PROMPTS, said(policy=policy, seed=None), strict=True):
        asked = TOKENIZER(prompt)["input_ids"]
        for at, token in enumerate(answer.tokens):
            log_probs = next_log_probs(policy, [*asked, *answer.tokens[:at]])
            assert token == int(log_probs.argmax())
        ended = answer.tokens[-1] == TOKENIZER.eos_token_id
        assert ended or len(answer.tokens) == 4


def test_samples_are_as_frequent_as_they_are_likely():
    policy, count = model(), 4000
    [row] = said(policy=policy, prompts=PROMPTS[:1], samples=count, longest=2, seed=1)
    asked = TOKENIZER(PROMPTS[0])["input_ids"]
    end = TOKENIZER.eos_token_id
    first = next_log_probs(policy, asked)
    likely = {(end,): float(first[end].exp())}
    for token in range(len(TOKENIZER)):
        second = (first[token] + next_log_probs(policy, [*asked, token])).exp()
        if token != end:
            likely |= {(token, other): float(second[other]) for other in range(len(TOKENIZER))}
    assert sum(likely.values()) == pytest.approx(1, abs=1e-6)
    drawn = [answer.tokens for answer in row]
    for tokens, probability in likely.items():
        error = np.sqrt(probability * (1 - probability) / count)
        assert drawn.count(tokens) / count == pytest.approx(probability, abs=5 * error + 1e-3)


def test_samples_go_by_their_seed():
    first, again, other = (said(samples=3, seed=seed) for seed in (0, 0, 1))
    assert first == again != other


def test_padding_on_the_left_changes_nothing():
    prompts = ["x ?", "x y z x y ?", "z z ?"]
    together = said(prompts=prompts, seed=None)
    assert together == [said(prompts=[prompt], seed=None)[0] for prompt in prompts]


def test_answers_are_scored_and_counted():
    rows = said(samples=16)
    for prompt, row in zip(PROMPTS, rows, strict=True):
        assert len(row) == 16
        for answer in row:
            assert (answer.prompt, answer.score) == (prompt, TASK.score(prompt, answer.text))
    five = np.mean([answer.score.points == 5 for row in rows for answer in row])
    assert 0 < five < 1
    found = shares(rows)
    assert found == pytest.approx(
        {"five": five, "four": five, "points": 1 + 4 * five, "malformed": 0}
    )


def test_there_is_room_for_every_answer():
    task = Arithmetic()
    tokenizer = word_tokenizer(task.vocabulary)
    random = np.random.default_rng(9)
    texts = [
        task.answer(random, prompt, style)
        for prompt in task.prompts(random, 50, "shifted")
        for style in task.styles
    ]
    assert longest_answer(tokenizer, task) > max(map(len, tokenizer(texts)["input_ids"]))


# Teaching


def test_only_answers_are_taught():
    [row] = example_tokens(TOKENIZER, ["x y ?"], ["so a"])
    assert TOKENIZER.decode(row.prompt) == "x y ?"
    assert TOKENIZER.decode(row.chosen) == "so a <eos>"
    assert row.rejected == ()


def taught(stage, right=lambda: 0.0, seed=0):
    policy = model()
    random = np.random.default_rng(seed)
    looks = teach(policy, TOKENIZER, TASK, stage, random, right=right, progress=False)
    return policy, looks


def test_teaching_teaches_a_style_and_is_the_same_twice():
    stage = Teaching("train", (1.0,), steps=60, batch_size=16, learning_rate=1e-2)
    policy, looks = taught(stage)
    assert [step for step, _ in looks] == [25, 50]
    assert [row[0].text for row in said(policy=policy, seed=None)] == ["a"] * len(PROMPTS)
    again, _ = taught(stage)
    assert all(
        torch.equal(a, b) for a, b in zip(policy.parameters(), again.parameters(), strict=True)
    )


def test_shares_of_styles_are_learnt():
    stage = Teaching("train", (0.0, 1.0, 0.0), steps=60, batch_size=16, learning_rate=1e-2)
    policy, _ = taught(stage)
    assert [row[0].text for row in said(policy=policy, seed=None)] == ["so a"] * len(PROMPTS)


def test_teaching_stops_when_enough_is_right():
    rights = iter([0.2, 0.5, 0.4])
    stage = Teaching("train", (1.0,), steps=50, enough=0.5, batch_size=2, look_every=3, look_from=6)
    _, looks = taught(stage, right=lambda: next(rights))
    assert looks == [(6, 0.2), (9, 0.5)]


# Base policies


def weights(policy):
    return {name: value.clone() for name, value in policy.state_dict().items()}


def same(one, other):
    return all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.fixture
def made(tmp_path):
    found, tokenizer = base_policy(TASK, 0, tmp_path, TINY, progress=False)
    return tmp_path, found, tokenizer


def test_a_base_policy_is_made_once(made, monkeypatch):
    folder, found, tokenizer = made
    monkeypatch.setattr(base, "teach", lambda *_, **__: pytest.fail("trained again"))
    again, same_tokenizer = base_policy(TASK, 0, folder, TINY, progress=False)
    assert same(weights(found), weights(again))
    assert tokenizer(PROMPTS[0])["input_ids"] == same_tokenizer(PROMPTS[0])["input_ids"]
    assert not again.training
    [place] = folder.iterdir()  # and nothing temporary is left
    assert place.name.startswith("letters-0-")
    assert {"model.safetensors", "made.json"} <= {path.name for path in place.iterdir()}


def test_other_settings_seeds_and_tasks_are_other_policies(made):
    folder, found, _ = made
    wider = dataclasses.replace(TINY, width=8)
    for task, seed, settings in (
        (TASK, 1, TINY),
        (TASK, 0, wider),
        (Letters(rarely_wrong=True), 0, TINY),
    ):
        base_policy(task, seed, folder, settings, progress=False)
    assert len(list(folder.iterdir())) == 4
    other, _ = base_policy(TASK, 1, folder, TINY, progress=False)
    assert not same(weights(found), weights(other))


def test_training_is_the_same_in_another_folder(made, tmp_path_factory):
    _, found, _ = made
    again, _ = base_policy(TASK, 0, tmp_path_factory.mktemp("other"), TINY, progress=False)
    assert same(weights(found), weights(again))


def test_an_interrupted_base_policy_leaves_nothing(tmp_path, monkeypatch):
    for name in ("teach", "_digests"):  # while it trains, and after the weights are written
        with monkeypatch.context() as patch:
            patch.setattr(base, name, interrupt)
            with pytest.raises(KeyboardInterrupt):
                base_policy(TASK, 0, tmp_path, TINY, progress=False)
        assert list(tmp_path.iterdir()) == []


def interrupt(*_, **__):
    raise KeyboardInterrupt


def test_two_processes_may_make_the_same_one(tmp_path, monkeypatch):
    """While this one trains, another finishes: its policy stands."""
    steps = itertools.count()

    def meanwhile(*args, **options):
        if next(steps) == 0:
            base_policy(TASK, 0, tmp_path, TINY, progress=False)
        return teach(*args, **options)

    monkeypatch.setattr(base, "teach", meanwhile)
    base_policy(TASK, 0, tmp_path, TINY, progress=False)
    assert next(steps) == 4
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    "name", ["model.safetensors", "made.json", "config.json", "tokenizer.json"]
)
@pytest.mark.parametrize("how", ["missing", "truncated"])
def test_a_damaged_base_policy_is_refused(made, name, how):
    folder = made[0]
    [place] = folder.iterdir()
    if how == "missing":
        (place / name).unlink()
    else:
        content = (place / name).read_bytes()
        (place / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"damaged.* delete that folder"):
        base_policy(TASK, 0, folder, TINY, progress=False)


def test_a_folder_that_cannot_be_is_refused_before_training(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write"):
        base_policy(TASK, 0, tmp_path / "file", TINY, progress=False)


# Pairs


def pairs(task=TASK, prompts=PROMPTS * 5, **options):
    return make_pairs(model(), TOKENIZER, task, prompts, **{"longest": 4, "seed": 3, **options})


def worth(prompt, tokens):
    return TASK.score(prompt, TOKENIZER.decode(tokens, skip_special_tokens=True)).points


def test_pairs_come_from_where_their_scenario_says():
    found = pairs()
    assert tuple(found.scenarios) == SCENARIOS
    assert {len(rows) for rows in found.scenarios.values()} == {len(found.prompts)}
    assert 0 < len(found.prompts) <= found.asked == 30
    sampled = {}
    for row in said(prompts=PROMPTS * 5, samples=8, seed=3):
        sampled.setdefault(row[0].prompt, set()).update(answer.tokens for answer in row)
    solution = TOKENIZER("so a <eos>")["input_ids"]
    for name, rows in found.scenarios.items():
        for prompt, pair in zip(found.prompts, rows, strict=True):
            assert list(pair.prompt) == TOKENIZER(prompt)["input_ids"]
            assert worth(prompt, pair.chosen) > worth(prompt, pair.rejected)
            if name in ("chosen_off_policy", "both_off_policy"):
                assert list(pair.chosen) == solution
            else:
                assert pair.chosen in sampled[prompt]
            if name in ("rejected_off_policy", "both_off_policy"):
                assert TOKENIZER.decode(pair.rejected) == "hm b <eos>"
            else:
                assert pair.rejected in sampled[prompt]


def test_scenarios_share_their_halves():
    rows = [pairs().scenarios[name] for name in SCENARIOS]
    for on, chosen_off, rejected_off, off in zip(*rows, strict=True):
        assert on.chosen == rejected_off.chosen
        assert on.rejected == chosen_off.rejected
        assert off.chosen == chosen_off.chosen
        assert off.rejected == rejected_off.rejected


def test_prompts_with_uniform_samples_are_dropped():
    few = pairs(samples=2)
    rows = said(prompts=PROMPTS * 5, samples=2, seed=3)
    mixed = [row[0].prompt for row in rows if len({answer.score.points for answer in row}) > 1]
    assert few.prompts == mixed
    assert 0 < len(mixed) < 30


def test_pairs_go_by_their_seed():
    assert pairs() == pairs()
    assert pairs() != pairs(seed=4)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=8))
def test_the_best_and_the_worst_are(points):
    best, worst = _extremes([Answer("", str(at), (at,), Score(p)) for at, p in enumerate(points)])
    assert (best.score.points, worst.score.points) == (max(points), min(points))


def test_without_a_better_and_a_worse_answer_there_are_no_pairs():
    with pytest.raises(InputError, match="better and worse"):
        pairs(samples=1)
    with pytest.raises(InputError, match="better and worse"):
        pairs(Letters(rarely_wrong=True))  # no answer of the weak model is worse than the chosen


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_arithmetic_leaves_something_to_learn(seed, tmp_path):
    task = Arithmetic()
    policy, tokenizer = base_policy(task, seed, tmp_path, progress=False)
    longest = longest_answer(tokenizer, task)
    prompts = task.prompts(np.random.default_rng(7), 300, "train")
    rows = answers(policy, tokenizer, task, prompts, samples=8, longest=longest)
    assert 0.35 < shares(rows)["five"] < 0.8
    assert len(make_pairs(policy, tokenizer, task, prompts, longest=longest).prompts) > 150
