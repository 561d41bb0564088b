"""Make studies: compute each, compare it, write picture and caption."""

import time
from collections.abc import Sequence
from pathlib import Path

import jax.numpy as jnp
from tqdm import tqdm

from toymodel._errors import refuse
from toymodel._version import __version__
from toymodel.storage import writable_folder
from toymodel.studies.study import STUDIES, Claim, Reproduced, Study, cell, get


def reproduce(
    names: str | Sequence[str] = (),
    out: str | Path = "figures",
    *,
    seeds: int | None = None,
    quick: bool = False,
    progress: bool = True,
) -> list[Reproduced]:
    """Compute, compare and draw figures of the paper, maps and findings.

    Args:
        names: a figure such as ``"fig3"``, a group such as ``"phase-diagrams"``, or several;
            ``"all"``; where empty, all but those made only on request.
        out: folder for pictures (PNG) and their captions with numbers (Markdown).
        seeds: seeds a curve or cell; default: 200 for the paper's figures, 64 for maps.
        quick: an eighth of the seeds, where none are asked for: a first look.
        progress: show a progress bar.

    Raises:
        InputError: an unknown figure, fewer than one seed, or a folder that cannot be written.
    """
    asked = [names] if isinstance(names, str) else names
    named = {figure.name: figure for name in asked for figure in get(name)}  # each once
    figures = list(named.values()) or [
        figure for figure in STUDIES.values() if not figure.on_request
    ]
    if seeds is not None and (not isinstance(seeds, int) or seeds < 1):
        raise refuse("seeds", seeds, "a whole number >= 1")
    folder = writable_folder(out)
    done = []
    with tqdm(figures, desc="figures", unit="figure", disable=not progress) as bar:
        for figure in bar:
            bar.set_postfix_str(figure.name)
            start = time.perf_counter()
            usual = max(2, figure.seeds // 8) if quick else figure.seeds
            count = usual if seeds is None else seeds
            bars = {"progress": progress and None} if figure.shows_progress else {}
            data = figure.compute(count, **bars)
            claims = figure.compare(data)
            picture = folder / f"{figure.name}.png"
            figure.draw(data).savefig(picture)
            more = f"\n{figure.table(data)}" if figure.table else ""
            (folder / f"{figure.name}.md").write_text(_caption(figure, claims, count) + more)
            done.append(Reproduced(figure.name, claims, picture, time.perf_counter() - start))
    return done


def _caption(figure: Study, claims: Sequence[Claim], seeds: int) -> str:
    rows = "\n".join(
        f"| {claim.where} | {cell(claim.what)} | {claim.ours:.3f} "
        f"| {claim.paper} | {claim.verdict} |"
        for claim in claims
    )
    precision = jnp.result_type(float).name
    return (
        f"# {figure.name}: {figure.title}\n\n![{figure.alt}]({figure.name}.png)\n\n"
        f"{figure.caption}\n\n"
        f"Made by `toymodel reproduce {figure.name} --seeds {seeds}` "
        f"(toymodel {__version__}, {precision}, seeds 0 to {seeds - 1}).\n\n"
        f"| where | what | ours | paper or aim | reached |\n|---|---|---|---|---|\n{rows}\n"
    )
