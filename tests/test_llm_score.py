"""Scores of preference data: exact where they claim to be, and alive on dirty files."""

import copy
import json
from pathlib import Path

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given
from scipy.stats import spearmanr

import toymodel as tm
from tests.llm_models import ROWS, model, tokenizer
from toymodel import cli
from toymodel.llm import scoring, sequences
from toymodel.llm.batches import PairTokens, collate, tokenise
from toymodel.llm.data import read_pairs
from toymodel.llm.loop import evaluate
from toymodel.llm.objective import needs
from toymodel.llm.scoring import Reader, Settings, first_step, kept, likeness, loading, ranking
from toymodel.sequences import ches, unembedding_kernel

PAIRS = tokenise(tokenizer(), ROWS)
END = 1


def random_pairs(seed, count):
    random = np.random.default_rng(seed)

    def draw(low, high):
        return tuple(int(x) for x in random.integers(3, 23, random.integers(low, high)))

    return [PairTokens(draw(2, 5), (*draw(1, 8), END), (*draw(1, 8), END)) for _ in range(count)]


def untied(seed=0, *, bias=False):
    """The tiny model in float64 with an unembedding of its own."""
    made = model(seed, torch.float64)
    weight = made.lm_head.weight.detach().clone()
    made.lm_head = torch.nn.Linear(*reversed(weight.shape), bias=bias, dtype=torch.float64)
    made.lm_head.weight.data.copy_(weight)
    return made


def own_losses(policy, pairs, loss):
    """The mean loss of pairs where training begins, and the responses, with their graph."""
    return evaluate(policy, copy.deepcopy(policy), collate(pairs, 0), loss, needs(loss), 0)


# What is read -------------------------------------------------------------------------------------


@torch.no_grad()
def test_log_probabilities_are_those_of_training():
    policy = model()
    batch = collate(PAIRS, 0)
    found, states = Reader(policy).read(batch)
    expected = sequences.score(policy, batch, concentration=True)
    np.testing.assert_allclose(found.total, expected.total, rtol=1e-5)
    np.testing.assert_allclose(found.concentration, expected.concentration, rtol=1e-4)
    assert torch.equal(found.mask, expected.mask)
    assert states.tokens.tolist() == [t for p in PAIRS for t in p.chosen] + [
        t for p in PAIRS for t in p.rejected
    ]


@pytest.mark.parametrize("cap", [None, 1.0])
@torch.no_grad()
def test_logits_that_are_capped_after_the_unembedding_are_noticed(cap):
    from transformers import Gemma2Config, Gemma2ForCausalLM

    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "head_dim": 8}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "initializer_range": 0.5}
    config = Gemma2Config(vocab_size=23, **sizes, **heads, final_logit_softcapping=cap)
    torch.manual_seed(0)
    policy = Gemma2ForCausalLM(config).eval()
    reader = Reader(policy)
    batch = collate(PAIRS, 0)
    for _ in range(2):
        found, _ = reader.read(batch)
        expected = sequences.score(policy, batch).total
        np.testing.assert_allclose(found.total, expected, rtol=1e-4)
    assert reader.is_linear is (cap is None)


def test_a_model_without_a_linear_unembedding_is_refused():
    policy = model()
    policy.set_output_embeddings(torch.nn.Identity())
    with pytest.raises(tm.InputError, match="linear unembedding"):
        Reader(policy)


# The kernel ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [False, True])
def test_the_kernel_is_the_toys(bias):
    _, states = Reader(untied(bias=bias)).read(collate(PAIRS, 0))
    residuals = np.eye(23)[states.tokens.numpy()] - states.probs.numpy()
    hidden = states.hidden.numpy()
    if bias:
        hidden = np.concatenate([hidden, np.ones((len(hidden), 1))], axis=1)
    for one in range(len(PAIRS)):
        for other in range(2 * len(PAIRS)):
            here, there = ((states.row == row).numpy() for row in (one, other))
            parts = [jnp.asarray(x[at]) for at in (here, there) for x in (hidden, residuals)]
            found = scoring.token_kernel(
                *(states.where(states.row == row) for row in (one, other))
            ).sum()
            assert float(found) == pytest.approx(float(unembedding_kernel(*parts)), rel=1e-9)


LOSSES = [
    tm.losses.DPO(0.1),
    tm.losses.FlexDPO(0.3, 0.05),
    tm.losses.SFTDPO(0.1, 0.5),
    tm.losses.IPO(0.1),
    tm.losses.SimPO(),
    tm.losses.LengthDesensitised(tm.losses.DPO(0.2), 0.3),
]


CASES = {
    f"{type(loss).__name__}-{name}": (loss, together, bias)
    for loss in LOSSES
    for name, together, bias in (("alone", False, False), ("batch", True, True))
}


@pytest.mark.parametrize(("loss", "together", "bias"), CASES.values(), ids=CASES)
def test_the_predicted_step_is_the_measured_one(loss, together, bias):
    """After SGD on the unembedding alone; what is left falls with the square of the step."""
    pairs = random_pairs(0, 3)
    policy = untied(bias=bias)
    with jax.enable_x64(True):
        scored, states = Reader(policy).read(collate(pairs, 0))
        predicted = first_step(loss, scored, states, batch=True)
    for at in [0] if together else range(2):
        trained = pairs if together else [pairs[at]]
        objective, _ = own_losses(policy, trained, loss)
        parameters = list(policy.lm_head.parameters())
        gradients = torch.autograd.grad(objective.value, parameters)
        expected = predicted.batch if together else predicted.own[at : at + 1]
        errors = []
        for rate in (1e-3, 1e-4):
            moved = copy.deepcopy(policy)
            with torch.no_grad():
                for parameter, gradient in zip(moved.lm_head.parameters(), gradients, strict=True):
                    parameter -= rate * gradient
                after = sequences.score(moved, collate(trained, 0)).total[: len(trained)]
                before = sequences.score(policy, collate(trained, 0)).total[: len(trained)]
            measured = (after - before) / rate
            errors.append(float((measured - expected).abs().max() / expected.abs().max()))
        assert errors[0] < 0.05
        assert errors[1] < 0.15 * errors[0] + 1e-8  # a tenth, and what rounding adds


def full_model_speed(policy, pair, loss):
    """d log pi(chosen) / d(learning rate) at the first step of SGD on all weights."""
    objective, scored = own_losses(policy, [pair], loss)
    leaves = [p for p in policy.parameters() if p.requires_grad]
    parts = [
        torch.autograd.grad(value, leaves, allow_unused=True, retain_graph=True)
        for value in (objective.value, scored.total[0])
    ]
    return -sum(
        float((a * b).sum()) for a, b in zip(*parts, strict=True) if a is not None and b is not None
    )


def test_the_last_layer_ranks_as_the_whole_model_does_and_better_than_ches():
    loss = tm.losses.DPO(0.1)
    correlations = []
    for seed in range(3):
        policy, pairs = model(seed, torch.float64), random_pairs(seed, 40)
        with jax.enable_x64(True):
            scored, states = Reader(policy).read(collate(pairs, 0))
            predicted = first_step(loss, scored, states).own
            measured = [full_model_speed(policy, pair, loss) for pair in pairs]
        sums = states.sums(80).numpy().reshape(2, 40, 1, -1)
        by_ches = -np.asarray(ches(jnp.asarray(sums[0]), jnp.asarray(sums[1])))
        correlations.append([spearmanr(x, measured)[0] for x in (predicted, by_ches)])
    ours, theirs = np.mean(correlations, axis=0)
    assert ours > 0.6
    assert ours > theirs


# Strings ------------------------------------------------------------------------------------------

tokens = st.lists(st.integers(2, 5), min_size=1, max_size=6).map(tuple)


@given(tokens, tokens)
def test_likeness_is_symmetric_and_bounded(one, other):
    found = likeness(PairTokens((9,), (*one, END), (*other, END)), END)
    turned = likeness(PairTokens((9,), other, one), END)
    assert found == turned
    assert 0 <= found.shared_tokens <= 1
    assert 0 <= found.edit_share <= 1
    assert (found.edit_distance == 0) == (one == other) == (found.edit_share == 0)
    assert found.shared_prefix <= min(len(one), len(other))
    assert found.edit_distance <= max(len(one), len(other)) - found.shared_prefix


# Whole data ---------------------------------------------------------------------------------------


def prepared(tmp_path, rows, **options):
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return scoring.prepare(tokenizer(), read_pairs(path), **options)


QUIET = {"progress": False}


def test_scores_by_hand(tmp_path):
    policy = model()
    found = scoring.score_pairs(
        policy, tokenizer(), prepared(tmp_path, ROWS), Settings(batch_size=3), **QUIET
    )
    assert found.is_linear
    expected = sequences.score(policy, collate(PAIRS, 0))
    chosen, rejected = expected.total.detach().numpy().reshape(2, -1)
    own = found.own.mean
    for at, row in enumerate(found.rows):
        pair, scores = PAIRS[at], row.scores
        assert scores["chosen_log_prob"] == pytest.approx(chosen[at], rel=1e-4)
        assert scores["rejected_per_token"] == pytest.approx(
            rejected[at] / len(pair.rejected), rel=1e-4
        )
        assert scores["rejected_gap"] == pytest.approx(scores["rejected_per_token"] - own)
        assert (scores["chosen_length"], scores["rejected_length"]) == (
            len(pair.chosen),
            len(pair.rejected),
        )
        states = [
            policy.base_model(torch.tensor([pair.prompt + response]))[0][
                0, len(pair.prompt) - 1 : -1
            ]
            for response in (pair.chosen, pair.rejected)
        ]
        arrays = [jnp.asarray(state.detach().double().numpy()) for state in states]
        assert scores["ches"] == pytest.approx(float(ches(*arrays)), rel=1e-4)
        per_token = float(ches(*arrays, per_token=True))
        assert scores["ches_per_token"] == pytest.approx(per_token, rel=1e-4)
        # DPO begins with slopes of beta / 2
        difference = scores["kernel_chosen"] - scores["kernel_across"]
        assert scores["first_step"] == pytest.approx(0.05 * difference, rel=1e-4)


def test_batches_do_not_change_scores(tmp_path):
    rows = prepared(tmp_path, ROWS)
    alone, together = (
        scoring.score_pairs(
            model(), tokenizer(), rows, Settings(batch_size=size, greedy=True), **QUIET
        )
        for size in (1, 4)
    )
    for one, other in zip(alone.rows, together.rows, strict=True):
        assert one.scores == pytest.approx(other.scores, rel=1e-4, abs=1e-5)


def test_a_model_knows_its_own_greedy_answers_best(tmp_path):
    greedy, sampled = (
        scoring.score_pairs(
            model(), tokenizer(), prepared(tmp_path, ROWS), Settings(greedy=greedy), **QUIET
        ).own
        for greedy in (True, False)
    )
    assert greedy.mean > sampled.mean
    assert greedy.prompts == len(ROWS)


DIRTY = {
    "equal": ({"prompt": "w1 ", "chosen": "w2", "rejected": "w2"}, "equal"),
    "equal tokens": ({"prompt": "w1 ", "chosen": "w2", "rejected": "w2 "}, "the same tokens"),
    "empty": ({"prompt": "w1 ", "chosen": "", "rejected": "w2"}, "chosen is empty"),
    "over-long": ({"prompt": "w1 ", "chosen": "w2 " * 40, "rejected": "w2"}, "at most 32"),
    "a column missing": ({"prompt": "w1 ", "chosen": "w2 "}, "missing: rejected"),
    "messages without a template": (
        {
            "prompt": [{"role": "user", "content": "w1"}],
            "chosen": [{"role": "assistant", "content": "w2"}],
            "rejected": [{"role": "assistant", "content": "w3"}],
        },
        "chat template",
    ),
}


@pytest.mark.parametrize(("row", "reason"), DIRTY.values(), ids=DIRTY)
def test_a_bad_row_is_skipped_with_its_reason(tmp_path, row, reason):
    rows = prepared(tmp_path, [ROWS[0], row, ROWS[1]], max_length=32)
    found = scoring.score_pairs(model(), tokenizer(), rows, Settings(own_prompts=0), **QUIET)
    assert [x.skipped is None for x in found.rows] == [True, False, True]
    assert reason in found.rows[1].skipped
    assert "Skipped 1 of 3" in ranking.skipped_text(found)
    lines = ranking.records(found)
    assert lines[1] == {"place": "pairs.jsonl:2", "skipped": found.rows[1].skipped}
    assert sorted(line["rank"] for line in lines if "rank" in line) == [1, 2]
    only = prepared(tmp_path, [row], max_length=32)
    with pytest.raises(tm.InputError, match=rf"the first: pairs.jsonl:1: .*{reason}"):
        scoring.score_pairs(model(), tokenizer(), only, **QUIET)


def test_a_pair_that_the_model_cannot_score_is_skipped(tmp_path):
    policy = model()
    with torch.no_grad():
        policy.transformer.wte.weight[tokenizer().convert_tokens_to_ids("w7")] = torch.nan
    policy.lm_head = torch.nn.Linear(16, 23, bias=False)  # untied, so that w7 spoils its row alone
    found = scoring.score_pairs(policy, tokenizer(), prepared(tmp_path, ROWS), **QUIET)
    assert [x.skipped is None for x in found.rows] == [True, False, True, True]
    assert "not finite" in found.rows[1].skipped
    with torch.no_grad():
        policy.transformer.wte.weight.fill_(torch.nan)
    with pytest.raises(tm.InputError, match="no finite log-probability"):
        scoring.score_pairs(policy, tokenizer(), prepared(tmp_path, ROWS), **QUIET)


def test_the_tokenizer_of_another_model_is_refused(tmp_path):
    policy = model()
    policy.resize_token_embeddings(8)
    with pytest.raises(tm.InputError, match="tokenizer: got 'token 18', expected numbers below 8"):
        scoring.score_pairs(policy, tokenizer(), prepared(tmp_path, ROWS), **QUIET)


def test_a_tokenizer_without_padding_pads_with_the_end(tmp_path):
    bare = copy.deepcopy(tokenizer())
    bare.pad_token = None
    with_pad, without = (
        scoring.score_pairs(model(), made, prepared(tmp_path, ROWS), **QUIET)
        for made in (tokenizer(), bare)
    )
    for one, other in zip(with_pad.rows, without.rows, strict=True):
        assert one.scores == pytest.approx(other.scores, rel=1e-5)


def test_the_order_and_the_filter(tmp_path):
    rows = [*ROWS, DIRTY["equal"][0], *({**row, "prompt": "w8 "} for row in ROWS)]
    found = scoring.score_pairs(model(), tokenizer(), prepared(tmp_path, rows), **QUIET)
    order = scoring.ranked(found)
    steps = [row.scores["first_step"] for row in order]
    assert steps == sorted(steps)
    assert len(order) == 8
    left = kept(found, 0.75)
    assert [row.prepared.read.fields for row in left] == [
        row.prepared.read.fields for row in found.rows if row in order[2:]
    ]
    assert kept(found, drop_worst=2) == left
    assert len(kept(found)) == 8
    with pytest.raises(tm.InputError, match="a pair left at least"):
        kept(found, drop_worst=8)


def test_ches_ranks_from_the_highest(tmp_path):
    settings = Settings(rank_by="ches_per_token", own_prompts=0)
    found = scoring.score_pairs(model(), tokenizer(), prepared(tmp_path, ROWS), settings, **QUIET)
    values = [row.scores["ches_per_token"] for row in scoring.ranked(found)]
    assert values == sorted(values, reverse=True)
    assert "highest first" in ranking.as_text(found)


def test_stopped_work_goes_on(tmp_path, monkeypatch):
    from toymodel.llm.scoring import run

    rows, journal = prepared(tmp_path, ROWS * 3), tmp_path / "scores.partial.jsonl"
    settings = Settings(batch_size=2, batch=True)
    whole = scoring.score_pairs(model(), tokenizer(), rows, settings, **QUIET)
    scored, calls = run._batch, []

    def counted(*arguments):
        calls.append(arguments)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return scored(*arguments)

    monkeypatch.setattr(run, "_batch", counted)
    options = {"journal": journal, "stamp": "one", **QUIET}
    with pytest.raises(KeyboardInterrupt):
        scoring.score_pairs(model(), tokenizer(), rows, settings, **options)
    journal.write_text(journal.read_text() + '{"step": 3, "sco')  # torn by a kill
    resumed = scoring.score_pairs(model(), tokenizer(), rows, settings, **options)
    assert len(calls) == 4 + 3  # three of six batches were done
    assert ranking.records(resumed) == ranking.records(whole)
    scoring.score_pairs(model(), tokenizer(), rows, settings, **{**options, "stamp": "another"})
    assert len(calls) == 4 + 3 + 6  # another model: anew


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank_by": "ches_per_tokn"}, "did you mean 'ches_per_token'"),
        ({"rank_by": "first_step_batch"}, "--batch"),
        ({"rank_by": "chosen_gap", "own_prompts": 0}, "own_prompts >= 1"),
        ({"batch_size": 0}, "batch_size: got 0"),
    ],
)
def test_settings_that_are_refused(settings, message):
    with pytest.raises(tm.InputError, match=message):
        Settings(**settings)


# The command --------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a model and data."""
    monkeypatch.chdir(tmp_path)
    model().save_pretrained("model")
    tokenizer().save_pretrained("model")
    rows = [{**row, "id": at} for at, row in enumerate(ROWS)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def call(capsys, line):
    with pytest.raises(SystemExit) as stop:
        cli.main(["llm", "score", *line.split()])
    return stop.value.code, *capsys.readouterr()


def test_the_command_prints_a_table_and_saves_everything(folder, capsys):
    with (folder / "pairs.jsonl").open("a") as file:
        file.write('{"prompt": "w1 ", "cho')
    line = "--model model --data pairs.jsonl --out out --batch-size 2 --keep 0.5 --quiet --show 2"
    code, out, err = call(capsys, line)
    assert code == 0, err
    assert "rank  place" in out
    assert "Order: first_step" in out
    assert "own answers" in out
    assert "Skipped 1 of 5 rows: 1 no JSON" in err
    assert sorted(x.name for x in (folder / "out").iterdir()) == [
        "kept.jsonl",
        "scores.jsonl",
        "summary.json",
    ]
    scores = [json.loads(row) for row in (folder / "out" / "scores.jsonl").read_text().splitlines()]
    left = [json.loads(row) for row in (folder / "out" / "kept.jsonl").read_text().splitlines()]
    assert left == [{**ROWS[at], "id": at} for at in range(4) if scores[at]["rank"] > 2]


def test_the_command_speaks_json(folder, capsys):
    line = (
        "--model model --data pairs.jsonl --loss simpo --set loss.beta=1 --limit 3 --json --batch"
    )
    code, out, err = call(capsys, f"{line} --rank-by first_step_batch --own-prompts 0 --quiet")
    assert code == 0, err
    assert json.loads(out)["scored"] == 3


def test_the_command_teaches(capsys):
    code, out, _ = call(capsys, "--help")
    assert code == 0
    assert "toymodel llm score --model runs/sft" in out


REFUSED = {
    "no model": ("--model nowhere --data pairs.jsonl", "no such folder is there"),
    "no data": ("--model model --data nowhere.jsonl", "nothing is there"),
    "no share": ("--model model --data pairs.jsonl --keep 1.5", "keep: got 1.5"),
    "two filters": ("--model model --data pairs.jsonl --keep 0.5 --drop-worst 1", "one of the two"),
    "no device": ("--model model --data pairs.jsonl --device tpu9", "a device that torch has"),
    "no dtype": ("--model model --data pairs.jsonl --dtype float8", "dtype: got 'float8'"),
    "no loss": ("--model model --data pairs.jsonl --loss simp0", "did you mean 'simpo'"),
    "questions": ("--model model --data pairs.jsonl --schema gsm8k", "load_questions"),
}


@pytest.mark.parametrize(("line", "message"), REFUSED.values(), ids=REFUSED)
def test_the_command_refuses(folder, capsys, line, message):
    code, out, err = call(capsys, line)
    assert (code, out) == (2, "")
    assert message in err
    assert not list(folder.glob("runs/score/*"))


def test_folders_that_hold_no_model(folder):
    (folder / "model" / "model.safetensors").rename(folder / "model" / "pytorch_model.bin")
    with pytest.raises(tm.InputError, match=r"without weights in safetensors \(pytorch_model.bin"):
        loading.load_model("model", device="cpu")
    (folder / "model" / "config.json").unlink()
    with pytest.raises(tm.InputError, match=r"without config.json"):
        loading.load_model("model", device="cpu")
    model().save_pretrained("bare")
    with pytest.raises(tm.InputError, match="bare without a tokenizer"):
        loading.load_model("bare", device="cpu")
    Path("lora").mkdir()
    Path("lora", "adapter_config.json").write_text("{}")
    with pytest.raises(tm.InputError, match=r"an adapter alone.*merge_and_unload"):
        loading.load_model("lora", device="cpu")


def test_weights_that_are_not_whole_are_refused_rather_than_drawn(folder):
    """Transformers fills what is missing at random, with a warning at most."""
    weights, config = folder / "model" / "model.safetensors", folder / "model" / "config.json"
    whole, told = weights.read_bytes(), json.loads(config.read_text())
    for change, message in (({"n_layer": 2}, "without 12 of"), ({"n_embd": 32}, "without 16 of")):
        config.write_text(json.dumps({**told, **change}))
        with pytest.raises(tm.InputError, match=f"{message} its tensors, such as transformer.h"):
            loading.load_model("model", device="cpu")
    config.write_text(json.dumps(told))
    weights.write_bytes(whole[:1000])
    with pytest.raises(tm.InputError, match=r"cannot be loaded .*expected safetensors weights"):
        loading.load_model("model", device="cpu")


@pytest.mark.parametrize(("name", "local"), [("model", True), ("somebody/model", False)])
def test_only_names_of_the_hub_ask_the_network_and_code_is_never_trusted(
    folder, monkeypatch, name, local
):
    import transformers

    asked = []

    def from_pretrained(given, **options):
        asked.append((given, options["local_files_only"], options["trust_remote_code"]))
        raise OSError("not there")

    for cls in (transformers.AutoTokenizer, transformers.AutoModelForCausalLM):
        monkeypatch.setattr(cls, "from_pretrained", from_pretrained)
    with pytest.raises(tm.InputError, match=r"cannot be loaded \(not there\)"):
        loading.load_model(name, device="cpu")
    assert asked == [(name, local, False)]


def test_without_the_extra_the_command_says_what_to_install(monkeypatch, capsys):
    from toymodel.llm import extra

    def missing(package):
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)

    monkeypatch.setattr(extra.importlib, "import_module", missing)
    code, _, err = call(capsys, "--model model --data pairs.jsonl")
    assert code == 2
    assert 'pip install "toymodel[llm]"' in err
