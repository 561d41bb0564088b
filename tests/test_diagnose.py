"""Diagnosing logs: real runs, which curve is read, error rates, the picture and the command."""

import json
import math
import shutil

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from tests.training_logs import (
    FALLS,
    HISTORY,
    LOGS,
    RISES,
    WATCHED,
    cause,
    finding,
    jsonl,
    of,
    pairs_of,
    verdicts,
)
from toymodel import InputError, cli
from toymodel.diagnose import diagnose, output, rates
from toymodel.diagnose.causes import AGAINST, FITS
from toymodel.diagnose.curves import windows
from toymodel.plots.style import new_figure

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
