"""Reading logs: every format and spelling, folders, and every kind of damage."""

import json
import math
import shutil

import pytest

from tests.training_logs import (
    FALLS,
    HISTORY,
    RISES,
    WATCHED,
    WITH_EVALS,
    cause,
    finding,
    jsonl,
    pairs_of,
    table,
    verdicts,
)
from toymodel import InputError, losses
from toymodel.diagnose import diagnose, keys, read
from toymodel.diagnose.causes import AGAINST, FITS, POSSIBLE

# Formats and spellings: all say the same.

SPELLINGS = {
    "TRL": lambda key: key,
    "Weights and Biases": lambda key: f"train/{key}" if key != "step" else "train/global_step",
    "an export of theirs": lambda key: f"run 3 - train/{key}" if key != "step" else "Step",
    "the original implementation": lambda key: key.replace("/", "_train/"),
    "names the other way round": lambda key: "_".join(reversed(key.split("/"))),
    "LlamaFactory": lambda key: "current_steps" if key == "step" else key,
}


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
@pytest.mark.parametrize("write", [jsonl, table])
def test_spellings_and_formats_agree(tmp_path, spelling, write):
    kept = ("step", "logps/chosen", "logps/rejected", "rewards/chosen", "rewards/rejected")
    records = [{spelling(key): record[key] for key in kept} for record in HISTORY]
    found = diagnose(write(tmp_path / f"log.{'csv' if write is table else 'jsonl'}", records))
    expected = diagnose(FALLS)
    assert finding(found, "degradation") == finding(expected, "degradation")
    assert finding(found, "drop") == finding(expected, "drop")


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("eval_rewards/chosen", ("rewards/chosen", True)),
        ("eval/rewards/chosen", ("rewards/chosen", True)),
        ("eval_helpful_rewards/chosen", ("rewards/chosen", True)),
        ("rewards_eval/chosen", ("rewards/chosen", True)),
        ("chosen_reward", ("rewards/chosen", False)),
        ("reject_reward", ("rewards/rejected", False)),
        ("properties/outside", ("outside", False)),
        ("properties/logps/chosen", ("properties/logps/chosen", False)),
        ("logits/chosen", ("logits/chosen", False)),
    ],
)
def test_spellings(key, expected):
    assert keys.canonical(key) == expected


def test_a_list_of_records_and_counted_steps(tmp_path):
    records = [{**x, "global_step/max_steps": f"{x['step']}/60"} for x in HISTORY]
    for record in records:
        del record["step"]
    path = tmp_path / "list.json"
    path.write_text(json.dumps(records))
    assert read(path).train.step.tolist() == list(range(1, 61))


def test_a_log_without_steps_is_numbered(tmp_path):
    records = [{k: v for k, v in x.items() if k != "step"} for x in HISTORY]
    log = read(jsonl(tmp_path / "log.jsonl", records))
    assert log.train.step.tolist() == list(range(1, 61))
    assert "numbered" in log.notes[0]


def test_the_newest_state_in_a_folder(tmp_path):
    state = json.loads(FALLS.read_text())
    for steps in (9, 40, 100):
        folder = tmp_path / f"checkpoint-{steps}"
        folder.mkdir()
        history = [x for x in state["log_history"] if x["step"] <= steps]
        text = json.dumps({**state, "global_step": steps, "log_history": history})
        (folder / "trainer_state.json").write_text(text)
    assert read(tmp_path).path.parent.name == "checkpoint-100"
    assert read(tmp_path / "checkpoint-40").train.step[-1] == 40
    newer = {**state, "global_step": 101}
    (tmp_path / "trainer_state.json").write_text(json.dumps(newer))
    assert read(tmp_path).path.parent == tmp_path


def test_what_the_callback_wrote_comes_first_and_the_state_adds_to_it(tmp_path):
    evals = [
        {"step": step, "epoch": step / 6, "eval_rewards/accuracies": 0.5 + step / 200}
        for step in range(5, 61, 5)
    ]
    state = {"global_step": 60, "epoch": 10.0, "log_history": [*WITH_EVALS, *evals]}
    (tmp_path / "checkpoint-60").mkdir()
    (tmp_path / "checkpoint-60" / "trainer_state.json").write_text(json.dumps(state))
    shutil.copy(WATCHED, tmp_path / "properties.jsonl")
    found, alone = diagnose(tmp_path), diagnose(WATCHED)
    assert found.log.path == tmp_path / "properties.jsonl"
    assert verdicts(found) == verdicts(alone)
    assert found.log.epochs == 10
    assert cause(found, "each pair seen once").agrees == AGAINST
    assert any("Held-out accuracy rises" in text for text in found.harm)
    assert "checkpoint-60/trainer_state.json" in found.notes[0]
    assert not alone.harm


@pytest.mark.parametrize(
    ("loss", "agrees"),
    [
        ("dpo", FITS),
        (losses.FlexDPO(0.1, 0.05), AGAINST),
        (losses.FlexDPO(0.05, 0.1), FITS),  # the wrong way: it pushes them up
        (losses.SFTDPO(gamma=0.0), FITS),
        ("kto", POSSIBLE),
    ],
)
def test_what_holds_the_outside_goes_by_the_loss(tmp_path, loss, agrees):
    loss = losses.get(loss)
    header, *rest = WATCHED.read_text().splitlines()
    said = {**json.loads(header), "loss": repr(loss), "force": losses.traits(loss).force.value}
    (tmp_path / "log.jsonl").write_text("\n".join([json.dumps(said), *rest]))
    assert cause(diagnose(tmp_path), "nothing holds").agrees == agrees


def test_a_folder_with_one_other_log(tmp_path):
    shutil.copy(WATCHED, tmp_path / "properties.jsonl")
    assert read(tmp_path).path.name == "properties.jsonl"


# Damage.


def test_a_torn_last_line_is_left_out(tmp_path):
    path = jsonl(tmp_path / "log.jsonl", HISTORY)
    path.write_text(path.read_text()[:-30])
    log = read(path)
    assert len(log.train.step) == 59
    assert log.notes == ("The last line (60) is torn and was left out.",)


def test_a_resumed_run_takes_the_later_records(tmp_path):
    again = [{**x, "logps/chosen": -1.0} for x in HISTORY[20:30]]
    log = read(jsonl(tmp_path / "log.jsonl", HISTORY[:25] + again))
    assert log.train.step.tolist() == list(range(1, 31))
    assert (log.train.metrics["logps/chosen"][20:] == -1).all()
    assert "Steps go back from 25 to 21" in log.notes[0]


def test_a_step_logged_twice_takes_the_later(tmp_path):
    twice = [*HISTORY[:9], {**HISTORY[8], "logps/chosen": -1.0}, *HISTORY[9:]]
    log = read(jsonl(tmp_path / "log.jsonl", twice))
    assert log.train.metrics["logps/chosen"][8] == -1
    assert "Logged twice: 1 step of training" in log.notes[0]


def test_two_runs_in_a_file_are_told_apart(tmp_path):
    path = jsonl(tmp_path / "log.jsonl", HISTORY + pairs_of(RISES))
    with pytest.raises(InputError, match=r"with 2 runs.*record 61.*--run"):
        diagnose(path)
    assert verdicts(diagnose(path, run=1))["degradation"] == "yes"
    assert verdicts(diagnose(path, run=2))["degradation"] == "no"
    with pytest.raises(InputError, match="run: got 3"):
        diagnose(path, run=3)


@pytest.mark.parametrize("value", [math.nan, math.inf, "NaN"])
def test_what_is_not_finite_ends_the_diagnosis(tmp_path, value):
    records = [{**x, "rewards/rejected": value} if x["step"] >= 31 else x for x in HISTORY]
    found = diagnose(jsonl(tmp_path / "log.jsonl", records))
    assert found.log.train.step[-1] == 30
    assert "At step 31 rewards/rejected is" in found.notes[0]
    assert "steps before" in found.notes[0]


def test_a_metric_without_meaning_for_pairs_may_be_nan(tmp_path):
    records = [{**x, "grad_norm": math.nan} for x in HISTORY]
    assert len(read(jsonl(tmp_path / "log.jsonl", records)).train.step) == 60


def test_numbers_that_are_none_do_no_harm(tmp_path):
    """A beta of zero, an epoch in words, and a whole number beyond any float."""
    odd = [{**record, "beta": 0.0, "loss": 10**400} for record in HISTORY]
    path = tmp_path / "trainer_state.json"
    path.write_text(json.dumps({"epoch": "one", "log_history": odd}))
    found, plain = diagnose(path), diagnose(jsonl(tmp_path / "plain.jsonl", HISTORY))
    assert verdicts(found) == verdicts(plain)
    assert found.beta == plain.beta


def test_a_text_with_an_end_of_line_of_its_own_is_within_a_record(tmp_path):
    path = tmp_path / "log.jsonl"
    rows = [{**record, "sample": "one\u2028two\x85three"} for record in HISTORY]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")
    assert len(read(path).train.step) == len(HISTORY)


def test_held_out_pairs_alone_are_diagnosed(tmp_path):
    only = [x for x in WITH_EVALS if any(key.startswith("eval_") for key in x)]
    found = diagnose(jsonl(tmp_path / "log.jsonl", only))
    assert "Only held-out pairs were logged" in found.notes[0]
    assert verdicts(found)["degradation"] == "undecided"
    assert "too few" in finding(found, "degradation").text


def broken_json(path):
    path.write_text(FALLS.read_text()[:5000])


def no_pairs(path):
    path.write_text(json.dumps([{"step": 1, "loss": 0.5, "grad_norm": 2.0}]))


def nan_from_the_start(path):
    path.write_text(json.dumps([{**x, "logps/chosen": math.nan} for x in HISTORY]))


BAD = {
    "nothing there": ("log.json", lambda path: None, "nothing is there"),
    "empty file": ("log.json", lambda path: path.write_text(" \n"), "the file is empty"),
    "empty history": (
        "log.json",
        lambda path: path.write_text('{"log_history": []}'),
        "log_history is empty",
    ),
    "truncated JSON": ("log.json", broken_json, r"at byte 5000, line \d+"),
    "a line that is no JSON": (
        "log.jsonl",
        lambda path: path.write_text('{"step": 1}\n{"step"\n{"step": 3}\n'),
        "line 2 of .* is no JSON",
    ),
    "a line that is no dictionary": (
        "log.jsonl",
        lambda path: path.write_text("[1]\n[2]\n"),
        "line 1.*a dictionary a line",
    ),
    "no pairs": ("log.json", no_pairs, "has the keys step, loss, grad_norm, expected logps/chosen"),
    "NaN from the start": ("log.json", nan_from_the_start, "At step 1 logps/chosen is nan"),
    "a table without rows": (
        "log.csv",
        lambda path: path.write_text("step,logps/chosen\n"),
        "a row a record",
    ),
    "bytes": ("log.json", lambda path: path.write_bytes(b"\xff\xfe\x00\xd8"), "cannot read"),
    "an empty folder": ("log", lambda path: path.mkdir(), "the folder has none"),
    "no records but numbers": ("log.json", lambda path: path.write_text("[1, 2]"), "dictionary"),
}


@pytest.mark.parametrize(("name", "make", "message"), BAD.values(), ids=BAD)
def test_bad_logs_are_refused_and_say_why(tmp_path, name, make, message):
    path = tmp_path / name
    make(path)
    with pytest.raises(InputError, match=message):
        diagnose(path)


def test_a_folder_with_several_logs_asks_which(tmp_path):
    for name in ("one.jsonl", "two.jsonl"):
        shutil.copy(WATCHED, tmp_path / name)
    with pytest.raises(InputError, match=r"one.jsonl, two.jsonl"):
        read(tmp_path)


@pytest.mark.parametrize("beta", [0.0, -1.0, math.nan])
def test_beta_must_be_positive(beta):
    with pytest.raises(InputError, match="beta: got"):
        diagnose(FALLS, beta=beta)
