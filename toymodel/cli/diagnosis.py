"""The command that reads a training log: which of the three properties, since when, and why."""

import sys
from pathlib import Path

from toymodel import diagnose as tool
from toymodel._errors import InputError
from toymodel.cli.options import OK, Json, as_json
from toymodel.diagnose.output import save
from toymodel.storage import writable_folder


def diagnose(
    log: Path,
    /,
    *,
    beta: float | None = None,
    run: int | None = None,
    out: Path | None = None,
    picture: bool = True,
    json: Json = False,
) -> int:
    """Say which of the three properties a training log shows, since when, and what to change.

    Reads Transformers' and TRL's trainer_state.json, JSONL (TRL's metrics, toymodel's callback,
    Weights and Biases' exports) and CSV; of a folder, what the callback wrote, with held-out pairs
    of the trainer's state beside it, or else the newest state. Needed are
    log-probabilities (logps/chosen, logps/rejected) or rewards of both halves at eight steps or
    more. Every number has an interval: what noise may explain is called undecided.

    Examples:

    `toymodel diagnose runs/dpo` reads the newest trainer_state.json under a training output folder.

    `toymodel diagnose history.csv --beta 0.1` turns rewards into log-ratios, which are far less
    noisy than log-probabilities.

    `toymodel diagnose metrics.jsonl --json --no-picture` for scripts.

    Parameters
    ----------
    log
        A log, or a folder with one.
    beta
        DPO's beta; read off the log where it has rewards and log-probabilities.
    run
        Which run, from 1, where a file holds several one after the other.
    out
        Folder for the picture; by default the log's own.
    picture
        Draw both halves with their onsets, as LOG.diagnosis.png.
    """
    found = tool.diagnose(log, beta=beta, run=run)
    own = found.log.path.parent
    folder = _folder(own, out) if picture else None
    print(as_json(found.as_data()) if json else found.text())
    if folder is not None:
        place = save(found.picture(), folder / f"{found.log.path.stem}.diagnosis.png")
        print(f"\nSaved {place}\n{found.caption()}", file=sys.stderr)
    elif picture:
        print(f"\nNo picture: {own} cannot be written; say where with --out.", file=sys.stderr)
    return OK


def _folder(own: Path, out: Path | None) -> Path | None:
    """Where the picture goes; None: the log's own folder is closed, as an archive often is."""
    if out is not None:
        return writable_folder(out)
    try:
        return writable_folder(own)
    except InputError:
        return None
