"""The paper's figures: their data, the comparison with digitised curves, the calibration's log."""

import dataclasses
import sys

import numpy as np
import pytest
import xarray as xr

from toymodel import InputError, paper, studies
from toymodel.attribution import matching
from toymodel.paper import calibration, phases
from toymodel.paper.data import DIGITISED
from toymodel.roads import contest, contest_worlds


@pytest.fixture(autouse=True)
def _default_precision(float32):
    """The figures are made in float32, as users make them."""


def curves_like(target, spread):
    """Seeds spread evenly around the paper's curves."""
    offsets = np.linspace(-spread, spread, 41)
    data = {
        name: (("seed", "epoch"), values.values + offsets[:, None])
        for name, values in target.items()
    }
    coordinates = {"seed": np.arange(41), "epoch": target["epoch"]}
    return xr.Dataset(data, coordinates, {"scenario": target.attrs["scenario"]})


@pytest.mark.parametrize("scenario", DIGITISED)
def test_agreement_with_itself_is_whole(scenario):
    result = paper.agreement(curves_like(paper.digitised(scenario), 0.01))
    assert set(result.strict_coverage.values()) == {1.0}
    assert result.best_seed == 20
    assert result.best_distance == pytest.approx(0)


def test_agreement_far_away_is_none():
    shifted = curves_like(paper.digitised("both_on_policy"), 0.01) + 0.1
    shifted = shifted.assign_attrs(scenario="both_on_policy")
    result = paper.agreement(shifted)
    assert result.mean_coverage == 0
    assert result.best_distance == pytest.approx(0.09)


def test_widening_is_the_digitisation_error():
    shifted = curves_like(paper.digitised("both_on_policy"), 0.0) + 0.0025
    result = paper.agreement(shifted.assign_attrs(scenario="both_on_policy"))
    assert set(result.coverage.values()) == {1.0}
    assert set(result.strict_coverage.values()) == {0.0}


def test_figure3_curves_are_labelled():
    curves = paper.figure3_curves("chosen_off_policy", seeds=3, epochs=30)
    assert dict(curves.sizes) == {"seed": 3, "epoch": 4}
    names = {"chosen_mean", "chosen_min", "rejected_mean", "rejected_max", "unseen_mean"}
    assert set(curves) == names
    np.testing.assert_allclose(curves.chosen_mean[:, 0], 0.02, atol=5e-3)
    total = curves.chosen_mean + curves.rejected_mean + 8 * curves.unseen_mean
    np.testing.assert_allclose(total, 1, atol=1e-5)


@pytest.mark.slow
def test_figure3_reaches_the_floor():
    """One setting for both digitised panels: mean coverage 0.8, the best seed within 0.05."""
    results = [paper.agreement(paper.figure3_curves(name, seeds=100)) for name in DIGITISED]
    assert np.mean([result.mean_coverage for result in results]) >= 0.8
    assert max(result.best_distance for result in results) <= 0.05


@pytest.fixture
def small_maps(tmp_path, monkeypatch):
    """Phase diagrams of two values a setting and few steps, stored nowhere else."""
    monkeypatch.setattr(phases, "STORES", tmp_path)
    monkeypatch.setattr(phases, "EPOCHS", 40)
    for name, study in phases.MAPS.items():
        values = {key: (some[0], some[2]) for key, some in study.values.items()}
        monkeypatch.setitem(phases.MAPS, name, dataclasses.replace(study, values=values))


FIGURES = [
    pytest.param(figure, marks=[pytest.mark.slow] if figure.on_request else [], id=name)
    for name, figure in studies.STUDIES.items()
]


@pytest.fixture
def short_searches(monkeypatch):
    """Rates matched within a factor, few cells at once, reward models under two conditions."""
    monkeypatch.setattr(matching, "_HALVINGS", 2)
    for name, module in list(sys.modules.items()):
        for chunk in ("CHUNK", "_CHUNK"):
            if name.startswith(("toymodel.why.", "toymodel.attribution.")) and chunk in vars(
                module
            ):
                monkeypatch.setattr(module, chunk, 8)
    few = dict(list(contest_worlds.CONDITIONS.items())[:2])
    for module in (contest, contest_worlds):
        monkeypatch.setattr(module, "CONDITIONS", few)


@pytest.mark.usefixtures("small_maps", "short_searches")
@pytest.mark.parametrize("figure", FIGURES)
def test_every_figure_computes_compares_and_draws(figure, tmp_path):
    data = figure.compute(2)
    claims = figure.compare(data)
    assert claims
    assert all(isinstance(claim.ours, float) for claim in claims)
    picture = tmp_path / "picture.png"
    figure.draw(data).savefig(picture)
    assert picture.stat().st_size > 10_000


def test_tables_are_shipped():
    assert set(paper.tables()) == {"table_1", "table_2", "table_7", "table_8", "table_9"}


TINY = calibration.Space(
    hidden=((4,),), fit_learning_rate=(1e-2,), learning_rate=(1e-4, 3e-4), beta=(0.05,)
)


def test_calibration_resumes_and_mends_a_cut_log(tmp_path, monkeypatch):
    tried = []
    monkeypatch.setattr(calibration, "_try", lambda values, seeds: record(values))

    def record(values):
        tried.append(values["learning_rate"])
        coverage = {"both_on_policy": {"chosen_mean": values["learning_rate"]}}
        return calibration.Candidate(values, coverage, {"both_on_policy": 0.1})

    first = calibration.calibrate([TINY], seeds=2, out=tmp_path, progress=False)
    assert tried == [1e-4, 3e-4]
    assert first[0].score == 3e-4
    log = tmp_path / "candidates.jsonl"
    log.write_text(log.read_text()[:-20])  # as a crash in the middle of a line leaves it
    again = calibration.calibrate([TINY], seeds=2, out=tmp_path, progress=False)
    assert tried == [1e-4, 3e-4, 3e-4]
    assert [c.score for c in again] == [c.score for c in first]
    assert len(log.read_text().splitlines()) == 2
    calibration.calibrate([TINY], seeds=3, out=tmp_path, progress=False)
    assert len(tried) == 5, "another number of seeds is another search"


def test_calibration_refuses_a_foreign_log(tmp_path):
    (tmp_path / "candidates.jsonl").write_text('{"something": "else"}\n')
    with pytest.raises(InputError, match=r"line 1 of .*candidates\.jsonl"):
        calibration.calibrate([TINY], seeds=2, out=tmp_path, progress=False)
