"""Repeat the paper's LLM experiments in miniature: run the plan, draw, compare, and report."""

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path

from toymodel._errors import refuse, whole
from toymodel._files import whole_file
from toymodel.llm.miniature import comparisons, report, toy, toy_picture
from toymodel.llm.miniature.pictures import PICTURES
from toymodel.llm.miniature.plan import QUICK, Plan
from toymodel.llm.miniature.records import Records
from toymodel.llm.miniature.running import run_plan
from toymodel.llm.tasks import BY_NAME
from toymodel.paper.setting import EPOCHS
from toymodel.storage import writable_folder
from toymodel.studies.study import Claim, Reproduced


def reproduce(
    out: str | Path = "figures",
    *,
    quick: bool = False,
    seeds: int | None = None,
    width: int = Plan.width,
    layers: int = Plan.layers,
    tasks: tuple[str, ...] | None = None,
    runs: str | Path = "runs/llm",
    name: str = "llm",
    device: str = "cpu",
    workers: int | None = None,
    progress: bool | None = True,
) -> list[Reproduced]:
    """Counterparts of Tables 1, 2, 7, 8, 9 and Figures 4 to 9, and the toy's predictions beside.

    Base policies are pretrained from scratch on tasks with verifiers; then every loss is trained
    in every scenario and at every learning rate. Stopped at any moment, the same call goes on.

    Args:
        out: folder for pictures and the report, ``NAME.md``.
        quick: one task, one loss, one learning rate and two seeds: a first look.
        seeds: base policies, 0 to seeds - 1, two at least. Default: 4; 2 with `quick`.
        width: units of the models.
        layers: their blocks.
        tasks: beside ``arithmetic``: ``verses``, ``slogans``. Default: both; none with `quick`.
        runs: folder that keeps what has been run, a folder in it for each plan and device.
        name: of the report, and the beginning of its pictures' names.
        device: where models are trained, such as ``cuda``.
        workers: processes, which take a seed each. Default: one a core.
        progress: show progress bars; None: only on a terminal.

    Returns:
        Each picture with the comparisons that belong to the run.

    Raises:
        InputError: an unknown task, or a folder that cannot be written.
    """
    plan = _plan(quick, seeds, width, layers, tasks)
    folder = writable_folder(out)
    start = time.perf_counter()
    place = writable_folder(Path(runs) / f"{plan.digest}-{device}")
    records = run_plan(plan, place, workers=workers, device=device, progress=progress)
    predicted = toy.predict(plan.methods, progress=progress)
    models = {
        f"rate {rate:g}": toy.measured(records, plan.methods, rate) for rate in plan.learning_rates
    }
    pictures = _draw(records, predicted[EPOCHS], models, folder, name)
    rows = comparisons.compare(records)
    text = report.text(plan, records, rows, predicted, models, pictures, name)
    with whole_file(folder / f"{name}.md") as partial:
        partial.write_text(text)
    claims = [row.claim() for row in rows] + _score_claims(predicted[EPOCHS], models)
    seconds = time.perf_counter() - start
    first = next(iter(pictures))
    return [Reproduced(name, claims, folder / first, seconds)]


def _plan(
    quick: bool, seeds: int | None, width: int, layers: int, tasks: tuple[str, ...] | None
) -> Plan:
    plan = dataclasses.replace(QUICK if quick else Plan(), width=width, layers=layers)
    if seeds is not None:
        plan = dataclasses.replace(plan, seeds=tuple(range(whole("seeds", seeds, 2))))
    if tasks is not None:
        others = sorted(set(BY_NAME) - {"arithmetic"})
        for task in tasks:
            if task not in others:
                raise refuse("tasks", task, " or ".join(others))
        plan = dataclasses.replace(plan, others=tasks)
    return plan


def _draw(
    records: Records,
    predicted: toy.Effects,
    models: Mapping[str, toy.Effects],
    folder: Path,
    name: str,
) -> dict[str, str]:
    """File name -> what it shows, of the pictures that were drawn."""
    drawn = {}
    figures = {key: (make(records), shows) for key, (make, shows) in PICTURES.items()}
    beside = "Changes that the toy predicts, and those of the language models"
    figures["llm_toy"] = (toy_picture.draw(predicted, models), beside)
    for key, (figure, shows) in figures.items():
        if figure is not None:
            file = f"{name}{key.removeprefix('llm')}.png"
            figure.savefig(folder / file)
            drawn[file] = shows
    return drawn


def _score_claims(predicted: toy.Effects, models: Mapping[str, toy.Effects]) -> list[Claim]:
    return [
        Claim(
            f"toy, {title}",
            f"share of {kind}s right, {quantity}",
            score.right / score.decided if score.decided else float("nan"),
            f"{score.decided} of {score.asked} decided",
            None,
        )
        for title, model in models.items()
        for kind, quantity, score in toy.scores(predicted, model)
    ]
