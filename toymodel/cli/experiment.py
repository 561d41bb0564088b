"""The command that trains a language model from a settings file."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from toymodel.cli.options import OK, Json, Quiet, as_json

Flag = Annotated[bool, Parameter(negative="")]


def train(
    file: Path,
    /,
    *,
    dry_run: Flag = False,
    settings: Annotated[tuple[str, ...], Parameter(name=["--set", "-s"], negative="")] = (),
    overwrite: Flag = False,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Train a language model on preference pairs, from a settings file; stopped, it goes on.

    The file says model, data, loss, training and where everything goes; examples/dpo-7b.toml
    explains each setting. In the end the folder has the model, the log, what was watched
    (properties.jsonl), the settings with versions, and the results.

    Examples:

    `toymodel llm train examples/dpo-7b.toml --dry-run` checks everything but the weights and the
    GPU, and says what would be done.

    `toymodel llm train examples/dpo-7b.toml` trains on one device. On several:
    `accelerate launch -m toymodel.llm.experiment examples/dpo-7b.toml`.

    `toymodel llm train FILE.toml --set loss.beta=0.05 --set output.folder=runs/mild`

    Parameters
    ----------
    file
        Settings (TOML).
    dry_run
        Check, print the plan, and stop.
    settings
        Settings instead of the file's, section.key=value, as often as needed.
    overwrite
        Start anew, in place of the experiment that is in the folder.
    """
    from toymodel.llm import experiment as tool

    made = tool.read(file, settings)
    if dry_run:
        found = tool.plan(made, elsewhere=True)
        print(as_json(found.as_data()) if json else found.text())
        return OK
    results = tool.run(made, overwrite=overwrite, progress=not quiet)
    if json:
        print(as_json(results))
        return OK
    print(f"{results['steps']} steps, loss {results['loss']}; all in {made.output.folder}")
    for name, step in results["onsets"].items():
        print(f"{name} has set in at step {step}")
    print(f"\nWhat happened, and why: toymodel diagnose {made.output.folder}", file=sys.stderr)
    return OK
