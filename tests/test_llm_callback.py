"""The callback in the installed TRL: what it logs, what it costs, and that it disturbs nothing."""

import dataclasses
import itertools
import json
import math
import types

import numpy as np
import pytest
import torch

import toymodel as tm
from tests.llm_models import ROWS, WORDS, model, tokenizer
from tests.test_llm_trainer import logs, offline, trainer
from toymodel.llm import batches, measuring, overlap, probes
from toymodel.llm import callback as module
from toymodel.llm.journal import Journal
from toymodel.llm.loop import evaluate
from toymodel.llm.objective import needs
from toymodel.llm.sequences import score

__all__ = ["offline"]  # a fixture

pytestmark = pytest.mark.filterwarnings("ignore")  # those of TRL and of what it imports
PAIRS = batches.tokenise(tokenizer(), ROWS)
OPTIONS = {"vocabulary": 23, "pad_token": 0, "end_token": 1}


def records(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def watched(folder, *, callback=None, cls=None, **options):
    made = trainer(cls or tm.llm.DPOTrainer, folder, **options)
    watcher = tm.llm.PropertiesCallback(made, **{"every": 1, "samples": 4, **(callback or {})})
    made.add_callback(watcher)
    return made, watcher


def test_what_is_logged(tmp_path):
    made, watcher = watched(tmp_path, loss="dpo", steps=6)
    entries = logs(made)
    found = records(watcher.path)
    assert found[0]["toymodel"] == tm.__version__
    assert [record["step"] for record in found[1:]] == list(range(7))
    first, last = found[1], found[-1]
    for name in ("greedy", "sampled", "other_chosen", "other_rejected", "permuted", "random"):
        assert math.isfinite(first[f"probes/{name}"])
        assert 0 <= first[f"mass/{name}"] <= 1
    assert first["kl"] == pytest.approx(0, abs=1e-9)
    assert last["kl"] > 0
    assert "gradients/cosine" in first
    assert "gradients/cosine" not in found[2]
    assert (
        last["logps/chosen"] - last["logps/rejected"]
        > first["logps/chosen"] - first["logps/rejected"]
    )
    assert entries[2]["properties/logps/chosen"] == pytest.approx(found[4]["logps/chosen"])
    assert {"logps/chosen", "rewards/margins"} <= set(entries[0])  # TRL's own stay


def test_numbers_are_the_models(tmp_path):
    made, watcher = watched(tmp_path, loss=tm.losses.FlexDPO(0.3, 0.1), steps=1)
    made.train()
    first = records(watcher.path)[1]
    data = batches.collate(PAIRS, pad_token=0)
    with torch.no_grad():
        policy, reference = score(model(), data), score(model(1), data)
    chosen, rejected = policy.total.numpy().reshape(2, -1)
    assert first["logps/chosen"] == pytest.approx(chosen.mean(), rel=1e-5)
    tokens = policy.lengths.numpy().reshape(2, -1)[1].sum()
    assert first["logps/rejected_per_token"] == pytest.approx(rejected.sum() / tokens, rel=1e-5)
    from toymodel.llm.sequences import pair_batch

    slopes = tm.losses.FlexDPO(0.3, 0.1).slopes(pair_batch(policy, reference))
    assert first["slopes/chosen"] == pytest.approx(float(slopes[0].mean()), rel=1e-4)
    assert first["slopes/rejected"] == pytest.approx(float(slopes[1].mean()), rel=1e-4)


@pytest.mark.parametrize("loss", ["dpo", "kto", "ld_dpo"])
def test_gradients_are_those_of_all_pairs_at_once(tmp_path, loss):
    made, watcher = watched(tmp_path, loss=loss, steps=1, callback={"batch_size": 1})
    made.train()
    first = records(watcher.path)[1]
    policy, data = model(), batches.collate(PAIRS, pad_token=0)
    objective, scored = evaluate(policy, model(1), data, made.loss, needs(made.loss), 0)
    both = tm.llm.halves(objective, scored, policy.parameters())
    for name in ("chosen", "rejected", "cosine"):
        assert first[f"gradients/{name}"] == pytest.approx(getattr(both, name), rel=1e-4)


def test_each_response_is_scored_once_a_record(tmp_path):
    made, watcher = watched(tmp_path, loss="dpo", callback={"gradients_every": 0})
    made.train()
    scored = []
    hook = made.model.register_forward_pre_hook(
        lambda _module, _inputs, given: scored.append(len(given["input_ids"])), with_kwargs=True
    )
    watcher._watcher.numbers(gradients=False)
    hook.remove()
    assert sum(scored) == (2 + 5 + 4) * len(PAIRS)  # pairs, probes of one answer, samples


def test_training_is_not_disturbed(tmp_path):
    alone = logs(trainer(tm.llm.DPOTrainer, tmp_path / "a", loss="dpo", steps=5))
    made, _ = watched(tmp_path / "b", loss="dpo", steps=5)
    for one, other in zip(alone, logs(made), strict=True):
        assert other["loss"] == one["loss"]
        assert other["grad_norm"] == one["grad_norm"]
    assert made.model.training


@pytest.mark.parametrize(
    ("kind", "divergence"),
    [
        *((kind, "reverse_kl") for kind in ("sigmoid", "ipo", "sppo_hard", "apo_down", "sft")),
        ("sigmoid", "forward_kl"),
        ("ipo", "js_divergence"),
        ("hinge", "alpha_divergence"),
        ("sft", "forward_kl"),
    ],
)
def test_trls_own_trainer_and_losses(tmp_path, kind, divergence):
    from trl import DPOTrainer

    config = {"loss_type": [kind], "beta": 0.3, "f_divergence_type": divergence}
    made, watcher = watched(tmp_path, cls=DPOTrainer, **config)
    entry = logs(made)[0]
    assert len(records(watcher.path)) == 5
    data = batches.collate(PAIRS, pad_token=0)
    loss = tm.llm.loss_of(made)
    with torch.no_grad():
        found = tm.llm.surrogate(loss, score(model(), data), score(model(1), data))
    assert entry["loss"] == pytest.approx(float(found.value), rel=1e-4)


def test_alarms_and_fresh_samples(tmp_path, caplog):
    callback = {
        "checker": lambda prompt, answer: answer.startswith("w"),
        "limits": tm.llm.Limits(drop=0.5, degradation=0.1, dispersion=0.01),
    }
    made, watcher = watched(tmp_path, loss="dpo", steps=30, learning_rate=3e-2, callback=callback)
    made.train()
    found = records(watcher.path)
    assert "drop" in watcher.onsets
    step = watcher.onsets["drop"]
    fall = [r["logps/rejected"] - found[1]["logps/rejected"] for r in found[1:]]
    assert fall[step] <= -0.5 < min(fall[:step])
    assert "drop" in found[step + 1]["onsets"]
    assert "drop has set in" in caplog.text
    assert all(0 <= r["malformed_share"] <= 1 and math.isfinite(r["kl_policy"]) for r in found[1:])


def test_a_run_that_goes_on_watches_the_same(tmp_path):
    options = {"loss": "dpo", "save_strategy": "steps", "save_steps": 2}
    straight, watcher = watched(tmp_path / "a", steps=4, **options)
    straight.train()
    stopped, other = watched(tmp_path / "b", steps=4, **options)
    stopped.train()
    with other.path.open("a") as file:
        file.write('{"step": 99, "torn')  # killed while writing
    again, resumed = watched(tmp_path / "b", steps=4, **options)
    again.train(resume_from_checkpoint=str(tmp_path / "b" / "checkpoint-2"))
    for one, two in zip(records(watcher.path), records(resumed.path), strict=True):
        for key, value in one.items():
            if key.startswith(("logps", "probes", "mass", "kl")):
                assert two[key] == pytest.approx(value, rel=1e-5, abs=1e-7), key


def test_the_default_interval_keeps_its_share(tmp_path, monkeypatch):
    """By a clock that moves by a second whenever it is read: a record takes as long as a step."""
    clock = types.SimpleNamespace(perf_counter=itertools.count().__next__)
    made, watcher = watched(tmp_path, loss="dpo", steps=60, callback={"every": None})
    monkeypatch.setattr(module, "time", clock)
    made.train()
    steps = [record["step"] for record in records(watcher.path)[1:]]
    assert steps == [0, 20, 40, 60]  # 1 / 20 of the time; every tenth step would be 1 / 10


def test_a_second_training_is_another_run(tmp_path):
    made, watcher = watched(tmp_path, loss="dpo", steps=4)
    made.train()
    first = watcher.path.read_text()
    made.train()
    assert (tmp_path / "properties.1.jsonl").read_text() == first
    assert records(watcher.path)[1]["step"] == 0


def test_pairs_of_one_prompt_are_one_group():
    alike = [PAIRS[0], dataclasses.replace(PAIRS[1], prompt=PAIRS[0].prompt), *PAIRS[2:]]
    found = {p.name: p for p in probes.standard_probes(model(), alike, samples=2, **OPTIONS)}
    assert found["chosen"].groups == (0, 0, 1, 2)
    assert found["sampled"].groups == (0, 0, 0, 0, 1, 1, 2, 2)
    assert found["other_chosen"].responses[:2] == (alike[2].chosen, alike[2].chosen)
    alone = [dataclasses.replace(pair, prompt=PAIRS[0].prompt) for pair in PAIRS]
    found = {p.name for p in probes.standard_probes(model(), alone, samples=2, **OPTIONS)}
    assert "other_chosen" not in found


def test_probes():
    policy = model()
    found = {p.name: p for p in probes.standard_probes(policy, PAIRS, samples=8, **OPTIONS)}
    assert found["other_chosen"].responses[0] == PAIRS[1].chosen
    assert sorted(found["permuted"].responses[3]) == sorted(PAIRS[3].chosen)
    assert [len(r) for r in found["random"].responses] == [len(p.chosen) for p in PAIRS]
    assert len(found["sampled"].responses) == 32
    again = {p.name: p for p in probes.standard_probes(policy, PAIRS, samples=8, **OPTIONS)}
    assert found == again
    with torch.no_grad():
        ids = torch.tensor([PAIRS[0].prompt])
        for token in found["greedy"].responses[0]:
            assert int(policy(ids).logits[0, -1].argmax()) == token
            ids = torch.cat([ids, torch.tensor([[token]])], dim=1)


def test_samples_are_the_models():
    policy, count = model(), 4000
    policy.generation_config.update(repetition_penalty=10.0, min_p=0.5, num_beams=2)
    drawn = probes.generate(
        policy, [PAIRS[0].prompt] * count, pad_token=0, end_token=1, max_new_tokens=1, seed=0
    )
    with torch.no_grad():
        expected = torch.softmax(policy(torch.tensor([PAIRS[0].prompt])).logits[0, -1], -1).numpy()
    found = np.bincount([row[0] for row in drawn], minlength=len(expected)) / count
    error = np.sqrt(expected * (1 - expected) / count)
    assert (np.abs(found - expected) < 4.5 * error + 1e-9).all()
    assert policy.generation_config.repetition_penalty == 10.0  # kept for its owner


def test_mass_counts_a_response_once():
    policy = model()
    probe = probes.Probe("sampled", (PAIRS[0].prompt,) * 3, ((3, 1), (3, 1), (4, 1)), (0, 0, 0))
    now = measuring.measure(policy, [probe], 0)
    values = np.exp(now.by_probe["sampled"])
    found = measuring.summary([probe], now, now)
    assert found["support_mass"] == pytest.approx(values[0] + values[2])
    assert found["outside"] == pytest.approx(1 - values[0] - values[2])


def test_shared_and_own_tokens():
    pairs = [*PAIRS, batches.PairTokens((5,), (6, 7, 8, 1), (6, 9, 8, 1))]
    with torch.no_grad():
        scored = score(model(), batches.collate(pairs, pad_token=0))
    found = overlap.by_kind(scored, pairs)
    starts = [len(pair.prompt) - 1 for pair in pairs]
    row = scored.log_probs.numpy()
    shared = [row[1, starts[1]], row[2, starts[2]], row[4, starts[4]]]
    assert found["tokens/chosen_common_prefix"] == pytest.approx(np.mean(shared), rel=1e-5)
    later = [row[2, starts[2] + 2], row[4, starts[4] + 2], row[4, starts[4] + 3]]
    assert found["tokens/chosen_common_later"] == pytest.approx(np.mean(later), rel=1e-5)
    total = sum(values.sum() for values in row[:5])
    own = total - sum(shared) - sum(later)
    count = sum(len(pair.chosen) for pair in pairs) - 6
    assert found["tokens/chosen_own"] == pytest.approx(own / count, rel=1e-5)


def test_a_users_probe():
    probe = probes.rephrased(tokenizer(), PAIRS, ["w1 w2", *WORDS[1:4]])
    assert probe.responses[0] == (4, 5, 1)
    with pytest.raises(tm.InputError, match="one for each of 4"):
        probes.rephrased(tokenizer(), PAIRS, ["w1"])
    with pytest.raises(tm.InputError, match="a token at least"):
        probes.rephrased(tokenizer(), PAIRS, ["", *WORDS[1:4]])


def test_journals_and_probes_that_are_damaged(tmp_path):
    path = tmp_path / "log.jsonl"
    for line in ("nonsense", "5"):
        path.write_text(f'{{"step": 0}}\n{line}\n{{"step": 1}}\n')
        with pytest.raises(tm.InputError, match="line 2"):
            Journal(path).go_on(1)
    (tmp_path / "p.json").write_text("[{}]")
    with pytest.raises(tm.InputError, match="start anew"):
        probes.load(tmp_path / "p.json")


def test_pairs_that_are_cut_at_their_start_cannot_be_watched(tmp_path):
    options = {"loss": "dpo", "truncation_mode": "keep_end"}
    watched(tmp_path, max_length=32, **options)
    with pytest.raises(tm.InputError, match="truncation_mode: got 'keep_end'"):
        watched(tmp_path, max_length=5, **options)


def test_a_short_run_has_its_last_record(tmp_path):
    made, watcher = watched(tmp_path, loss="dpo", steps=2, callback={"every": None})
    made.train()
    assert [record["step"] for record in records(watcher.path)[1:]] == [0, 2]


def test_a_run_cannot_go_on_with_other_pairs(tmp_path):
    _, watcher = watched(tmp_path / "a", loss="dpo")
    watcher._watcher.look(tmp_path)
    watcher._watcher.save(tmp_path / "p.json")
    _, other = watched(tmp_path / "b", loss="dpo", rows=ROWS[::-1])
    with pytest.raises(tm.InputError, match="other pairs than the trainer's"):
        other._watcher.load(tmp_path / "p.json")


def named(name):
    return probes.Probe(name, (PAIRS[0].prompt,), ((4, 1),), (0,))


@pytest.mark.parametrize(
    ("callback", "message"),
    [
        ({"every": 0}, "every"),
        ({"watch": 1}, "two pairs"),
        ({"samples": -1}, "samples"),
        ({"watch": [0, 99]}, "watch: got 99, expected a whole number from 0 to 3"),
        ({"watch": 2.5}, "how many pairs"),
        ({"batch_size": 0}, "batch_size"),
        ({"probes": [named("sampled")]}, "names of their own"),
        ({"probes": [named("mine"), named("mine")]}, "names of their own"),
    ],
)
def test_settings_that_are_refused(tmp_path, callback, message):
    with pytest.raises(tm.InputError, match=message):
        watched(tmp_path, loss="dpo", callback=callback)
