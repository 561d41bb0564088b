"""The command that repeats the paper's LLM experiments, at any size and on any device."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from toymodel._errors import refuse
from toymodel.cli.options import OK, Json, Quiet, as_json
from toymodel.studies import study
from toymodel.studies.study import Reproduced


def miniature(
    *,
    width: int = 64,
    layers: int = 2,
    tasks: tuple[str, ...] | None = None,
    seeds: int | None = None,
    quick: Annotated[bool, Parameter(negative="")] = False,
    device: str = "cpu",
    workers: int | None = None,
    out: Path = Path("figures"),
    runs: Path = Path("runs/llm"),
    name: str = "llm",
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Repeat the paper's LLM experiments with transformers that are trained here from scratch.

    Tables 1, 2, 7, 8, 9 and Figures 4 to 9 with seeds, intervals and a verdict for each of the
    paper's comparisons, and what the toy predicts beside it. Stopped, it goes on where it was.

    Examples:

    `toymodel llm miniature` is `toymodel reproduce llm`: less than half an hour on two cores.

    `toymodel llm miniature --quick` looks in 90 seconds.

    `toymodel llm miniature --width 256 --layers 6 --tasks none --device cuda --workers 4 --name
    llm_larger` trains models 47 times as large, on arithmetic alone, on a GPU.

    Parameters
    ----------
    width
        Units of the models, a multiple of 4.
    layers
        Their blocks.
    tasks
        Beside arithmetic: verses, slogans, or none. Default: both; none with --quick.
    seeds
        Base policies, 0 to seeds - 1, two at least. Default: 4.
    quick
        Two seeds, one loss, one learning rate.
    device
        Where models are trained, such as cuda.
    workers
        Processes, which take a seed each. Default: one a core.
    out
        Folder for pictures and the report, NAME.md.
    runs
        Folder that keeps base policies and results.
    name
        Of the report, and the beginning of its pictures' names.
    """
    if tasks is not None and "none" in tasks and len(tasks) > 1:
        raise refuse("tasks", ", ".join(tasks), "none alone, or names without it")
    others = None if tasks is None else () if "none" in tasks else tuple(tasks)
    results = repeat(
        out,
        quick=quick,
        seeds=seeds,
        width=width,
        layers=layers,
        tasks=others,
        runs=runs,
        name=name,
        device=device,
        workers=workers,
        progress=False if quiet else None,
    )
    print(as_json(study.as_data(results)) if json else study.as_text(results))
    if not json:
        print(f"\nThe report: {out / name}.md")
    return OK


def repeat(out: Path, **options: object) -> list[Reproduced]:
    """`toymodel.llm.miniature.reproduce`, where the extra is installed."""
    need_extra()
    from toymodel.llm.miniature.reproduce import reproduce

    return reproduce(out, **options)  # type: ignore[arg-type]


def need_extra() -> None:
    """Refuse where the extra `llm` is not installed.

    Raises:
        InputError: a package of it is missing.
    """
    from toymodel.llm.extra import need

    need("torch")
    need("transformers")
