"""The command line: every command, its help, its JSON, and exit codes that scripts can use."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from toymodel import cli, losses, scenarios
from toymodel.cli import others
from toymodel.studies import study

ROOT = Path(__file__).parent.parent


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Run the command in an empty folder; gives exit code, output and error output."""
    monkeypatch.chdir(tmp_path)

    def call(line):
        with pytest.raises(SystemExit) as stop:
            cli.main(line.split())
        captured = capsys.readouterr()
        return stop.value.code, captured.out, captured.err

    return call


@pytest.mark.parametrize(
    "command", ["", "reproduce", "simulate", "calibrate", "scenarios", "losses"]
)
def test_help_teaches(run, command):
    code, out, _ = run(f"{command} --help")
    assert code == 0
    assert "Usage: toymodel" in out
    assert "toymodel" in out.split("Usage", 1)[1], "an example"


BAD_INPUT = {
    "unknown figure": ("reproduce fig33", "did you mean 'fig3'"),
    "unknown scenario": ("simulate both_on_polcy", "did you mean 'both_on_policy'"),
    "unknown loss": ("simulate --loss flexdpo", "did you mean 'flex_dpo'"),
    "unknown policy": ("simulate --policy mpl", "did you mean 'mlp'"),
    "unknown optimiser": ("simulate --optimiser rmsprp", "did you mean 'rmsprop'"),
    "unknown number": ("simulate --set loss.bta=0.1", "did you mean 'beta'"),
    "beta out of range": ("simulate --set loss.beta=-1", "DPO.beta: got -1"),
    "no number": ("simulate --set loss.beta=much", "DPO.beta: got 'much'"),
    "malformed setting": ("simulate --set beta=1", "--set: got 'beta=1'"),
    "no steps": ("simulate --steps 0", "steps: got 0"),
    "no seeds": ("simulate --seeds 0", "seeds: got 0"),
    "seeds of what has none": ("reproduce losses --seeds 3", "expected names of the toy's studies"),
    "pages as JSON": ("losses --docs pages --json", "expected one of the two"),
    "tasks and none": ("llm miniature --tasks none --tasks verses", "expected none alone"),
    "no seeds to reproduce": ("reproduce --seeds 0", "seeds: got 0"),
    "one seed to calibrate": ("calibrate --seeds 1", "seeds: got 1"),
    "unwritable folder": ("reproduce --out /dev/null/figures", "out: cannot write"),
    "unknown loss to show": ("losses sipmo", "did you mean 'simpo'"),
}


@pytest.mark.parametrize(("line", "message"), BAD_INPUT.values(), ids=BAD_INPUT)
def test_bad_input_exits_with_2_and_says_what(run, line, message):
    code, out, err = run(line)
    assert code == 2
    assert message in err
    assert not out


def test_unknown_option_exits_with_2(run):
    code, _, _ = run("reproduce --sedes 3")
    assert code == 2


def test_interrupt_exits_with_130(run, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("toymodel.simulation.simulate", interrupted)
    code, _, err = run("simulate")
    assert code == 130
    assert "stopped" in err


@pytest.mark.parametrize("line", ["scenarios --json", "losses --help"])
def test_a_reader_that_ends_early_ends_the_command_quietly(line):
    """As in `toymodel losses | head`, but whatever is read: nothing."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "toymodel", *line.split()]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


def test_simulate_prints_saves_and_draws(run, tmp_path):
    line = (
        "simulate chosen_off_policy --policy mlp --set policy.hidden=8,8 --set policy.fit_steps=5 "
        "--loss flex_dpo --set loss.beta_rejected=0.05 --set optimiser.b2=0.9 --steps 3 --seeds 2 "
        "--out here --quiet"
    )
    code, out, err = run(line)
    assert code == 0, err
    assert "FlexDPO(beta_chosen=0.1, beta_rejected=0.05)" in out
    assert "hidden=(8, 8)" in out
    assert "b2=0.9" in out
    assert "Medians over seeds;" in out
    assert (tmp_path / "here/likelihoods.png").exists()
    assert (tmp_path / "here/run.zarr").exists()


def test_simulate_as_json(run):
    code, out, _ = run("simulate --policy tabular --optimiser sgd --steps 2 --json --quiet")
    found = json.loads(out)
    assert code == 0
    assert found["dims"] == {"prompt": 4, "role": 5}
    assert len(found["drop"]) == 4


def test_x64(run):
    jax.config.update("jax_enable_x64", False)
    try:
        code, *_ = run("simulate --policy tabular --steps 2 --quiet --x64")
        assert code == 0
        assert jax.config.jax_enable_x64
    finally:
        jax.config.update("jax_enable_x64", True)


def test_a_watched_run_is_reproduced_in_a_clone_alone(run, tmp_path, monkeypatch):
    code, _, err = run("reproduce watched --quiet")
    assert code == 2
    assert "examples/watched.jsonl" in err
    monkeypatch.chdir(ROOT)
    code, _, _ = run(f"reproduce watched --quiet --out {tmp_path}")
    assert code == 0
    committed, made = ROOT / "figures/watched.diagnosis.md", tmp_path / "watched.diagnosis.md"
    assert made.read_text() == committed.read_text()
    assert made.with_suffix(".png").stat().st_size > 10_000


def test_all_is_every_figure_of_the_toy_and_all_others():
    assert study.get("all") == list(study.STUDIES.values())
    assert not set(study.STUDIES) & set(others.OTHERS)
    pictures = {path.stem for path in (ROOT / "figures").glob("*.md")}
    made = {*study.STUDIES, *others.OTHERS} - {"watched"} | {"watched.diagnosis"}
    assert pictures - made == {"explore", "llm_larger"}  # a browser's, and a GPU's


def test_reproduce_writes_pictures_captions_and_json(run, tmp_path):
    code, out, _ = run("reproduce fig1 --seeds 2 --json --quiet")
    (result,) = json.loads(out)
    assert code == 0
    assert result["figure"] == "fig1"
    assert (tmp_path / result["picture"]).exists()
    assert "toymodel reproduce fig1 --seeds 2" in (tmp_path / "figures/fig1.md").read_text()


def test_strict_exits_with_3_where_a_comparison_fails(run):
    code, out, _ = run("reproduce fig3 --seeds 1 --strict --quiet")
    assert "NO" in out
    assert code == 3


def test_lists(run):
    assert json.loads(run("scenarios --json")[1]).keys() == set(scenarios.names())
    listed = json.loads(run("losses --json")[1])
    assert listed.keys() == set(losses.names())
    assert listed["dpo"]["numbers"]["beta"]["default"] == 0.1
    assert listed["dpo"]["traits"]["force"] == "none"
    assert "beta_rejected" in run("losses flex_dpo")[1]
    table = run("losses")[1]
    assert all(name in table for name in losses.names())
