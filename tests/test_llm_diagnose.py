"""The installed TRL and the callback write logs that `diagnose` reads."""

import pytest

from tests.test_llm_callback import watched
from tests.test_llm_trainer import offline, trainer
from toymodel import diagnose

__all__ = ["offline"]  # a fixture

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # those of TRL


def test_trls_own_log(tmp_path):
    from trl import DPOTrainer

    made = trainer(DPOTrainer, tmp_path, steps=12)
    made.train()
    made.save_state()
    found = diagnose.diagnose(tmp_path, beta=0.1)
    assert found.log.train.step.tolist() == list(range(1, 13))
    assert found.chosen.kind == "log-ratio"
    assert found.chosen.value[0] == pytest.approx(
        found.log.train.metrics["rewards/chosen"][0] / 0.1
    )


def test_the_callbacks_file(tmp_path):
    made, watcher = watched(tmp_path, loss="dpo", steps=12)
    made.train()
    found = diagnose.diagnose(watcher.path)
    assert found.log.loss.startswith("DPO(")
    assert found.chosen.since == "since the start"
    assert found.findings[2].verdict != "not in the log"
