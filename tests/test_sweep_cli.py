"""The commands of sweeps: files in, stores and pictures out, and errors that teach."""

import json

import pytest

from toymodel import cli
from toymodel.cli import options

TINY = """
policy = "tabular"
optimiser = "sgd"
steps = 20
record = ["properties", "likelihoods@5"]
[over]
"loss.beta" = { geomspace = [0.1, 1, 3] }
learning_rate = [1.0, 2.0]
seed = { range = 2 }
"""


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOYMODEL_CACHE", "")
    (tmp_path / "tiny.toml").write_text(TINY)

    def call(line):
        with pytest.raises(SystemExit) as stop:
            cli.main(line.split())
        captured = capsys.readouterr()
        return stop.value.code, captured.out, captured.err

    return call


def test_from_a_file_to_a_picture(run, tmp_path):
    code, out, _ = run("sweep tiny.toml --quiet")
    assert code == 0
    assert "12 ok" in out
    assert "toymodel plot runs/tiny.zarr" in out
    code, out, _ = run("sweep status runs/tiny.zarr --verify")
    assert "12 of 12 (100%)" in out
    code, out, _ = run("sweep status runs/tiny.zarr --json")
    assert json.loads(out)["cells_done"] == 12
    assert run("sweep --resume runs/tiny.zarr --quiet")[0] == 0
    assert run("sweep tiny.toml --quiet --json")[0] == 0
    code, out, _ = run("plot runs/tiny.zarr")
    assert "loss.beta" in out
    assert "drawdown" in out
    for line in (
        "--x loss.beta --y drop --hue learning_rate --out a.png",
        "--x loss.beta --y learning_rate --value drop --columns seed --out b.png",
    ):
        assert run(f"plot runs/tiny.zarr {line}")[0] == 0
    assert (tmp_path / "a.png").stat().st_size > 5000
    assert (tmp_path / "b.png").stat().st_size > 5000


def test_a_dry_run_writes_nothing(run, tmp_path):
    code, out, _ = run("sweep tiny.toml --dry-run")
    assert code == 0
    assert "12 of 20 steps" in out
    code, out, _ = run("sweep tiny.toml --dry-run --json")
    assert json.loads(out)["cells"] == 12
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('sceanrio = "x"\n[over]\n"loss.beta" = [0.1]', "did you mean 'scenario'"),
        ("steps = 5", r"[over]"),
        ("steps = ", "cannot be read as TOML"),
        ('[over]\n"loss.beta" = { geomspace = 3 }', "geomspace = [first, last, count]"),
        ('[over]\n"loss.beta" = { geom = [1, 2, 3] }', "geomspace"),
        ('[over]\n"loss.beta" = 0.1', "a list of values"),
        ('learning_rate = 0.1\n[[over]]\npaired = { "loss.beta" = [1.0] }\nsize = 3', "size"),
        ("learning_rate = 0.1\n[loss]\nbeta = 1.0\n[over]\nseed = [0]", "a name"),
    ],
)
def test_files_that_are_refused(run, tmp_path, text, message):
    (tmp_path / "bad.toml").write_text(text)
    code, _, err = run("sweep bad.toml --quiet")
    assert code == 2
    assert message in err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("sweep", "one of the two"),
        ("sweep no.toml", "a TOML file"),
        ("sweep status nowhere.zarr", "nowhere.zarr"),
        ("plot nowhere.zarr", "nowhere.zarr"),
        ("sweep tiny.toml --workers 0", "workers"),
    ],
)
def test_commands_that_are_refused(run, line, message):
    code, _, err = run(line)
    assert code == 2
    assert message in err


def test_another_sweep_in_the_store_is_refused(run, tmp_path):
    assert run("sweep tiny.toml --quiet")[0] == 0
    (tmp_path / "tiny.toml").write_text(TINY.replace("sgd", "adam"))
    code, _, err = run("sweep tiny.toml --quiet")
    assert code == 2
    assert "--overwrite" in err
    assert run("sweep tiny.toml --quiet --overwrite")[0] == 0


def test_every_design_in_a_file(run, tmp_path):
    (tmp_path / "designs.toml").write_text(
        'policy = "tabular"\nloss = "flex_dpo"\noptimiser = "sgd"\nsteps = 5\nrecord = "final"\n'
        "[[over]]\nlatin_hypercube = "
        '{ "loss.beta_chosen" = { between = [0.1, 1.0], log = true } }\n'
        "cells = 4\n"
        "[[over]]\npaired = "
        '{ "learning_rate" = [0.1, 0.2], "loss.beta_rejected" = [0.1, 0.2] }\n'
        "[[over]]\nseed = { range = 2 }\n"
    )
    code, out, _ = run("sweep designs.toml --quiet")
    assert code == 0
    assert "4 sample x 2 pair x 2 seed" in out


def test_compilations_are_kept_where_asked(tmp_path, monkeypatch):
    import jax

    asked = {}
    monkeypatch.setattr(jax.config, "update", lambda key, value: asked.update({key: value}))
    monkeypatch.setenv("TOYMODEL_CACHE", str(tmp_path / "kept"))
    options.keep_compilations()
    assert asked["jax_compilation_cache_dir"] == str(tmp_path / "kept")
    assert (tmp_path / "kept").is_dir()
    asked.clear()
    monkeypatch.setenv("TOYMODEL_CACHE", "")
    options.keep_compilations()
    assert not asked


def test_a_learning_rate_may_be_set_like_the_rest(run):
    line = "simulate --policy tabular --optimiser sgd --set optimiser.learning_rate=2.0 --steps 5"
    assert run(f"{line} --quiet")[0] == 0
