"""Any loss on a language model: the surrogate's gradient is the loss's own, through autograd."""

import copy
import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import toymodel as tm
from tests.llm_models import ROWS, model, tokenizer
from tests.strategies import every_loss, usual
from toymodel.llm import batches
from toymodel.llm.gradients import halves, halves_in_parts
from toymodel.llm.loop import evaluate
from toymodel.llm.objective import needs, surrogate
from toymodel.llm.sequences import Scored, mismatched_log_ratio, pair_batch, score
from toymodel.losses import PairBatch

PAIRS = batches.tokenise(tokenizer(), ROWS)


def batch():
    return batches.collate(PAIRS, pad_token=0)


def whole_gradient(policy):
    """Of the parameters of a model, as one vector."""
    return torch.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None])


def by_autodiff(loss, policy: Scored, pairs: PairBatch):
    """The mean loss differentiated by JAX in each token's log-probability, [row, token]."""
    mask = jnp.asarray(policy.mask.numpy())
    shorter = jnp.tile(mask.sum(1).reshape(2, -1).min(0), 2)
    beyond = mask & (jnp.cumsum(mask, axis=1) > shorter[:, None])

    def mean(tokens):
        chosen, rejected = tokens.sum(1).reshape(2, -1)
        excess = (tokens * beyond).sum(1).reshape(2, -1)
        fields = {k: getattr(pairs, k) for k in PairBatch.__dataclass_fields__}
        fields |= {"chosen": chosen, "rejected": rejected}
        fields |= {"chosen_excess": excess[0], "rejected_excess": excess[1]}
        return jnp.mean(loss.value(PairBatch(**fields)))

    return jax.value_and_grad(mean)(jnp.asarray(policy.log_probs.detach().double().numpy()))


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)], ids=["f32", "f64"]
)
@every_loss
def test_gradient_is_the_losss_own(name, dtype, tolerance):
    loss, policy, reference = usual(name), model(0, dtype), model(1, dtype)
    with jax.enable_x64(True):
        wanted = needs(loss)
        objective, scored = evaluate(policy, reference, batch(), loss, wanted, 0)
        objective.value.backward(retain_graph=True)
        ours = whole_gradient(policy)
        policy.zero_grad()
        with torch.no_grad():
            other = batches.mismatched(batch(), 0)
            gaps = score(policy, other).total - score(reference, other).total
            theirs = score(reference, batch())
        pairs = pair_batch(scored, theirs, torch.stack(gaps.chunk(2)).mean(0))
        value, by_token = by_autodiff(loss, scored, pairs)
    scored.log_probs.backward(torch.as_tensor(np.array(by_token), dtype=dtype))
    expected = whole_gradient(policy)
    assert float((ours - expected).norm()) <= tolerance * float(expected.norm())
    np.testing.assert_allclose(float(objective.value.detach()), float(value), rtol=10 * tolerance)


@torch.no_grad()
def test_log_probabilities_by_hand():
    policy, data = model(), batch()
    scored = score(policy, data, concentration=True)
    pair = PAIRS[1]
    ids = torch.tensor([pair.prompt + pair.rejected])
    table = torch.log_softmax(policy(ids).logits[0], -1)
    start = len(pair.prompt)
    tokens = [float(table[start - 1 + k, token].detach()) for k, token in enumerate(pair.rejected)]
    row = len(PAIRS) + 1
    assert float(scored.total[row].detach()) == pytest.approx(sum(tokens), rel=1e-5)
    assert int(scored.lengths[row]) == len(pair.rejected) == 5  # its end counts
    assert float(scored.excess[row].detach()) == pytest.approx(sum(tokens[2:]), rel=1e-5)
    squares = sum(
        math.log(float((table[start - 1 + k].exp() ** 2).sum())) for k in range(len(tokens))
    )
    assert float(scored.concentration[row].detach()) == pytest.approx(squares, rel=1e-5)


def test_padding_changes_nothing():
    policy = model(dtype=torch.float64)
    together = score(policy, batch()).total.detach()
    for at, pair in enumerate(PAIRS):
        alone = score(policy, batches.collate([pair], pad_token=0)).total.detach()
        np.testing.assert_allclose(alone, together[[at, len(PAIRS) + at]], rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dpo", {"reference"}),
        ("simpo", set()),
        ("kto", {"reference", "mismatched"}),
        ("wpo", {"reference", "concentration"}),
        ("ld_dpo", {"reference", "excess"}),
    ],
)
def test_what_a_loss_reads(name, expected):
    assert needs(usual(name)) == expected


#: One of each kind: reads the reference, other prompts, the batch's order, lengths, concentration.
KINDS = [tm.losses.FlexDPO(0.3, 0.1), *map(usual, ("simpo", "kto", "aot", "ld_dpo", "wpo"))]


@pytest.mark.parametrize("loss", KINDS, ids=lambda loss: type(loss).__name__)
def test_halves_add_up_and_their_angle_is_right(loss):
    policy, reference = model(0, torch.float64), model(1, torch.float64)
    with jax.enable_x64(True):
        objective, scored = evaluate(policy, reference, batch(), loss, needs(loss), 0)
    found = halves(objective, scored, policy.parameters())
    objective.value.backward()
    whole = float((whole_gradient(policy) ** 2).sum())
    product = 2 * found.chosen * found.rejected * found.cosine
    assert whole == pytest.approx(found.chosen**2 + found.rejected**2 + product, rel=1e-9)
    ratio = np.log(np.abs(objective.rejected / objective.chosen)) + np.subtract(
        *scored.total.detach().numpy().reshape(2, -1)
    )
    assert found.log_ratio == pytest.approx(ratio.mean())


@pytest.mark.parametrize("size", [1, 3, 99])
@pytest.mark.parametrize("loss", KINDS, ids=lambda loss: type(loss).__name__)
def test_halves_in_parts_are_those_at_once(loss, size):
    policy, reference = model(0, torch.float64), model(1, torch.float64)
    at_once = halves(
        *evaluate(policy, reference, batch(), loss, needs(loss), 0), policy.parameters()
    )
    with torch.no_grad():
        scored = score(policy, batch(), concentration=True)
        theirs, other = score(reference, batch()), batches.mismatched(batch(), 0)
        log_ratio = mismatched_log_ratio(score(policy, other), score(reference, other))
    scored.log_probs.requires_grad_()
    objective = tm.llm.surrogate(loss, scored, theirs, log_ratio)
    graphs = []
    hook = policy.register_forward_hook(lambda *_: graphs.append(torch.is_grad_enabled()))
    found = halves_in_parts(objective, scored, policy, batch(), batch_size=size)
    hook.remove()
    assert len(graphs) == 2 * -(-len(PAIRS) // size)
    np.testing.assert_allclose(dataclasses.astuple(found), dataclasses.astuple(at_once), 1e-12)


def test_losses_without_a_reference_need_no_model_for_it():
    loss = tm.losses.SimPO()
    objective, _ = evaluate(model(), None, batch(), loss, needs(loss), 0)
    with_one, _ = evaluate(model(), model(1), batch(), loss, needs(loss), 0)
    assert float(objective.value.detach()) == float(with_one.value.detach())


def test_the_reference_has_no_dropout(monkeypatch):
    modes = []

    def spy(policy, reference, *rest):
        modes.append((policy.training, reference.training))
        return evaluate(policy, reference, *rest)

    monkeypatch.setattr("toymodel.llm.loop.evaluate", spy)
    for reference in (model(1).train(), None):
        policy = model().train()
        tm.llm.train(policy, PAIRS, pad_token=0, reference=reference, progress=False)
    assert modes == [(True, False)] * 2
    tm.llm.train(policy.eval(), PAIRS, pad_token=0, progress=False)
    assert modes[-1] == (True, False)
    assert not policy.training


def test_training_lowers_the_loss_and_leaves_the_reference_alone():
    policy, reference = model(), model()
    before = copy.deepcopy(reference.state_dict())
    seen = []
    found = tm.llm.train(
        policy,
        PAIRS,
        tm.losses.FlexDPO(0.1, 0.08),
        pad_token=0,
        reference=reference,
        learning_rate=1e-2,
        epochs=10,
        batch_size=2,
        watch=lambda step, objective, scored: seen.append((step, scored.total.shape[0])),
        progress=False,
    )
    assert found[-1] < 0.5 * found[0]
    assert seen == [(step, 4) for step in range(20)]
    assert all(torch.equal(before[name], value) for name, value in reference.state_dict().items())


def test_a_model_that_is_not_finite_is_refused():
    policy = model()
    with torch.no_grad():
        policy.transformer.wte.weight[5] = torch.nan
    with pytest.raises(tm.InputError, match="finite log-probabilities"):
        surrogate(tm.losses.DPO(), score(policy, batch()), score(model(), batch()))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "w1", "chosen": "w2"}, "row 0: got 'columns prompt, chosen'"),
        ({"prompt": "w1 ", "chosen": "w2", "rejected": "w2"}, "equal"),
        ({"prompt": "w1 ", "chosen": "", "rejected": "w2"}, "not empty"),
        ({"prompt": "w1 ", "chosen": "w2", "rejected": None}, "three texts"),
        ({"prompt": "w1 ", "chosen": "w2", "rejected": [{}]}, "three texts"),
        ({"prompt": "", "chosen": "w2", "rejected": "w3"}, "prompt has no tokens"),
        ({"prompt": "w1 ", "chosen": "w2", "rejected": "w2 "}, "the same tokens"),
        ({"prompt": "w1 ", "chosen": "w2 " * 40, "rejected": "w2"}, "at most 16"),
        ({"prompt": [{"role": "user"}], "chosen": [{}], "rejected": [{"a": 1}]}, "chat template"),
    ],
)
def test_rows_that_are_refused(row, message):
    with pytest.raises(tm.InputError, match=message):
        batches.tokenise(tokenizer(), [row], max_length=16)


def test_calls_that_are_refused():
    with pytest.raises(tm.InputError, match="at least one pair"):
        tm.llm.train(model(), [], pad_token=0)
    with pytest.raises(tm.InputError, match="two pairs or more"):
        tm.llm.train(model(), PAIRS[:1], "kto", pad_token=0, progress=False)
    with pytest.raises(tm.InputError, match="batch_size: got '3, which leaves one of 4"):
        tm.llm.train(model(), PAIRS, "kto", pad_token=0, batch_size=3, progress=False)
    bare = copy.deepcopy(tokenizer())
    bare.pad_token = bare.eos_token = None
    with pytest.raises(tm.InputError, match="padding token"):
        batches.pad_token_of(bare)
