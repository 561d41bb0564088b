"""Run an experiment: train, go on where a run was stopped, evaluate, and leave a whole folder."""

import logging
import shutil
from pathlib import Path
from typing import Any

from toymodel.llm.experiment import arguments, building
from toymodel.llm.experiment.folder import Folder
from toymodel.llm.experiment.planning import Plan, plan
from toymodel.llm.experiment.settings import Experiment

_LOG = logging.getLogger("toymodel")


def run(
    experiment: Experiment, *, overwrite: bool = False, progress: bool = True
) -> dict[str, Any]:
    """Train what an experiment says; what was stopped goes on, what is finished is told again.

    The folder has in the end: ``model/`` (safetensors, or the adapter's, and the tokenizer),
    ``trainer_state.json`` (the log), ``properties.jsonl``, ``experiment.json`` (settings, versions,
    data) and ``results.json``.

    Args:
        experiment: of `read`.
        overwrite: replace another experiment that is in the folder.
        progress: show progress bars.

    Returns:
        Results: ``steps``; ``loss``, the last that was logged; ``seconds`` since it began or went
        on; ``evaluation``; ``onsets`` of the properties.

    Raises:
        InputError: settings that do not fit together, or a folder with something else in it.
    """
    found, folder = plan(experiment), Folder(experiment.output.folder)
    config = arguments.config(experiment.training, folder.path, disable_tqdm=not progress)
    together = config.distributed_state
    folder.check(found, overwrite=overwrite)
    together.wait_for_everyone()  # all have looked before one of them writes
    if config.process_index == 0:
        folder.begin(found, overwrite=overwrite)
    together.wait_for_everyone()
    if folder.results is not None:
        return folder.results
    trainer = building.trainer(experiment, found.rows, config)
    results = _trained(trainer, found, folder)
    _save(trainer, folder.model)
    together.wait_for_everyone()
    if config.process_index == 0:
        trainer.save_state()
        folder.finish(results)
    together.wait_for_everyone()
    return results


def _trained(trainer: Any, found: Plan, folder: Folder) -> dict[str, Any]:
    start = folder.checkpoint
    if start is not None and trainer.args.process_index == 0:
        _LOG.warning("going on from %s", start)
    told = trainer.train(resume_from_checkpoint=None if start is None else str(start))
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return {
        "steps": told.global_step,
        "loss": losses[-1] if losses else None,
        "seconds": told.metrics["train_runtime"],
        "evaluation": trainer.evaluate() if found.rows.evaluation else {},
        "onsets": _onsets(trainer),
    }


def _onsets(trainer: Any) -> dict[str, int]:
    """The step at which each property set in; empty where nobody watched."""
    found: dict[str, int] = {}
    for callback in trainer.callback_handler.callbacks:
        found |= getattr(callback, "onsets", {})
    return found


def _save(trainer: Any, path: Path) -> None:
    """Write the model whole or not at all; every process takes part, one of them writes."""
    partial = path.with_name(path.name + ".part")
    trainer.save_model(str(partial))
    if trainer.args.process_index == 0:
        (partial / "training_args.bin").unlink(missing_ok=True)  # a pickle, told by the settings
        shutil.rmtree(path, ignore_errors=True)
        partial.rename(path)
