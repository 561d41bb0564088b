"""The miniature's plan, what its cells leave, and how ours is put beside the paper's."""

import json

import numpy as np
import pytest

import toymodel as tm
from toymodel.llm.miniature.plan import QUICK, SCENARIOS, Plan
from toymodel.llm.miniature.records import Records
from toymodel.llm.miniature.running import run_plan
from toymodel.llm.miniature.verdicts import Row, Verdict


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
    ],
)
def test_verdicts(ours, paper, verdict):
    assert Row("Table 8", "difference", np.array(ours), paper).verdict is verdict


def test_results_of_another_plan_are_refused(tmp_path):
    header = {"toymodel": tm.__version__, "plan": "another", "seed": 0}
    (tmp_path / "seed-0.jsonl").write_text(json.dumps(header) + "\n")
    with pytest.raises(tm.InputError, match="another plan"):
        run_plan(QUICK, tmp_path, progress=False)
