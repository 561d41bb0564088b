"""The command ``toymodel``: the library's entry functions, with help that teaches.

Exit codes: 0 done; 1 nobody reads the output any more, as after ``| head``; 2 bad input (the
message says what, and how to mend it); 3 done, but a comparison asked for with --strict was not
reached; 130 stopped by Ctrl-C.
"""

import os
import sys

from cyclopts import App, CycloptsError

from toymodel._errors import InputError
from toymodel._version import __version__
from toymodel.cli import attribution, bridge, catalogue, diagnosis, figures, sweeps, training
from toymodel.cli.options import BAD_INPUT, INTERRUPTED, OK, UNREAD

app = App(
    name="toymodel",
    version=__version__,
    help="A laboratory for preference optimisation, small enough to be exact.\n\n"
    "Start with `toymodel reproduce`.",
    suppress_keyboard_interrupt=False,
)
app.command(figures.reproduce)
app.command(figures.calibrate)
app.command(training.simulate)
app.command(sweeps.sweep)
app.command(sweeps.plot)
app.command(attribution.attribute)
app.command(diagnosis.diagnose)
app.command(bridge.llm)
app.command(catalogue.scenarios)
app.command(catalogue.losses)


def main(arguments: list[str] | None = None) -> None:
    """The entry point of the command line; exits with the command's code."""
    try:
        code = _run(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()  # here, where an error can be caught, rather than at exit
    except BrokenPipeError:
        code = UNREAD
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
    sys.exit(code)


def _run(arguments: list[str] | None) -> int:
    try:
        code = app(arguments, exit_on_error=False, result_action="return_value")
    except InputError as error:
        print(f"toymodel: {error}", file=sys.stderr)
        return BAD_INPUT
    except CycloptsError:  # cyclopts has printed what was wrong
        return BAD_INPUT
    except KeyboardInterrupt:
        print("toymodel: stopped.", file=sys.stderr)
        return INTERRUPTED
    return code if isinstance(code, int) else OK
