"""Diagnosing logs: real runs, every format and spelling, every kind of damage, and error rates."""

import csv
import json
import math
import shutil
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from toymodel import InputError, cli, losses
from toymodel.diagnose import Diagnosis, diagnose, keys, output, rates, read
from toymodel.diagnose.causes import AGAINST, FITS, POSSIBLE, own_push
from toymodel.diagnose.curves import windows
from toymodel.diagnose.log import Track
from toymodel.plots.style import new_figure

LOGS = Path(__file__).parent / "logs"
FALLS, RISES, WATCHED = LOGS / "falls.json", LOGS / "rises.json", LOGS / "watched.jsonl"

WITH_EVALS = json.loads(FALLS.read_text())["log_history"]


def pairs_of(path):
    return [x for x in json.loads(path.read_text())["log_history"] if "logps/chosen" in x]


def jsonl(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def table(path, records):
    names = list(dict.fromkeys(key for record in records for key in record))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(records)
    return path


def verdicts(found: Diagnosis):
    return {finding.name: finding.verdict for finding in found.findings}


def finding(found, name):
    return next(x for x in found.findings if x.name == name)


def cause(found, word):
    return next(x for x in found.causes if word in x.name)


HISTORY = pairs_of(FALLS)


def of(tmp_path, **columns):
    """A diagnosis of columns, one record a step from 1."""
    names = [name.replace("__", "/") for name in columns]
    rows = zip(*columns.values(), strict=True)
    records = [
        {"step": step, **{k: v for k, v in zip(names, row, strict=True) if not math.isnan(v)}}
        for step, row in enumerate(rows, 1)
    ]
    return diagnose(jsonl(tmp_path / "made.jsonl", records))


# Real runs: TRL's trainer at 1e-3 and at 1e-4, and the former watched by the callback.


def test_a_run_whose_chosen_falls():
    found = diagnose(FALLS)
    assert verdicts(found) == {"drop": "yes", "degradation": "yes", "dispersion": "not in the log"}
    size = finding(found, "degradation").size
    assert 2.0 < size.low < size.size < size.high < 7.0
    assert finding(found, "degradation").peak < finding(found, "degradation").since < 30
    assert cause(found, "each pair seen once").agrees == AGAINST  # ten epochs
    assert any("Dispersion" in text for text in found.cannot_tell)


def test_a_run_whose_chosen_rises():
    found = diagnose(RISES)
    assert verdicts(found) == {"drop": "no", "degradation": "no", "dispersion": "not in the log"}
    assert found.chosen.windows.change().low > 0.3
    assert not found.causes
    assert not found.first_changes


def test_the_callbacks_log_decides_dispersion_and_the_cause():
    found = diagnose(WATCHED)
    assert verdicts(found) == {"drop": "yes", "degradation": "yes", "dispersion": "yes"}
    assert finding(found, "dispersion").size.low > 0.5
    own = cause(found, "its own rejected")
    assert own.agrees == FITS
    assert "common prefix" in own.because
    assert cause(found, "nothing holds").agrees == FITS  # the loss is DPO
    assert found.chosen.since == "since the start"


def test_every_cause_cites_pages_that_exist_and_says_where_it_was_found():
    for found in (diagnose(FALLS), diagnose(WATCHED)):
        for each in found.causes:
            assert each.scope == "found in the toy, not measured on language models"
            assert all((LOGS.parent.parent / page).is_file() for page in each.pages)


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


# Beta and which curve is used.


def test_beta_is_read_off_rewards_and_log_probabilities():
    found = diagnose(FALLS)
    assert found.beta == 0.1
    assert "read off" in found.beta_from
    given_one = diagnose(FALLS, beta=0.1)
    assert given_one.beta_from == "given"
    assert given_one.findings == found.findings


def test_another_starting_model_than_the_reference_is_no_fall(tmp_path):
    records = [{**x, "rewards/chosen": x["rewards/chosen"] - 9} for x in pairs_of(RISES)]
    found = diagnose(jsonl(tmp_path / "log.jsonl", records), beta=0.1)
    assert found.chosen.since == "since the first records"
    assert verdicts(found)["degradation"] != "yes"


def test_a_log_that_begins_late_is_measured_from_there(tmp_path):
    found = diagnose(jsonl(tmp_path / "log.jsonl", HISTORY[30:]), beta=0.1)
    assert found.chosen.since == "since the first records"
    assert abs(finding(found, "drop").size.size) < 10


def test_rewards_alone_give_no_nats(tmp_path):
    records = [{k: x[k] for k in ("step", "rewards/chosen", "rewards/rejected")} for x in HISTORY]
    path = jsonl(tmp_path / "log.jsonl", records)
    found = diagnose(path)
    assert math.isnan(found.beta)
    assert "units of reward" in finding(found, "drop").unit
    assert verdicts(found)["degradation"] == "yes"  # its sign needs no beta
    assert any("--beta" in text for text in found.cannot_tell)
    assert finding(diagnose(path, beta=0.1), "drop") == finding(diagnose(FALLS), "drop")


def test_rewards_see_what_noisy_log_probabilities_hide(tmp_path):
    """Of a log as of a large model: batches differ by more than training moves them."""
    batch = np.random.default_rng(0).normal(size=(2, 48)) * 15 - 280
    time = np.linspace(0, 1, 48)
    moved = np.array([-6 * time, -14 * time]) + np.random.default_rng(1).normal(size=(2, 48)) * time
    columns = {
        f"{kind}__{name}": values
        for name, of_batch, log_ratio in zip(("chosen", "rejected"), batch, moved, strict=True)
        for kind, values in (("logps", of_batch + log_ratio), ("rewards", 0.05 * log_ratio))
    }
    found = of(tmp_path, **columns)
    assert math.isnan(found.beta)  # its interval is too wide
    assert found.chosen.kind == "reward"
    assert verdicts(found)["degradation"] == "yes"
    assert not found.notes  # noise that grows is no outlier
    only = {name: values for name, values in columns.items() if name.startswith("logps")}
    assert verdicts(of(tmp_path, **only))["degradation"] == "undecided"


def test_rewards_without_a_reference_are_no_log_ratios(tmp_path):
    """CPO, SimPO and ORPO log beta log pi as reward."""
    records = [
        {**x, **{f"rewards/{h}": 2 * x[f"logps/{h}"] for h in ("chosen", "rejected")}}
        for x in HISTORY
    ]
    found = diagnose(jsonl(tmp_path / "log.jsonl", records))
    assert found.chosen.kind == "log-probability"


def test_orpo_is_measured_by_token(tmp_path):
    records = [{**x, "log_odds_ratio": -0.5} for x in HISTORY]
    for record in records:
        del record["rewards/chosen"], record["rewards/rejected"]
    assert diagnose(jsonl(tmp_path / "x.jsonl", records)).chosen.unit == "nats a token"


def test_kto_may_lack_a_half_in_a_batch(tmp_path):
    records = [
        {k: v for k, v in x.items() if not (k.endswith("/chosen") and x["step"] % 3 == 0)}
        for x in HISTORY
    ]
    found = diagnose(jsonl(tmp_path / "log.jsonl", records), beta=0.1)
    assert (len(found.chosen.step), len(found.rejected.step)) == (40, 60)
    assert verdicts(found)["degradation"] == "yes"


# The statistics.

CURVES = st.lists(st.floats(-50, 50, width=16), min_size=8, max_size=60)


@given(CURVES, st.floats(-100, 100, width=16), st.sampled_from([0.5, 4.0]))
def test_a_fall_does_not_depend_on_the_level_and_scales(values, shift, scale):
    curve = np.array(values)
    step = np.arange(len(curve))
    fall, moved = windows(step, curve).fall(), windows(step, scale * curve + shift).fall()
    close = {"rel": 1e-5, "abs": 1e-5}
    assert moved.size == pytest.approx(scale * fall.size, **close)
    assert moved.high == pytest.approx(scale * fall.high, **close)
    assert 0 <= fall.low <= fall.size + 1e-9 <= fall.high + 1e-9


@given(st.lists(st.floats(0, 10, width=16), min_size=8, max_size=60))
def test_a_curve_that_never_falls_has_no_fall(steps_up):
    fall = windows(np.arange(len(steps_up)), np.cumsum(steps_up)).fall()
    assert fall.low == 0
    assert fall.size == pytest.approx(0)


def test_one_outlier_is_limited_and_no_alarm():
    random = np.random.default_rng(0)
    curve = random.normal(size=60)
    curve[40] = -500.0
    found = windows(np.arange(60), curve)
    assert found.outliers == 1
    assert found.fall().low == 0
    assert found.fall().high < 10


def test_a_hundred_thousand_records_are_no_burden():
    random = np.random.default_rng(0)
    fall = windows(np.arange(100_000), random.normal(size=100_000) - np.linspace(0, 1, 100_000))
    assert 0.85 < fall.fall().low < 1.0 < fall.fall().high < 1.1


def test_noise_alone_raises_no_alarm_and_a_fall_does():
    """A part of the table in docs/diagnose.md."""
    for noise, most in zip(rates.NOISES, (0.05, 0.15, 0.05), strict=True):
        found = rates.error_rates("nothing", noise, 24, runs=40)
        assert found.drop <= most
        assert found.degradation <= most
    assert rates.error_rates("rises by 3", "independent", 60, runs=40).degradation <= 0.05
    assert rates.error_rates("falls by 4", "independent", 60, runs=40).degradation >= 0.9
    assert rates.error_rates("falls by 8", "independent", 24, runs=40).degradation >= 0.9


def test_few_records_decide_nothing(tmp_path):
    found = diagnose(jsonl(tmp_path / "log.jsonl", HISTORY[:7]))
    assert verdicts(found)["drop"] == verdicts(found)["degradation"] == "undecided"
    assert "7 records" in finding(found, "drop").text
    found.picture()


# Dispersion and causes.

LINE = np.linspace(0, 1, 40)
NOISE = np.random.default_rng(3).normal(size=(4, 40)) / 20


def pair(chosen):
    return {"logps__chosen": -9 + chosen + NOISE[0], "logps__rejected": -9 - 9 * LINE + NOISE[1]}


def test_own_answers_that_fall_while_the_chosen_rises_are_undecided(tmp_path):
    own = {"probes__sampled": -5 - 4 * LINE + NOISE[2]}
    assert verdicts(of(tmp_path, **pair(3 * LINE), **own))["dispersion"] == "undecided"
    assert verdicts(of(tmp_path, **pair(-3 * LINE), **own))["dispersion"] == "yes"


def test_own_answers_that_stay_are_no_dispersion(tmp_path):
    own = {"probes__greedy": -5 + 4 * LINE + NOISE[2]}
    assert verdicts(of(tmp_path, **pair(-3 * LINE), **own))["dispersion"] == "no"


def test_mass_outside_that_was_all_from_the_start_says_nothing(tmp_path):
    found = of(tmp_path, **pair(-3 * LINE), outside=np.full(40, 0.9999))
    assert verdicts(found)["dispersion"] == "not in the log"


def test_where_the_mass_went(tmp_path):
    more = {
        "outside": 0.1 + 0.6 * LINE + NOISE[2] / 20,
        "probes__other_chosen": -9 + 5 * LINE + NOISE[3],
        "mass__other_chosen": 0.01 + 0.5 * LINE + NOISE[3] / 20,
    }
    text = finding(of(tmp_path, **pair(-3 * LINE), **more), "dispersion").text
    assert "Gained, nats a sequence: other_chosen" in text
    assert "Gained in probability: other_chosen" in text


def test_own_push_is_the_first_order_change_of_the_chosen():
    random = np.random.default_rng(0)
    plus, minus = random.normal(size=(2, 9, 5))
    sizes = [np.linalg.norm(g, axis=1) for g in (plus, minus)]
    metrics = {
        "gradients/chosen": sizes[0],
        "gradients/rejected": sizes[1],
        "gradients/cosine": (plus * minus).sum(1) / sizes[0] / sizes[1],
    }
    _, push = own_push(Track(np.arange(9.0), metrics))
    np.testing.assert_allclose(push, (plus * (plus + minus)).sum(1) / (plus**2).sum(1))


@pytest.mark.parametrize(
    ("columns", "word", "agrees"),
    [
        ({}, "each pair seen once", POSSIBLE),
        ({"epoch": LINE}, "each pair seen once", FITS),
        ({"epoch": LINE}, "other prompts' pairs", AGAINST),
        ({"epoch": 5 * LINE}, "each pair seen once", AGAINST),
        ({"nll_loss": LINE}, "nothing holds", AGAINST),
        ({}, "nothing holds", POSSIBLE),
        ({}, "its own rejected", POSSIBLE),
        (
            {
                "gradients__chosen": 1 + LINE,
                "gradients__rejected": 2 + 2 * LINE,
                "gradients__cosine": np.full(40, -0.9),
            },
            "its own rejected",
            FITS,
        ),
        (
            {
                "gradients__chosen": 1 + LINE,
                "gradients__rejected": 1 + LINE,
                "gradients__cosine": np.full(40, -0.5),
            },
            "its own rejected",
            AGAINST,
        ),
    ],
)
def test_what_of_the_causes_the_log_tells(tmp_path, columns, word, agrees):
    found = of(tmp_path, **pair(-3 * LINE), **columns)
    assert cause(found, word).agrees == agrees
    kept = cause(found, word).change in found.first_changes
    assert kept == (agrees != AGAINST)


def test_a_rise_before_the_fall_names_where_to_stop(tmp_path):
    found = of(tmp_path, **pair(12 * LINE * (0.6 - LINE)), epoch=4 * LINE)
    assert cause(found, "other prompts' pairs").agrees == FITS
    assert 8 < finding(found, "degradation").peak < 18
    assert any("Stop near step" in text for text in found.first_changes)


def test_held_out_accuracy_says_whether_it_hurts(tmp_path):
    rises = {"eval_rewards__accuracies": 0.5 + 0.3 * LINE + NOISE[2] / 10}
    found = of(tmp_path, **pair(-3 * LINE), **rises, epoch=LINE)
    assert "Held-out accuracy rises" in found.harm[0]
    assert found.first_changes[0].startswith("Perhaps nothing")


def test_a_satisfied_margin_explains_little_movement(tmp_path):
    still = {"logps__chosen": -9 + NOISE[0] / 9, "logps__rejected": -9 + NOISE[1] / 9}
    found = of(tmp_path, **still, **{"rewards__margins": 5 * np.sqrt(LINE)})
    assert verdicts(found)["drop"] == "no"
    assert [x.agrees for x in found.causes] == [FITS]


def test_dispersion_alone_has_a_cause(tmp_path):
    outside = {"outside": 0.1 + 0.6 * LINE + NOISE[2] / 20}
    found = of(tmp_path, **pair(3 * LINE), **outside)
    assert verdicts(found)["degradation"] == "no"
    assert [x.name for x in found.causes] == ["nothing holds other responses down"]
    assert found.first_changes


def test_a_satisfied_loss_shows_in_its_slopes(tmp_path):
    still = {"logps__chosen": -9 + NOISE[0] / 9, "logps__rejected": -9 + NOISE[1] / 9}
    for left, expected in ((0.02, [FITS]), (0.9, [])):
        slopes = {"slopes__chosen": -0.1 * (1 + (left - 1) * np.sqrt(LINE))}
        assert [x.agrees for x in of(tmp_path, **still, **slopes).causes] == expected


# Picture and command.


def test_the_picture_names_its_axes_and_marks_the_onset():
    figure = diagnose(WATCHED).picture()
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert "chosen: log $\\pi$" in labels[0]
    assert "nats a sequence" in labels[1]
    assert all(axes.get_xlabel() == "training step (updates)" for axes in figure.axes)
    assert [axes.get_title() for axes in figure.axes] == [
        "degradation: yes",
        "drop: yes",
        "dispersion: yes",
        "probes",
    ]
    assert figure.legends


def test_a_picture_is_written_whole_or_not_at_all(tmp_path):
    figure, _ = new_figure()
    with pytest.raises(InputError, match="out: cannot write"):
        output.save(figure, tmp_path / "missing" / "a.png")
    assert list(tmp_path.iterdir()) == []
    assert output.save(figure, tmp_path / "a.png").is_file()
    assert [x.name for x in tmp_path.iterdir()] == ["a.png"]


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Run the command in an empty folder; gives exit code, output and error output."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        with pytest.raises(SystemExit) as stop:
            cli.main(["diagnose", *map(str, arguments)])
        captured = capsys.readouterr()
        return stop.value.code, captured.out, captured.err

    return call


def test_the_command_prints_and_draws_beside_the_log(run, tmp_path):
    shutil.copy(FALLS, tmp_path / "trainer_state.json")
    code, out, err = run(tmp_path)
    assert code == 0
    assert "degradation  YES" in out
    assert "docs/why/overlap.md" in out
    assert "What this log cannot tell" in out
    assert max(map(len, out.splitlines()[1:])) <= 100
    assert (tmp_path / "trainer_state.diagnosis.png").stat().st_size > 10_000
    assert "Dotted" in err


def test_an_archived_log_is_diagnosed_without_a_picture(run, tmp_path, monkeypatch):
    def closed(folder):
        raise InputError(f"out: {folder} cannot be written")

    monkeypatch.setattr("toymodel.cli.diagnosis.writable_folder", closed)
    code, out, err = run(FALLS)
    assert code == 0
    assert "degradation  YES" in out
    assert "No picture" in err
    assert "--out" in err


def test_the_command_gives_json(run, tmp_path):
    code, out, _ = run(FALLS, "--json", "--no-picture")
    found = json.loads(out)
    assert code == 0
    assert found["findings"]["degradation"]["verdict"] == "yes"
    assert found["findings"]["dispersion"]["size"] == {"size": None, "low": None, "high": None}
    assert list(tmp_path.iterdir()) == []


def test_the_command_refuses_with_2_and_leaves_nothing(run, tmp_path):
    code, out, err = run(tmp_path / "none.json", "--out", tmp_path / "made")
    assert (code, out) == (2, "")
    assert "nothing is there" in err
    assert list(tmp_path.iterdir()) == []


def test_the_commands_help_teaches(run):
    code, out, _ = run("--help")
    assert code == 0
    assert "toymodel diagnose runs/dpo" in out


def test_the_page_shows_what_the_command_says():
    page = (LOGS.parent.parent / "docs" / "diagnose.md").read_text()
    shown = diagnose(WATCHED).text().partition("\n")[2]
    assert shown in page
