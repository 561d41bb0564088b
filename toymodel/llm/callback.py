"""Watch the three properties while TRL's `DPOTrainer` runs: numbers, a JSONL file, alarms."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from toymodel._errors import refuse, whole
from toymodel._version import __version__
from toymodel.diagnose.files import WATCHED
from toymodel.llm import extra
from toymodel.llm.alarms import Alarms, Limits
from toymodel.llm.journal import Journal
from toymodel.llm.measuring import Checker
from toymodel.llm.objective import force
from toymodel.llm.probes import Probe
from toymodel.llm.watching import Watcher

_LOG = logging.getLogger("toymodel")
_SHARE = 0.06  # of a run's time that watching may take where `every` is left out
_INTERVALS = (1, 2, 5)
_WARM = 3  # steps that are timed before the interval is chosen


class PropertiesCallback(TrainerCallback):
    """Logs what the three properties are read from, on pairs that stay the same all along.

    At each record: mean log-probabilities of the watched pairs and of all probes, by response and
    by token, and of the tokens that chosen and rejected share; the loss's slopes and
    log |dL/dpi-| - log |dL/dpi+|; now and then the norms of both halves of the gradient in
    parameters and their cosine; an estimate of KL(pi0 || pi); the probability of every probe set,
    so where the mass is; and with a checker, from fresh samples, the share of malformed answers
    and an estimate of KL(pi || pi0). They go to a JSONL file, which ``toymodel diagnose`` reads,
    and as ``properties/...`` to TRL's own log. When a property sets in, a warning says so.

    Args:
        trainer: TRL's ``DPOTrainer``, or ours.
        probes: more probes, such as `toymodel.llm.rephrased`, beside the standard ones.
        watch: how many pairs of the training data are watched, or which (their numbers).
        every: steps between records. Default: the least of 1, 2, 5, 10, 20, ... for which
            records take less than 6 % of the time, found by timing the first steps. Samples are
            drawn and the first record is made before them, which is not in this share.
        gradients_every: records between those with gradients in parameters, which hold two more
            gradients of all trained parameters in memory; 0: never.
        samples: samples a prompt before training, whose mass is followed; 0: none.
        checker: prompt and answer, as texts -> whether the answer is well-formed.
        max_new_tokens: longest sampled answer. Default: that of the watched pairs.
        batch_size: responses whose graph is in memory at once, for gradients in parameters.
            Default: the trainer's pairs a device.
        path: of the file. Default: ``properties.jsonl`` in the trainer's output folder. One that
            an earlier run left there is kept under a number, ``properties.1.jsonl``.
        limits: what counts as an onset.
        seed: of samples and random strings.

    Raises:
        InputError: an untested version of TRL, parameters that are split over devices, or a loss
            that has no counterpart here.
    """

    def __init__(
        self,
        trainer: Any,
        probes: Sequence[Probe] = (),
        *,
        watch: int | Sequence[int] = 32,
        every: int | None = None,
        gradients_every: int = 4,
        samples: int = 16,
        checker: Checker | None = None,
        max_new_tokens: int | None = None,
        batch_size: int | None = None,
        path: str | Path | None = None,
        limits: Limits | None = None,
        seed: int = 0,
    ) -> None:
        extra.check_trl()
        if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
            expected = "one whole model on each device"
            raise refuse("trainer", "parameters split over devices", expected, "train under DDP")
        self.every = every if every is None else whole("every", every, 1)
        self._gradients_every = whole("gradients_every", gradients_every, 0)
        self._trainer = trainer
        self._watcher = Watcher(
            trainer,
            probes,
            watch=watch,
            samples=whole("samples", samples, 0),
            checker=checker,
            max_new_tokens=max_new_tokens,
            batch_size=None if batch_size is None else whole("batch_size", batch_size, 1),
            seed=seed,
        )
        where = Path(trainer.args.output_dir) / WATCHED if path is None else Path(path)
        self._journal = Journal(where)
        self._limits = limits
        self._begin()

    def _begin(self) -> None:
        """Nothing has been seen yet: a trainer may train more than once."""
        self._alarms = Alarms(self._limits)
        self._records = 0
        self._spent = self._began = self._looked = 0.0
        self._warm: list[float] = []
        self._chosen = self.every

    @property
    def onsets(self) -> dict[str, int]:
        """The step at which each property set in, of those that have."""
        return dict(self._alarms.onsets)

    @property
    def path(self) -> Path:
        """The file of records."""
        return self._journal.path

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Look at the model before it is trained, or read what was seen then."""
        if not state.is_world_process_zero:
            return
        self._begin()
        start = time.perf_counter()
        probes_path = self.path.with_suffix(".probes.json")
        if state.global_step and self.path.exists():
            records = self._journal.go_on(state.global_step)
            self._watcher.load(probes_path)
            for record in records[1:]:
                self._alarms.heard({k: v for k, v in record.items() if v is not None})
            self._records = len(records) - 1
        else:
            if state.global_step:
                _LOG.warning(
                    "watching begins at step %d, with what the model says there", state.global_step
                )
            self._journal.set_aside()
            self._watcher.look(probes_path.parent)
            self._watcher.save(probes_path)
            loss = self._watcher.loss
            settings = {"watched": self._watcher.count, "loss": repr(loss)}
            settings["force"] = force(loss)
            self._journal.begin({"toymodel": __version__, **settings, "every": self.every})
            self._record(state.global_step)
        self._began = time.perf_counter()
        self._spent, self._looked = 0.0, self._began - start

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Record, where it is time to."""
        if not state.is_world_process_zero:
            return
        if self._chosen is None:
            self._warm.append(time.perf_counter())
            if len(self._warm) == _WARM:
                self._chosen = self._interval()
        is_due = self._chosen is not None and state.global_step % self._chosen == 0
        if is_due or state.global_step == state.max_steps:
            self._record(state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Say what watching cost."""
        if state.is_world_process_zero and state.global_step:
            whole_time = time.perf_counter() - self._began
            share = 100 * self._spent / whole_time
            said = "watching took %.1f s before the first step, and %.1f %% of the time since"
            _LOG.info(said, self._looked, share)

    def _interval(self) -> int:
        """The least interval that keeps within its share, from timed steps and one record."""
        step = (self._warm[-1] - self._warm[0]) / (len(self._warm) - 1)
        start = time.perf_counter()
        self._watcher.numbers(gradients=bool(self._gradients_every))
        took = time.perf_counter() - start
        self._spent += took
        least = took / (_SHARE * step)
        choices = [base * 10**power for power in range(9) for base in _INTERVALS]
        return int(min((choice for choice in choices if choice >= least), default=choices[-1]))

    def _record(self, step: int) -> None:
        start = time.perf_counter()
        often = self._gradients_every
        numbers = self._watcher.numbers(gradients=bool(often) and self._records % often == 0)
        self._records += 1
        new = self._alarms.heard({"step": step, **numbers})
        self._journal.add({"step": step, **numbers, **({"onsets": new} if new else {})})
        metrics = self._trainer._metrics["train"]
        for name, value in numbers.items():
            metrics[f"properties/{name}"].append(value)
        for name in new:
            _LOG.warning("step %d: %s has set in (%s)", step, name, _MEANING[name])
        self._spent += time.perf_counter() - start


_MEANING = {
    "drop": "the rejected responses have become far less likely",
    "degradation": "the chosen responses are falling below their peak",
    "dispersion": "probability is leaving the pairs and what the model used to say",
}
