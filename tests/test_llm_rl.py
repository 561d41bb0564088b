"""Reward models: balanced gradients, what they learn; RLOO: exact in the mean, and it pays off."""

import copy
import dataclasses
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import GPT2Config, GPT2LMHeadModel

from tests.llm_models import ROWS, model, tokenizer
from toymodel import InputError
from toymodel.llm import batches
from toymodel.llm.batches import PairTokens, collate
from toymodel.llm.probes import generate
from toymodel.llm.rl import (
    FORMS,
    RewardModel,
    bradley_terry,
    fit_reward_model,
    leave_one_out,
    rloo,
    rloo_loss,
)
from toymodel.llm.sequences import score
from toymodel.rewards import bradley_terry_slopes

PAIRS = batches.tokenise(tokenizer(), ROWS)
every_form = pytest.mark.parametrize("form", FORMS)


def awake(form, seed=0):
    """A reward model whose head is not zero."""
    found = RewardModel(model(seed), pad_token=0, form=form)
    torch.manual_seed(seed)
    for part in found.head.parameters():
        torch.nn.init.normal_(part, std=0.5)
    return found.double()


def alphabet(size=4, seed=0):
    """A tiny model whose responses are one token of a tiny vocabulary."""
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=size, n_positions=8, n_embd=8, n_layer=1, n_head=2, initializer_range=0.5,
        resid_pdrop=0, embd_pdrop=0, attn_pdrop=0, bos_token_id=0, eos_token_id=0, pad_token_id=0,
    )  # fmt: skip
    return GPT2LMHeadModel(config).double()


# Reward models


@given(st.lists(st.floats(-50, 50), min_size=2, max_size=12).filter(lambda r: len(r) % 2 == 0))
def test_the_loss_is_that_of_the_toy(values):
    rewards = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    bradley_terry(rewards).sum().backward()
    chosen, rejected = np.split(np.array(values), 2)
    expected = np.concatenate(bradley_terry_slopes(chosen, rejected))
    np.testing.assert_allclose(rewards.grad, expected, atol=1e-14)


@every_form
def test_gradients_are_balanced_in_the_rewards(form):
    reward = awake(form)
    rewards = reward(collate(PAIRS, pad_token=0))
    rewards.retain_grad()
    bradley_terry(rewards).mean().backward()
    chosen, rejected = rewards.grad.chunk(2)
    assert (chosen < 0).all()
    assert torch.equal(chosen, -rejected)
    assert any(part.grad.abs().sum() > 0 for part in reward.trunk.parameters())


@every_form
def test_rewards_begin_at_zero_and_no_padding_is_in_them(form):
    rows = [(p.prompt, p.chosen) for p in PAIRS]
    assert not RewardModel(model(), pad_token=0, form=form).rewards(rows).any()
    reward = awake(form)
    together = reward.rewards(rows)
    np.testing.assert_allclose(together, [reward.rewards([row])[0] for row in rows], atol=1e-12)
    assert np.ptp(together) > 0.01


@pytest.mark.parametrize("form", sorted(set(FORMS) - {"attention"}))
def test_forms_by_hand(form):
    reward, batch = awake(form), collate(PAIRS, pad_token=0)
    pair = PAIRS[1]
    row, first = len(PAIRS) + 1, len(pair.prompt)
    hidden, worth = reward.see(batch).hidden[row], reward.head.worth.weight
    states = hidden[first : first + len(pair.rejected)]
    expected = {
        "token": lambda: sum(
            worth[token] @ hidden[first + t - 1] for t, token in enumerate(pair.rejected)
        ),
        "last": lambda: worth[0] @ states[-1],
        "mean": lambda: worth[0] @ states.mean(dim=0),
        "sum": lambda: worth[0] @ states.sum(dim=0),
        "likelihood": lambda: (
            worth[0] @ states[-1] + reward.head.share * score(reward.trunk, batch).total[row]
        ),
    }
    torch.testing.assert_close(reward(batch)[row], expected[form]())


@torch.no_grad()
def test_attention_without_a_query_is_the_mean():
    attention, mean = awake("attention"), awake("mean")
    attention.head.query.weight.zero_()
    mean.head.worth.weight.copy_(attention.head.worth.weight)
    batch = collate(PAIRS, pad_token=0)
    torch.testing.assert_close(attention(batch), mean(batch))


def copying(count, seed):
    """Pairs whose chosen response repeats the prompt's first word, and whose rejected one not."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        prompt = random.integers(3, 15, 2)
        other = random.choice([word for word in range(3, 15) if word != prompt[0]])
        found.append(PairTokens(tuple(prompt.tolist()), (int(prompt[0]), 1), (int(other), 1)))
    return found


def test_a_reward_model_learns_what_is_right():
    policy, held_out = model(), copying(100, seed=1)
    before = copy.deepcopy(policy.state_dict())
    reward, curve = fit_reward_model(
        policy, copying(300, seed=0), held_out, pad_token=0, epochs=4, learning_rate=1e-2,
        watch_every=10, progress=False,
    )  # fmt: skip
    assert all(torch.equal(before[name], part) for name, part in policy.state_dict().items())
    assert curve.held_out_accuracy[0] == 0.5
    assert curve.held_out_loss[0] == pytest.approx(np.log(2))
    assert curve.held_out_accuracy[-1] == reward.accuracy(held_out) > 0.95
    assert len(curve.loss) == 40
    assert curve.steps.tolist() == [0, 10, 20, 30, 40]
    assert curve.loss[-5:].mean() < curve.loss[0] / 2
    assert curve.tokens == 4 * 300 * 2 * 4


def test_a_fit_is_repeatable():
    runs = [
        fit_reward_model(
            model(), copying(30, 0), copying(10, 1), pad_token=0, seed=seed, progress=False
        )[1]
        for seed in (0, 0, 1)
    ]
    assert np.array_equal(runs[0].loss, runs[1].loss)
    assert not np.array_equal(runs[0].loss, runs[2].loss)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pairs": []}, "pairs: got 'none'"),
        ({"held_out": []}, "held_out: got 'none'"),
        ({"form": "tokens"}, "did you mean 'token'"),
        ({"watch_every": 0}, "watch_every: got 0"),
        ({"learning_rate": 1e30, "max_grad_norm": None}, "lower learning_rate"),
    ],
)
def test_a_bad_fit_is_refused(change, message):
    usual = {"model": model(), "pairs": copying(40, 0), "held_out": PAIRS, "pad_token": 0}
    with pytest.raises(InputError, match=message):
        fit_reward_model(**usual | {"progress": False} | change)


def test_an_empty_response_has_no_reward():
    with pytest.raises(InputError, match="row 1: got 'an empty response'"):
        awake("mean").rewards([((3,), (4,)), ((3,), ())])


# REINFORCE leave-one-out


@pytest.mark.parametrize("beta", [0.0, 0.7])
@pytest.mark.parametrize("samples", [2, 3])
def test_the_expected_gradient_is_exact(beta, samples):
    """Summed over every draw of samples, each with its probability."""
    policy, reference, size = alphabet(seed=0), alphabet(seed=1), 4
    rows = collate([PairTokens((1, 2), (token,), ()) for token in range(size)], pad_token=0)
    rows = {name: part[:size] for name, part in rows.items()}
    rewards = torch.tensor([1.0, -0.5, 3.0, 0.2], dtype=torch.float64)
    log_probs, theirs = score(policy, rows).total, score(reference, rows).total.detach()
    assert log_probs.exp().sum().item() == pytest.approx(1, abs=1e-12)
    assert log_probs.detach().exp().min() > 0.01
    parameters = list(policy.parameters())

    def gradient(value):
        parts = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
        return torch.cat([part.flatten() for part in parts if part is not None])

    exact = gradient((log_probs.exp() * (rewards - beta * (log_probs - theirs))).sum())
    expected = torch.zeros_like(exact)
    for draw in itertools.product(range(size), repeat=samples):
        drawn = torch.tensor([draw])
        loss = rloo_loss(log_probs[drawn], theirs[drawn], rewards[drawn], beta)
        expected -= log_probs.detach()[drawn].sum().exp() * gradient(loss)
    assert exact.abs().max() > 0.1
    torch.testing.assert_close(expected, exact, rtol=0, atol=1e-10)


@given(st.lists(st.floats(-9, 9), min_size=3, max_size=3), st.floats(-100, 100))
def test_a_prompts_constant_is_not_seen(worth, constant):
    q = torch.tensor([worth], dtype=torch.float64)
    found = leave_one_out(q)
    others = [(q.sum() - q[0, s]) / 2 for s in range(3)]
    torch.testing.assert_close(found[0], q[0] - torch.stack(others), atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(leave_one_out(q + constant), found, atol=1e-11, rtol=1e-9)


PROMPTS = [(3, 4), (5,), (6, 7, 8), (9, 3)]
SAMPLING = {"pad_token": 0, "end_token": 1, "max_new_tokens": 4}


def fives(rows):
    """The share of a response's tokens that are 5."""
    return np.array([np.mean(np.equal(response, 5)) for _, response in rows])


def worth(policy, seed):
    """Mean reward of fresh samples, and its standard error."""
    asked = PROMPTS * 100
    said = generate(policy, asked, seed=seed, **SAMPLING)
    found = fives(list(zip(asked, said, strict=True)))
    return found.mean(), found.std() / len(found) ** 0.5


def test_a_run_raises_the_reward_and_counts_its_cost():
    policy, seen = model().train(), []

    def reward(rows):
        seen.extend(rows)
        return fives(rows)

    before, error = worth(policy, seed=8)
    log = rloo(
        policy, PROMPTS, reward, beta=0.02, steps=30, batch_size=3, learning_rate=3e-3,
        progress=False, **SAMPLING,
    )  # fmt: skip
    after, later_error = worth(policy, seed=9)
    assert after - before > 6 * np.hypot(error, later_error)
    assert policy.training
    last = log[-1]
    assert abs(log[0].kl) < 1e-5 < last.kl
    assert [step.prompts for step in log[:3]] == [3, 4, 7]
    assert last.samples == 4 * last.prompts == len(seen)
    assert last.tokens_generated == sum(len(response) for _, response in seen)
    assert last.tokens_trained - last.tokens_generated == sum(len(prompt) for prompt, _ in seen)
    ends = [response[-1] != 1 for _, response in seen[:12]]
    assert log[0].without_end == pytest.approx(np.mean(ends))
    assert log[0].reward == pytest.approx(fives(seen[:12]).mean())


def test_the_price_holds_the_policy_back():
    runs = [
        rloo(
            model(), PROMPTS, fives, beta=beta, steps=30, batch_size=4, samples=8,
            learning_rate=3e-3, progress=False, **SAMPLING,
        )
        for beta in (0.0, 10.0)
    ]  # fmt: skip
    free, held = (np.mean([step.kl for step in run[-5:]]) for run in runs)
    assert free > 5 * abs(held)
    assert free > 1


def test_a_run_is_repeatable_and_takes_a_learned_reward():
    reward = awake("token").float()
    runs = [
        rloo(model(), PROMPTS, reward.rewards, steps=3, seed=seed, progress=False, **SAMPLING)
        for seed in (0, 0, 1)
    ]
    first, again, other = ([dataclasses.replace(step, seconds=0.0) for step in run] for run in runs)
    assert first == again != other


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompts": []}, "prompts: got 'none'"),
        ({"samples": 1}, "samples: got 1"),
        ({"reward": lambda rows: np.zeros((len(rows), 1))}, "reward: got 'rewards of shape"),
        ({"reward": lambda rows: np.full(len(rows), np.nan)}, "nan for row 0"),
    ],
)
def test_a_bad_run_is_refused(change, message):
    usual = {"model": model(), "prompts": PROMPTS, "reward": fives, "progress": False, **SAMPLING}
    with pytest.raises(InputError, match=message):
        rloo(**usual | change)
