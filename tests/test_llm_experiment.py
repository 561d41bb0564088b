"""From a settings file to a finished folder: read, planned, trained, resumed, refused."""

import json
import runpy
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

import toymodel as tm
from tests.llm_models import ROWS, model, tokenizer
from toymodel import cli
from toymodel.llm import batches, sequences
from toymodel.llm.data import load_pairs
from toymodel.llm.experiment import plan, read, run
from toymodel.llm.experiment.settings import experiment_of
from toymodel.llm.sequences import score

pytestmark = pytest.mark.filterwarnings("ignore")  # those of TRL and of what it imports
EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module", autouse=True)
def offline():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("TQDM_DISABLE", "1")
        yield


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """A folder with a model and data."""
    folder = tmp_path_factory.mktemp("parts")
    model().save_pretrained(folder / "model")
    tokenizer().save_pretrained(folder / "model")
    (folder / "data").mkdir()
    for split, rows in (("train", ROWS * 2), ("test", ROWS)):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / "data" / f"{split}.jsonl").write_text(text)
    return folder


def tables(parts, folder, **sections):
    found = {
        "model": {"path": str(parts / "model"), "local_files_only": True},
        "data": {"path": str(parts / "data"), "eval_split": "test"},
        "loss": {"name": "flex_dpo", "beta_chosen": 0.3, "beta_rejected": 0.1},
        "training": {
            "learning_rate": 1e-2,
            "num_train_epochs": 2,
            "per_device_train_batch_size": 2,
            "max_length": 32,
            "logging_steps": 1,
            "save_steps": 2,
            "bf16": False,
            "use_cpu": True,
        },
        "watch": {"every": 1, "samples": 2, "watch": 4},
        "output": {"folder": str(folder)},
    }
    for name, section in sections.items():
        found[name] = {**found.get(name, {}), **section}
    return found


def logged(folder):
    history = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    return [entry["loss"] for entry in history if "loss" in entry]


def plain_losses(loss, rows):
    """The loss of rows under the model as it is before training, which is the reference."""
    data = batches.collate(batches.tokenise(tokenizer(), rows), pad_token=0)
    with torch.no_grad():
        found = score(model(), data)
    return tm.llm.surrogate(loss, found, found).per_pair


@pytest.mark.parametrize("limit", [1, 23 * 8 * 3])
def test_logits_of_few_rows_at_once_give_the_same_scores(monkeypatch, limit):
    data = batches.collate(batches.tokenise(tokenizer(), ROWS), pad_token=0)
    policy, calls = model(), []
    whole = score(policy, data, concentration=True)
    policy.register_forward_hook(lambda *_: calls.append(1))
    monkeypatch.setattr(sequences, "_LOGITS", limit)
    with torch.no_grad():
        found = score(policy, data, concentration=True)
    assert len(calls) == (8 if limit == 1 else 3)
    for name in ("total", "lengths", "excess", "concentration"):
        torch.testing.assert_close(getattr(found, name), getattr(whole, name).detach())


def test_a_whole_run(parts, tmp_path):
    made = experiment_of(tables(parts, tmp_path / "run"))
    results = run(made, progress=False)
    folder = tmp_path / "run"
    assert results["steps"] == plan(made).steps == 8
    assert results["evaluation"]["eval_rewards/margins"] > 0
    assert logged(folder)[-1] == results["loss"] < logged(folder)[0]
    assert (folder / "model" / "model.safetensors").exists()
    assert not list((folder / "model").glob("*.bin"))
    assert not list(folder.glob("*.part*"))
    steps = [json.loads(line).get("step") for line in (folder / "properties.jsonl").open()]
    assert steps == [None, *range(9)]
    told = json.loads((folder / "experiment.json").read_text())
    assert told["identity"]["loss"]["beta_rejected"] == 0.1
    assert told["plan"]["seed"] == 42
    assert told["versions"]["torch"] == torch.__version__
    assert json.loads((folder / "results.json").read_text()) == results

    from transformers import AutoModelForCausalLM

    trained = AutoModelForCausalLM.from_pretrained(folder / "model")
    before = model().state_dict()
    assert any(not torch.equal(before[k], v) for k, v in trained.state_dict().items())
    assert run(made, progress=False) == results  # finished: told again, nothing trained


def test_lora_leaves_an_adapter_whose_base_is_the_reference(parts, tmp_path):
    lora = {"r": 4, "alpha": 8, "target_modules": ["c_attn"]}
    made = experiment_of(tables(parts, tmp_path, lora=lora, training={"max_steps": 3}))
    found = plan(made)
    assert found.trained == 4 * (16 + 48) < found.parameters
    run(made, progress=False)
    assert (tmp_path / "model" / "adapter_model.safetensors").exists()
    assert not (tmp_path / "model" / "model.safetensors").exists()
    assert logged(tmp_path)[0] == pytest.approx(np.log(2), rel=1e-6)  # policy and reference equal

    from peft import PeftModel

    data = batches.collate(batches.tokenise(tokenizer(), ROWS), pad_token=0)
    with torch.no_grad():
        trained = PeftModel.from_pretrained(model(), tmp_path / "model").eval()
        policy, base = score(trained, data).total, score(model(), data).total
        with trained.disable_adapter():
            assert torch.equal(score(trained, data).total, base)
    assert not torch.allclose(policy, base)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("loss", [tm.losses.SFTDPO(0.3, 0.2), tm.losses.SimPO(), tm.losses.KTO()])
def test_trainer_and_callback_with_peft(tmp_path, loss, dtype):
    from datasets import Dataset
    from peft import LoraConfig
    from trl import DPOConfig

    made = tm.llm.DPOTrainer(
        model(dtype=dtype),
        loss,
        args=DPOConfig(
            output_dir=str(tmp_path),
            max_steps=2,
            per_device_train_batch_size=4,
            learning_rate=1e-2,
            logging_steps=1,
            report_to=[],
            use_cpu=True,
            bf16=False,
            save_strategy="no",
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list(ROWS),
        processing_class=tokenizer(),
        peft_config=LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    watcher = tm.llm.PropertiesCallback(made, every=1, samples=2)
    made.add_callback(watcher)
    made.train()
    assert made.ref_model is None
    first = made.state.log_history[0]["loss"]
    # an adapter begins as zero: both models are the base
    if not isinstance(loss, tm.losses.KTO):  # whose KL is that of a shuffled batch, here zero too
        exact = 1e-5 if dtype == torch.float32 else 2e-2
        assert first == pytest.approx(plain_losses(loss, ROWS).mean(), rel=exact)
    records = [json.loads(line) for line in watcher.path.open()][1:]
    assert records[0]["kl"] == pytest.approx(0, abs=1e-6)
    assert records[-1]["logps/chosen"] != records[0]["logps/chosen"]


def test_an_adapter_that_was_trained_before_is_the_reference(tmp_path):
    """TRL keeps a copy of it as the adapter "ref"; without any adapter is another model."""
    from datasets import Dataset
    from peft import LoraConfig, get_peft_model
    from trl import DPOConfig

    policy = get_peft_model(model(), LoraConfig(r=2, target_modules="all-linear"))
    torch.manual_seed(0)
    for name, parameter in policy.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    made = tm.llm.DPOTrainer(
        policy,
        tm.losses.DPO(0.5),
        args=DPOConfig(output_dir=str(tmp_path), report_to=[], use_cpu=True, bf16=False),
        train_dataset=Dataset.from_list(ROWS),
        processing_class=tokenizer(),
    )
    watcher = tm.llm.PropertiesCallback(made, samples=2)._watcher
    watcher.look(tmp_path)
    found = watcher.numbers(gradients=False)
    assert found["slopes/chosen"] == pytest.approx(-0.25, rel=1e-5)  # -beta / 2: no margin yet
    assert made.model.active_adapters == ["default"]


def test_a_stopped_run_goes_on_as_if_it_had_not_been(parts, tmp_path):
    straight = experiment_of(tables(parts, tmp_path / "a"))
    run(straight, progress=False)
    stopped = experiment_of(tables(parts, tmp_path / "b"))
    run(stopped, progress=False)
    for name in ("results.json", "trainer_state.json"):
        (tmp_path / "b" / name).unlink()
    shutil.rmtree(tmp_path / "b" / "model")
    (tmp_path / "b" / "checkpoint-8" / "trainer_state.json").write_text('{"torn')  # mid-save
    assert run(stopped, progress=False)["steps"] == 8
    assert logged(tmp_path / "b") == pytest.approx(logged(tmp_path / "a"), rel=1e-5)
    lines = [(tmp_path / x / "properties.jsonl").read_text().splitlines() for x in "ab"]
    assert len(lines[0]) == len(lines[1]) == 10
    weights = [(tmp_path / x / "model" / "model.safetensors").read_bytes() for x in "ab"]
    assert weights[0] == weights[1]


def test_another_experiment_is_refused(parts, tmp_path):
    short = {"max_steps": 1}
    run(experiment_of(tables(parts, tmp_path, training=short)), progress=False)
    other = experiment_of(
        tables(parts, tmp_path, training=short | {"learning_rate": 1e-3}, loss={"beta_chosen": 0.2})
    )
    with pytest.raises(tm.InputError) as error:
        run(other, progress=False)
    assert "training.learning_rate: 0.01 there, 0.001 here" in str(error.value)
    assert "loss.beta_chosen: 0.3 there, 0.2 here" in str(error.value)
    run(other, overwrite=True, progress=False)
    told = json.loads((tmp_path / "experiment.json").read_text())
    assert told["identity"]["training"]["learning_rate"] == 1e-3


def test_a_run_that_failed_before_its_first_step_may_be_corrected(parts, tmp_path):
    alone = {"per_device_train_batch_size": 7}  # of eight pairs
    wrong = tables(parts, tmp_path / "run", training=alone) | {"loss": {"name": "kto"}}
    with pytest.raises(tm.InputError, match="per_device_train_batch_size: got '7 with 8 pairs'"):
        run(experiment_of(wrong), progress=False)
    right = tables(parts, tmp_path / "run", training={"max_steps": 1})
    assert run(experiment_of(right), progress=False)["steps"] == 1
    told = json.loads((tmp_path / "run" / "experiment.json").read_text())
    assert told["identity"]["training"]["max_steps"] == 1


@pytest.mark.parametrize("text", ['{"torn', "[]", "{}"])
def test_a_folder_whose_settings_are_damaged_is_refused(parts, tmp_path, text):
    (tmp_path / "experiment.json").write_text(text)
    (tmp_path / "properties.jsonl").write_text("")
    with pytest.raises(tm.InputError, match=r"output.folder: .*(unreadable|another experiment)"):
        run(experiment_of(tables(parts, tmp_path)), progress=False)


def test_other_data_under_the_same_name_is_another_experiment(parts, tmp_path):
    shutil.copytree(parts / "data", tmp_path / "data")
    data = {"path": str(tmp_path / "data")}
    made = experiment_of(tables(parts, tmp_path / "run", data=data, training={"max_steps": 1}))
    run(made, progress=False)
    with (tmp_path / "data" / "train.jsonl").open("a") as file:
        file.write(json.dumps({"prompt": "w1 ", "chosen": "w2", "rejected": "w3"}) + "\n")
    with pytest.raises(tm.InputError, match=r"data read\.pairs: 8 there, 9 here"):
        run(made, progress=False)


def test_a_folder_with_other_files_is_left_alone(parts, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    made = experiment_of(tables(parts, tmp_path))
    for overwrite in (False, True):
        with pytest.raises(tm.InputError, match="a folder that is new or empty"):
            run(made, overwrite=overwrite, progress=False)
    assert [x.name for x in tmp_path.iterdir()] == ["thesis.txt"]


REFUSED = {
    "section": ({"modle": {}}, "did you mean 'model'"),
    "no section": ({"modl": 3}, "section"),
    "key": ({"model": {"pth": "x"}}, r"key in \[model\].*did you mean 'path'"),
    "kind": ({"data": {"limit": "all"}}, "data.limit: got 'all', expected a whole number"),
    "range": ({"data": {"limit": 0}}, "data.limit: got 0, expected a whole number >= 1"),
    "dtype": ({"model": {"dtype": "bf16"}}, "model.dtype.*did you mean 'bfloat16'"),
    "schema": ({"data": {"schema": "hhrlhf"}}, "data.schema.*did you mean 'hh_rlhf'"),
    "lora": ({"lora": {"r": 0}}, "lora.r: got 0"),
    "dropout": ({"lora": {"dropout": 1.0}}, "lora.dropout"),
    "loss": ({"loss": {"name": "flexdpo"}}, r"\[loss\].*did you mean 'flex_dpo'"),
    "number": ({"loss": {"name": "dpo", "bta": 1}}, r"\[loss\].*'bta', expected one of beta"),
    "value": ({"loss": {"name": "dpo", "beta": -1}}, r"\[loss\] DPO.beta: got -1"),
    "inner": ({"loss": {"name": "wpo", "loss": {"name": "dp"}}}, r"\[loss\].*'dp'.*'dpo'"),
    "training": (
        {"training": {"learning_rat": 1.0}},
        r"key in \[training\].*did you mean 'learning_rate'",
    ),
    "training kind": (
        {"training": {"learning_rate": "5e-6 "}},
        "training.learning_rate: got '5e-6 ', expected a number",
    ),
    "elsewhere": ({"training": {"beta": 0.1}}, "training.beta.*said by loss.beta"),
    "watch": ({"watch": {"watch": 1}}, "watch.watch: got 1, expected a whole number >= 2"),
    "limits": ({"watch": {"limits": {"dorp": 1.0}}}, r"\[watch.limits\].*did you mean 'drop'"),
    "limit": ({"watch": {"limits": {"drop": 0}}}, "watch.limits.drop"),
    "folder": ({"output": {"folder": ""}}, "output.folder: got '', expected a text"),
}


@pytest.mark.parametrize(("sections", "message"), REFUSED.values(), ids=REFUSED)
def test_settings_that_are_refused(parts, tmp_path, sections, message):
    found = tables(parts, tmp_path)
    for name, section in sections.items():
        plain = name == "loss" or not isinstance(section, dict)
        found[name] = section if plain else {**found.get(name, {}), **section}
    with pytest.raises(tm.InputError, match=message):
        experiment_of(found)


@pytest.mark.parametrize("name", ["model", "data", "loss", "output"])
def test_sections_that_are_needed(parts, tmp_path, name):
    found = tables(parts, tmp_path)
    del found[name]
    with pytest.raises(tm.InputError, match=rf"no \[{name}\]"):
        experiment_of(found)


def test_losses_of_losses(parts, tmp_path):
    inner = {"name": "ld_dpo", "alpha": 0.5, "loss": {"name": "dpo", "beta": 0.2}}
    found = tables(parts, tmp_path) | {"loss": {"name": "wpo", "loss": inner}}
    made = experiment_of(found)
    assert made.loss == tm.losses.WPO(tm.losses.LengthDesensitised(tm.losses.DPO(0.2), 0.5))
    parts_of = [{"name": "dpo", "beta": 0.2}, {"name": "sft"}]
    found["loss"] = {"name": "sum", "losses": parts_of, "weights": [1.0, 0.1]}
    both = (tm.losses.DPO(0.2), tm.losses.SFT())
    assert experiment_of(found).loss == tm.losses.WeightedSum(both, (1.0, 0.1))


#: What only shows when the parts meet: sections -> message.
MISFITS = {
    "no model": ({"model": {"path": "nowhere/at-all"}}, "model.path: 'nowhere/at-all' cannot"),
    "no data": ({"data": {"path": "nowhere.jsonl"}}, "nowhere.jsonl"),
    "no split": ({"data": {"split": "valid"}}, "split 'valid'"),
    "precisions": ({"training": {"max_length": 3, "bf16": True, "fp16": True}}, r"\[training\]"),
    "modules": ({"lora": {"target_modules": ["q_proj"]}}, "lora.target_modules.*q_proj"),
    "attention": ({"model": {"attention": "no_such"}}, "model.path.*no_such"),
    "stored": (
        {"training": {"precompute_ref_log_probs": True}},
        "training.precompute_ref_log_probs.*watch.enabled = false",
    ),
}


@pytest.mark.parametrize(("sections", "message"), MISFITS.values(), ids=MISFITS)
def test_parts_that_do_not_fit(parts, tmp_path, sections, message):
    made = experiment_of(tables(parts, tmp_path / "run", **sections))
    with pytest.raises(tm.InputError, match=message):
        run(made, progress=False)
    assert not (tmp_path / "run").exists()  # nothing half-written


def test_a_model_that_does_not_fit(parts, tmp_path):
    def planned(name, **sections):
        return plan(experiment_of(tables(parts, tmp_path / "run", **sections)))

    bare = tmp_path / "bare"
    shutil.copytree(parts / "model", bare)
    (bare / "model.safetensors").unlink()
    with pytest.raises(tm.InputError, match=r"model.path: .* without weights in safetensors"):
        planned("bare", model={"path": str(bare)})
    model().save_pretrained(tmp_path / "dumb")
    with pytest.raises(tm.InputError, match=r"model.path: .*dumb without a tokenizer"):
        planned("dumb", model={"path": str(tmp_path / "dumb")})
    tokenizer_file = json.loads((parts / "model" / "tokenizer_config.json").read_text())
    endless = tmp_path / "endless"
    shutil.copytree(parts / "model", endless)
    del tokenizer_file["eos_token"]
    (endless / "tokenizer_config.json").write_text(json.dumps(tokenizer_file))
    with pytest.raises(tm.InputError, match="whose tokenizer has no end"):
        planned("endless", model={"path": str(endless)})
    long = tmp_path / "long.jsonl"
    long.write_text(json.dumps({"prompt": "w1 " * 40, "chosen": "w2", "rejected": "w3"}) + "\n")
    data = {"path": str(long), "eval_split": "train"}
    with pytest.raises(tm.InputError, match="at most 32 tokens, the model's positions"):
        planned("long", data=data, training={"max_length": 64})


def test_rows_that_are_no_pairs_are_counted_and_left_out(parts, tmp_path):
    path = tmp_path / "pairs.jsonl"
    rows = [*ROWS, {"prompt": "w1 ", "chosen": "w2", "rejected": "w2"}, {"prompt": "w1 "}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = experiment_of(
        tables(parts, tmp_path, data={"path": str(path), "eval_split": "train", "limit": 5})
    )
    found = plan(made)
    assert (len(found.rows.train), len(found.rows.left_out)) == (4, 2)  # of both splits
    assert "pairs.jsonl:5: chosen and rejected are equal" in found.text()
    path.write_text(json.dumps(rows[-1]) + "\n")
    with pytest.raises(tm.InputError, match="no pair in it"):
        plan(made)


def test_a_plan_warns(parts, tmp_path):
    training = {"learning_rate": 5e-6, "gradient_accumulation_steps": 3}
    made = experiment_of(tables(parts, tmp_path, model={"dtype": "bfloat16"}, training=training))
    found = plan(made, elsewhere=True)
    assert found.pairs_a_step == 6
    assert found.steps == 4
    assert "lost in rounding" in found.text()
    assert found.memory == pytest.approx(
        found.parameters * 2 * 5 / 1e9
    )  # two models, 3 of training
    halved = torch.tensor(1.0, dtype=torch.bfloat16) - 5e-6
    assert halved == 1  # the reason for the note


def test_changes(tmp_path):
    path = tmp_path / "x.toml"
    path.write_text('[model]\npath = "m"\n[data]\npath = "d"\n[loss]\nname = "dpo"\n')
    changes = (
        "output.folder=runs/x",
        "loss.beta=0.5",
        "training.max_length=64",
        'lora.target_modules=["q", "v"]',
        "watch.enabled = false",
    )
    made = read(path, changes)
    assert made.output.folder == "runs/x"
    assert made.loss == tm.losses.DPO(0.5)
    assert made.training == {"max_length": 64}
    assert made.lora.target_modules == ["q", "v"]
    assert made.watch.enabled is False
    for wrong in ("loss", "beta=1", "loss.=1", "=1", "loss.name.x=1"):
        with pytest.raises(tm.InputError, match="--set"):
            read(path, (wrong,))


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(tm.InputError, match="a TOML file"):
        read(tmp_path / "none.toml")
    (tmp_path / "torn.toml").write_text("[model\n")
    with pytest.raises(tm.InputError, match="cannot be read as TOML"):
        read(tmp_path / "torn.toml")


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("dpo-*.toml")), ids=lambda path: path.stem)
def test_examples_can_be_read(path):
    made = read(path)
    assert set(tomllib.loads(path.read_text())) >= {"model", "data", "loss", "training", "output"}
    assert made.output.folder.startswith("runs/")


def command(*arguments):
    with pytest.raises(SystemExit) as stop:
        cli.main(["llm", "train", *map(str, arguments)])
    return stop.value.code


def test_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(EXAMPLES / "dpo_tiny.py"))["make"]("runs/tiny")
    file, short = EXAMPLES / "dpo-tiny.toml", ("--set", "training.max_steps=2")
    assert command(file, "--dry-run", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["pairs"], told["steps"]) == (64, 16)
    assert not Path("runs/tiny/flex").exists()
    assert command(file, *short, "--quiet") == 0
    assert "2 steps" in capsys.readouterr().out
    assert command(file, "--set", "training.max_steps=3") == 2
    assert "training.max_steps: 2 there, 3 here" in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(parts, tmp_path):
    """Through accelerate: DDP on two CPUs, half the pairs on each."""
    both = tables(parts, tmp_path / "two", training={"per_device_train_batch_size": 4})
    file = tmp_path / "two.toml"
    file.write_text(
        "\n".join(
            f"[{name}]\n" + "\n".join(f"{k} = {json.dumps(v)}" for k, v in table.items())
            for name, table in both.items()
        )
    )
    launch = [
        *(sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"),
        *("--num_processes", "2", "-m", "toymodel.llm.experiment", file),
    ]
    done = subprocess.run(launch, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    one = tables(parts, tmp_path / "one", training={"per_device_train_batch_size": 8})
    run(experiment_of(one), progress=False)
    told = json.loads((tmp_path / "two" / "experiment.json").read_text())
    assert told["plan"]["processes"] == 2
    assert told["identity"]["pairs a step"] == 8
    assert logged(tmp_path / "two") == pytest.approx(logged(tmp_path / "one"), rel=1e-5)
    again = subprocess.run(
        [*launch, "--set", "loss.beta_chosen=0.2"], capture_output=True, text=True
    )
    assert again.returncode != 0
    assert again.stderr.count("has another experiment") == 1


def test_the_page_builds_four_scenarios(tmp_path, monkeypatch):
    """The block of docs/llm/scale.md, with questions from a file and answers from a list."""
    monkeypatch.chdir(tmp_path)
    rows = [{"question": f"1 + {n}?", "answer": f"It is #### {n + 1}"} for n in range(20)]
    Path("gsm8k.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = (EXAMPLES.parent / "docs" / "llm" / "scale.md").read_text()
    block = next(x for x in page.split("```python\n")[1:] if "load_questions" in x)
    code = block.partition("```")[0].replace("openai/gsm8k:main", "gsm8k.jsonl")

    def sampled(name, questions, count):
        if "0.5B" in name:
            return [["weakly 0"] * count for _ in questions]
        return [[f"I say {q.answer}", f"I say {n % 2}{q.answer}"] for n, q in enumerate(questions)]

    exec(code, {"sampled": sampled})
    found = {
        name: load_pairs(f"data/math/{name}", split="train")
        for name in ("both_on", "chosen_off", "rejected_off", "both_off")
    }
    assert {len(rows) for rows in found.values()} == {9}  # of ten with a right and a wrong answer
    texts = {k: [rows[0][half][0]["content"] for half in rows[0]] for k, rows in found.items()}
    assert texts["both_on"][1:] == ["I say 4", "I say 14"]
    assert texts["both_off"][1:] == ["It is #### 4", "weakly 0"]
    assert len(load_pairs("data/math/both_on", split="test")) == 1
