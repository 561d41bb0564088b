"""``accelerate launch -m toymodel.llm.experiment FILE.toml``: one of the processes that train."""

import argparse
import os
import sys

from toymodel._errors import InputError
from toymodel.llm.experiment.running import run
from toymodel.llm.experiment.settings import read


def main(arguments: list[str] | None = None) -> int:
    """Run an experiment; 0: done, 2: bad input, said once for all processes."""
    parser = argparse.ArgumentParser("toymodel.llm.experiment", description=__doc__)
    parser.add_argument("file", help="settings (TOML); `toymodel llm train --help` explains")
    parser.add_argument("--set", "-s", action="append", default=[], metavar="section.key=value")
    parser.add_argument("--overwrite", action="store_true", help="replace another experiment")
    given = parser.parse_args(arguments)
    first = os.environ.get("RANK", "0") == "0"
    try:
        run(read(given.file, given.set), overwrite=given.overwrite, progress=first)
    except InputError as error:
        if first:
            print(f"toymodel: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
