"""The miniature's plan, what its cells leave, and how ours is put beside the paper's."""

import dataclasses
import json

import numpy as np
import pytest

import toymodel as tm
from toymodel.llm.miniature import comparisons, report, tables, toy, toy_picture
from toymodel.llm.miniature.pictures import PICTURES
from toymodel.llm.miniature.plan import LOSSES, QUICK, SCENARIOS, Plan
from toymodel.llm.miniature.rates import best_rate
from toymodel.llm.miniature.records import Records
from toymodel.llm.miniature.reproduce import reproduce
from toymodel.llm.miniature.running import run_plan
from toymodel.llm.miniature.verdicts import Row, Verdict, tally


def test_a_plan_has_every_loss_in_every_scenario_at_every_rate():
    cells = Plan().cells(3)
    assert len({cell.key for cell in cells}) == len(cells)
    assert {cell.seed for cell in cells} == {3}
    seen = {(c.method, c.scenario, c.learning_rate) for c in cells if c.task == "arithmetic"}
    for rate in Plan().learning_rates:
        for scenario in SCENARIOS:
            for method in ("dpo", "flex_dpo", "sft_dpo", "ipo", "slic"):
                assert (method, scenario, rate) in seen
    flex = next(cell for cell in cells if cell.method == "flex_dpo@0.02")
    assert flex.loss.beta_rejected == 0.02
    assert QUICK.digest != Plan().digest
    assert dataclasses.replace(Plan(), seeds=(7,)).digest == Plan().digest  # more seeds go on


def test_records_by_seed():
    rows = [
        {"seed": 1, "method": "dpo", "full": 0.5, "curves": {"step": [0, 5], "loss": [1.0, 0.5]}},
        {"seed": 0, "method": "dpo", "full": None, "curves": {"step": [0], "loss": [2.0]}},
    ]
    found = Records(rows)
    np.testing.assert_array_equal(found.values("full", method="dpo"), [np.nan, 0.5])
    steps, values = found.curves("loss", method="dpo")
    assert steps.tolist() == [0]
    assert sorted(values.ravel().tolist()) == [1.0, 2.0]
    assert found.curves("none")[1].shape == (0, 0)


@pytest.mark.parametrize(
    ("ours", "paper", "verdict"),
    [
        ([-0.1, -0.12, -0.09], -0.3, Verdict.AGREES),
        ([-0.1, -0.12, -0.09], 0.3, Verdict.DIFFERS),
        ([-0.1, 0.12, -0.09], 0.3, Verdict.UNDECIDED),
        ([0.1], 0.3, Verdict.UNDECIDED),
        ([0.1, 0.11, np.nan], 0.3, Verdict.AGREES),
        ([0.1, 0.11, 0.12], 0.0, Verdict.UNDECIDED),
    ],
)
def test_verdicts(ours, paper, verdict):
    row = Row("Table 8", "difference", np.array(ours), (paper,))
    assert row.verdict is verdict
    reached = {Verdict.AGREES: True, Verdict.DIFFERS: False, Verdict.UNDECIDED: None}
    assert row.claim().reached is reached[verdict]
    assert verdict.value in row.markdown()
    assert tally([row])[verdict] == 1
    both_ways = dataclasses.replace(row, paper=(0.3, -0.3))  # the paper's models do not agree
    assert both_ways.verdict is Verdict.UNDECIDED


def test_results_of_another_plan_are_refused(tmp_path):
    header = {"toymodel": tm.__version__, "plan": "another", "seed": 0}
    (tmp_path / "seed-0.jsonl").write_text(json.dumps(header) + "\n")
    with pytest.raises(tm.InputError, match="another plan"):
        run_plan(QUICK, tmp_path, progress=False)


# Analysis of made-up records whose answers are known --------------------------------------------

POINTS = {"dpo": 3.0, "flex_dpo": 3.2, "sft_dpo": 3.1, "ipo": 3.3, "slic": 2.9}


def _row(cell, seed):
    """What a cell would leave: exact in everything that the analysis reads."""
    trained = cell.method not in ("base", "reward_model")
    method = cell.method.partition("@")[0]
    points = POINTS.get(method, 2.5) - (1e4 * cell.learning_rate) * 0.1 + 0.01 * seed
    place = SCENARIOS.index(cell.scenario)
    fall = (1 + place) * (1 + 1e4 * cell.learning_rate) if trained else 0.0
    found = {
        **vars(cell),
        "key": cell.key,
        "validation/points": points,
        "accuracy": 0.9,
        **{f"test/{name}": points / 5 for name in ("five", "four", "points")},
        **{f"shifted/{name}": points / 6 for name in ("five", "four", "points")},
        **{f"test/aspect/{a}": points / 5 for rows in tables.ASPECTS.values() for a in rows},
    }
    for half, change in (("chosen", 0.5 * fall), ("rejected", -fall)):
        for end in ("", "_per_token"):
            found[f"before/logps/{half}{end}"] = -5.0
            found[f"after/logps/{half}{end}"] = -5.0 + change + 0.001 * seed * (change != 0)
    found |= {"before/outside": 0.5, "after/outside": 0.5 - 0.1 * trained - 0.001 * seed * trained}
    steps = list(range(5))
    curves = ("chosen", "rejected", "accuracy", "train_loss", "log_ratio", "log_rejected")
    curves = (*curves, "gradient_chosen", "gradient_rejected")
    values = {name: [0.1 * (at + seed * 0.1 + cell.epochs) for at in steps] for name in curves}
    found["curves"] = {"step": steps, **values}
    return found


@pytest.fixture(scope="module")
def records():
    plan = Plan()
    return Records(_row(cell, seed) for seed in plan.seeds for cell in plan.cells(seed))


def test_a_learning_rate_is_chosen_on_validation_prompts_alone(records):
    for method in LOSSES:
        assert best_rate(records, **tables.ONCE, method=method) == 1e-5
    assert np.isnan(best_rate(records, task="none"))
    equal = [{"seed": 0, "learning_rate": r, "validation/points": 1.0} for r in (0.2, 0.1)]
    assert best_rate(Records(equal)) == 0.1


def test_every_comparison_has_its_sign(records):
    rows = comparisons.compare(records)
    by_what = {(row.table, row.what): row for row in rows}
    tables_named = {row.table for row in rows}
    wanted = {f"Table {n}" for n in (1, 2, 7, 8, 9)}
    wanted |= {"Figure 4", "Figure 6", "Figures 5, 7", "Figures 8, 9"}
    assert tables_named == wanted
    chosen = by_what["Table 7", "chosen a token, chosen_off_policy, rate 1e-05"]
    assert chosen.verdict is Verdict.AGREES  # ours rises, as in both models of the paper
    assert by_what["Table 7", "chosen a token, both_on_policy, rate 1e-05"].verdict is (
        Verdict.DIFFERS
    )
    least = by_what[
        "Table 7", "rejected: fall in both_off_policy less that in both_on_policy, rate 0.0001"
    ]
    np.testing.assert_allclose(least.ours, (4 - 1) * 2)
    flex = by_what["Table 9", "test, 5 points: flex_dpo less dpo"]
    np.testing.assert_allclose(flex.ours, 0.04)
    assert flex.paper == pytest.approx((0.002,))


def test_comparisons_of_what_was_not_run_are_left_out():
    cells = QUICK.cells(0)
    found = comparisons.compare(Records(_row(cell, seed) for seed in (0, 1) for cell in cells))
    assert found
    assert not {row.table for row in found} & {"Table 2", "Figure 4"}


@pytest.mark.parametrize("name", sorted(PICTURES))
def test_pictures_label_their_axes(records, name):
    figure = PICTURES[name][0](records)
    assert all(axes.get_xlabel() for axes in figure.axes)
    assert figure.axes[0].get_ylabel()
    assert all(len(axes.lines) for axes in figure.axes)


def _effects(changes):
    spread = 0.001 * np.arange(4)
    return toy.Effects(("dpo", "ipo"), np.asarray(changes)[..., None] + spread)


def test_the_toy_is_scored_by_signs_and_orders():
    up_and_down = [[[1, 2, 3, 4], [2, 3, 4, 5]]] * 2 + [[[-1, -2, -3, -4], [-2, -3, -4, -5]]]
    predicted = _effects(up_and_down)
    same = list(toy.scores(predicted, predicted))
    assert [score.right for _, _, score in same] == [score.decided for _, _, score in same]
    assert {kind: score.asked for kind, _, score in same} == {"sign": 8, "order": 4 + 2 * 6}
    other = list(toy.scores(predicted, _effects(-np.asarray(up_and_down))))
    assert {score.right for _, _, score in other} == {0}
    assert {score.guessed for kind, _, score in other} == {8, (4 + 2 * 6) / 2}
    figure = toy_picture.draw(predicted, {"rate 1": predicted})
    texts = [text.get_text() for text in figure.axes[3].texts]
    assert len(texts) == 8
    assert all(text.endswith("=") for text in texts)


def test_where_nothing_is_decided_there_is_no_share():
    noise = toy.Effects(("dpo", "ipo"), np.random.default_rng(0).normal(size=(3, 2, 4, 4)) * 1e-9)
    flat = toy.Effects(("dpo", "ipo"), np.zeros((3, 2, 4, 4)))
    assert all(score.decided == 0 for _, _, score in toy.scores(noise, flat))
    assert "none of 8" in next(iter(toy.scores(noise, flat)))[2].text


def test_the_report_has_every_part(records):
    predicted = {2000: _effects(np.ones((3, 2, 4)))}
    models = {"rate 1e-05": toy.measured(records, ("dpo", "ipo"), 1e-5)}
    np.testing.assert_allclose(models["rate 1e-05"].changes[0, 0, 0], 0.55 + 0.001 * np.arange(4))
    rows = comparisons.compare(records)
    text = report.text(Plan(), records, rows, predicted, models, {"llm_fig4.png": "Scores"}, "llm")
    for part in ("Table 1", "Table 2", "Table 7", "Table 8", "Table 9", "](llm_fig4.png)", "rate"):
        assert part in text
    assert text.count("| agrees |") == tally(rows)[Verdict.AGREES]


@pytest.mark.slow
def test_the_quick_miniature_goes_on_where_it_was(tmp_path):
    options = {"quick": True, "out": tmp_path / "figures", "runs": tmp_path / "runs"}
    (made,) = reproduce(**options, progress=False)
    report_file = tmp_path / "figures" / "llm.md"
    first = report_file.read_text()
    assert made.claims
    assert made.picture.exists()
    assert "Table 7" in first
    (place,) = (tmp_path / "runs").iterdir()
    logs = sorted(place.glob("seed-*.jsonl"))
    whole = [log.read_text() for log in logs]
    for log in logs:  # as kill -9 may leave them: the last record broken off
        log.write_text(log.read_text()[:-40])
    reproduce(**options, progress=False)
    for log, before in zip(logs, whole, strict=True):
        again, once = (text.splitlines() for text in (log.read_text(), before))
        assert len(again) == len(once)
        assert again[:-1] == once[:-1]
        one, other = (json.loads(lines[-1]) for lines in (again, once))
        assert one["test/points"] == other["test/points"]  # bit-equal from the same seed
    assert report_file.read_text() == first


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"tasks": ("sonnets",)}, "tasks: got 'sonnets'"),
        ({"seeds": 1}, "seeds: got 1"),
    ],
)
def test_bad_settings_of_the_miniature_are_refused(tmp_path, options, says):
    with pytest.raises(tm.InputError, match=says):
        reproduce(tmp_path, **options, runs=tmp_path, progress=False)
    assert not list(tmp_path.iterdir())
