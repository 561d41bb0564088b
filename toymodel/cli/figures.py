"""Commands around the paper: reproduce its figures, calibrate its unstated setting."""

import dataclasses
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from toymodel import studies
from toymodel._errors import refuse
from toymodel.cli.options import NOT_REACHED, OK, X64, Json, Quiet, as_json, set_precision
from toymodel.cli.others import OTHERS
from toymodel.paper import calibration
from toymodel.studies import study

_ALL = "all"


def reproduce(
    *names: str,
    out: Path = Path("figures"),
    seeds: int | None = None,
    quick: Annotated[bool, Parameter(negative="")] = False,
    strict: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
    x64: X64 = False,
    quiet: Quiet = False,
) -> int:
    """Draw the paper's figures and print our numbers beside the paper's.

    Examples:

    `toymodel reproduce` draws the paper's figures, in about half a minute.

    `toymodel reproduce phase-diagrams` maps where each property appears, in some minutes; stopped,
    it goes on where it was.

    `toymodel reproduce why-chosen` shows what makes the chosen fall, and its siblings the other
    findings of `docs/why`.

    `toymodel reproduce rm-vs-dpo --quick` sets preference losses against reward models; without
    `--quick` in 64 worlds, in some minutes.

    `toymodel reproduce llm` repeats the paper's LLM experiments with small transformers, in
    less than half an hour on two cores; stopped, it goes on where it was. `--quick` looks in 90
    seconds.

    `toymodel reproduce fig3 --seeds 400 --out pictures` draws one, with more seeds.

    `toymodel reproduce all` makes every picture of this repository, in under an hour on two cores,
    but for two: models that need a GPU, and the explorer in a browser. It wants
    a clone and the extra `llm`.

    Parameters
    ----------
    names
        Figures: fig1, fig2, fig3, fig3_unseen; these four where none is named. Only when named,
        since most take minutes: race, phase-diagrams (or one of them: phases_rate, phases_flex,
        phases_sft, phases_initial, phases_width), llm (needs the extra `llm`; for larger models
        see `toymodel llm miniature`), why (or one of them: why_chosen, why_mass,
        why_flex, why_sft, why_overlap, why_beta, why_epoch), roads (or one of them: rm_vs_dpo,
        roads_accuracy, roads_overoptimisation), losses, watched (the diagnosis of an example's
        log), or all. Hyphens do as well.
    out
        Folder for pictures and captions.
    seeds
        Seeds for each curve or cell, 0 to seeds - 1. Default: 200; 64 or 32 for maps and findings.
        llm has four base policies: see `toymodel llm miniature --seeds`.
    quick
        An eighth of the seeds, for a first look.
    strict
        Exit with 3 unless every comparison is reached.
    """
    set_precision(x64)
    others = [other for name, other in OTHERS.items() if name in names or _ALL in names]
    of_toy = [name for name in names if name not in OTHERS]
    for name in of_toy:
        study.get(name, tuple(OTHERS))  # nothing is run where a name is unknown,
    for other in others:
        other.ask()  # or something missing
    if seeds is not None and others and not of_toy:
        expected = "names of the toy's studies; the others have no number of seeds to choose"
        raise refuse("seeds", f"{seeds} for {', '.join(names)}", expected, "leave it out")
    results: list[study.Reproduced] = []
    if of_toy or not names:
        results += studies.reproduce(of_toy, out, seeds=seeds, quick=quick, progress=not quiet)
    for other in others:
        results += other.make(out, quick=quick, progress=not quiet)
    print(as_json(study.as_data(results)) if json else study.as_text(results))
    if not json:
        print(f"\nPictures and captions: {out}/")
    reached = all(claim.reached is not False for result in results for claim in result.claims)
    return NOT_REACHED if strict and not reached else OK


def calibrate(
    *,
    quick: Annotated[bool, Parameter(negative="")] = False,
    seeds: int = 100,
    out: Path = Path("runs/calibration"),
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Search the toy's unstated setting against the paper's digitised curves.

    The whole search takes several minutes; stopped, it goes on where it was.

    Examples:

    `toymodel calibrate --quick` tries six candidates.

    `toymodel calibrate --seeds 200` searches width, depth, activation, initialisation, learning
    rates and beta.

    Parameters
    ----------
    quick
        Try a few candidates only.
    seeds
        Seeds for each candidate's band.
    out
        Folder of the log, candidates.jsonl.
    """
    spaces = (calibration.QUICK,) if quick else (calibration.Space(), calibration.STRUCTURE)
    found = calibration.calibrate(spaces, seeds=seeds, out=out, progress=not quiet)
    nearly = calibration.nearly_as_good(found)
    if json:
        print(as_json([{"score": c.score, **dataclasses.asdict(c)} for c in found]))
    else:
        print(calibration.table(found))
        print(f"\nNearly as good as the best: {len(nearly)} of {len(found)} candidates.")
    return OK
