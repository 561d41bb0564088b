"""Against the installed TRL: our trainer, its losses, its keys, and the log-probabilities."""

import importlib.metadata

import numpy as np
import pytest
import torch

import toymodel as tm
from tests.llm_models import ROWS, model, tokenizer
from toymodel.llm import batches, extra
from toymodel.llm.sequences import score

pytestmark = pytest.mark.filterwarnings("ignore")  # those of TRL and of what it imports


@pytest.fixture(scope="module", autouse=True)
def offline():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("TQDM_DISABLE", "1")
        yield


def trainer(cls, folder, *, loss=None, steps=3, rows=ROWS, **config):
    from datasets import Dataset
    from trl import DPOConfig

    options = {
        "output_dir": str(folder),
        "max_steps": steps,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-2,
        "logging_steps": 1,
        "report_to": [],
        "use_cpu": True,
        "save_strategy": "no",
        "disable_tqdm": True,
        "bf16": False,
        "lr_scheduler_type": "constant",
    }
    given = {} if loss is None else {"loss": loss}
    return cls(
        model(),
        ref_model=model(1),
        args=DPOConfig(**{**options, **config}),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer(),
        **given,
    )


def logs(made):
    made.train()
    return [entry for entry in made.state.log_history if "loss" in entry]


def test_tokens_batches_and_log_probabilities_are_trls(tmp_path):
    from trl import DPOTrainer

    made = trainer(DPOTrainer, tmp_path)
    theirs = made.data_collator([made.train_dataset[i] for i in range(len(ROWS))])
    ours = batches.collate(batches.tokenise(tokenizer(), ROWS), pad_token=0)
    for name, part in ours.items():
        assert torch.equal(part, theirs[name]), name
    chosen, rejected = made.compute_ref_log_probs(made.ref_model, theirs)
    found = score(model(1), ours).total.detach()
    np.testing.assert_allclose(found, torch.cat([chosen, rejected]), atol=1e-4)


@pytest.mark.parametrize("keep", ["keep_start", "keep_end"])
def test_truncation_is_trls(tmp_path, keep):
    from trl import DPOTrainer

    made = trainer(DPOTrainer, tmp_path, max_length=5, truncation_mode=keep)
    theirs = made.data_collator([made.train_dataset[i] for i in range(len(ROWS))])
    pairs = batches.tokenise(tokenizer(), ROWS)
    ours = batches.collate(pairs, pad_token=0, max_length=5, keep_end=keep == "keep_end")
    for name, part in ours.items():
        assert torch.equal(part, theirs[name]), name
    chosen, rejected = made.compute_ref_log_probs(made.ref_model, theirs)
    found = score(model(1), ours).total.detach()
    np.testing.assert_allclose(found, torch.cat([chosen, rejected]), atol=1e-4)


@pytest.mark.parametrize(
    ("loss", "config"),
    [
        (tm.losses.DPO(0.3), {"beta": 0.3}),
        (tm.losses.IPO(0.3, per_token=True), {"beta": 0.3, "loss_type": ["ipo"]}),
        (tm.losses.BCO(0.3), {"beta": 0.3, "loss_type": ["bco_pair"]}),
        (
            tm.losses.LengthDesensitised(tm.losses.DPO(0.3), 0.4),
            {"beta": 0.3, "ld_alpha": 0.4},
        ),
        (
            tm.losses.WPO(tm.losses.DPO(0.3), largest=1e9),
            {"beta": 0.3, "use_weighting": True},
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_training_is_trls_where_trl_has_the_loss(tmp_path, loss, config):
    from trl import DPOTrainer

    theirs = logs(trainer(DPOTrainer, tmp_path / "theirs", **config))
    ours = logs(trainer(tm.llm.DPOTrainer, tmp_path / "ours", loss=loss, beta=0.3))
    discounted = isinstance(loss, tm.losses.LengthDesensitised)
    for one, other in zip(theirs, ours, strict=True):
        assert set(one) <= set(other)
        assert {"slopes/chosen", "slopes/rejected", "slopes/log_ratio"} <= set(other) - set(one)
        for key in ("loss", "grad_norm", "logps/chosen", "rewards/margins"):
            if discounted and key.startswith(("logps", "rewards")):
                continue  # TRL logs the discounted ones, we the whole
            assert other[key] == pytest.approx(one[key], rel=2e-4, abs=1e-5), key


def test_every_kind_of_loss_trains(tmp_path):
    for name in ("flex_dpo", "kto", "simpo", "aot", "slic"):
        found = logs(trainer(tm.llm.DPOTrainer, tmp_path / name, loss=name, steps=6))
        assert found[-1]["loss"] < found[0]["loss"], name


def test_evaluation_logs_the_same_keys(tmp_path):
    made = trainer(tm.llm.DPOTrainer, tmp_path, loss="dpo")
    found = made.evaluate(made.train_dataset)
    assert {"eval_loss", "eval_rewards/margins", "eval_slopes/chosen"} <= set(found)


def test_precomputed_references(tmp_path):
    kept = logs(trainer(tm.llm.DPOTrainer, tmp_path / "a", loss="flex_dpo"))
    options = {"precompute_ref_log_probs": True}
    known = logs(trainer(tm.llm.DPOTrainer, tmp_path / "b", loss="flex_dpo", **options))
    assert known[-1]["loss"] == pytest.approx(kept[-1]["loss"], rel=1e-4)
    with pytest.raises(tm.InputError, match="mismatched"):
        trainer(tm.llm.DPOTrainer, tmp_path / "c", loss="kto", **options)


def test_our_loop_takes_trls_steps(tmp_path):
    policy = model()
    pairs = batches.tokenise(tokenizer(), ROWS)
    ours = tm.llm.train(
        policy,
        pairs,
        "flex_dpo",
        pad_token=0,
        reference=model(1),
        optimiser=torch.optim.AdamW(policy.parameters(), lr=1e-2, weight_decay=0.0),
        epochs=3,
        batch_size=4,
        progress=False,
    )
    theirs = logs(trainer(tm.llm.DPOTrainer, tmp_path, loss="flex_dpo"))
    np.testing.assert_allclose(ours, [entry["loss"] for entry in theirs], rtol=1e-4)


def test_another_version_of_trl_is_refused(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "0.9.6")
    with pytest.raises(tm.InputError, match=r"got version 0\.9\.6, expected 1\.16"):
        extra.check_trl()


def test_a_batch_of_one_pair_is_refused_before_training_where_a_loss_needs_two(tmp_path):
    five = [*ROWS, ROWS[0]]
    with pytest.raises(tm.InputError, match="per_device_train_batch_size: got '4 with 5 pairs'"):
        trainer(tm.llm.DPOTrainer, tmp_path, loss="kto", rows=five)
    trainer(tm.llm.DPOTrainer, tmp_path, loss="kto", rows=five, dataloader_drop_last=True)
    trainer(tm.llm.DPOTrainer, tmp_path, loss="dpo", rows=five)
