"""How errors read: what was wrong, what was expected, how to mend it."""

import difflib
from collections.abc import Iterable
from typing import Any

import numpy as np


class InputError(ValueError):
    """Bad input, refused at the entry function.

    The message names the argument, what was given, what was expected and, where there is one,
    the mend. The command line turns it into exit code 2.
    """


def refuse(argument: str, given: Any, expected: str, mend: str = "") -> InputError:
    """The error for an argument that does not fit.

    Example:
        >>> print(refuse("beta", -1.0, "a number > 0", "the paper uses 0.1"))
        beta: got -1.0, expected a number > 0. To mend it: the paper uses 0.1.
    """
    message = f"{argument}: got {given!r}, expected {expected}."
    return InputError(f"{message} To mend it: {mend}." if mend else message)


def whole(argument: str, value: Any, least: int, most: int | None = None) -> int:
    """A whole number within its limits, or the error that names it; booleans are none.

    Args:
        argument: its name.
        value: what was given.
        least: the smallest that fits.
        most: the largest; default: no limit.

    Raises:
        InputError: anything else.

    Example:
        >>> whole("steps", np.int64(3), 1)
        3
        >>> whole("steps", 0, 1)
        Traceback (most recent call last):
        toymodel._errors.InputError: steps: got 0, expected a whole number >= 1.
    """
    fits = isinstance(value, int | np.integer) and not isinstance(value, bool) and value >= least
    if not fits or (most is not None and value > most):
        limits = f">= {least}" if most is None else f"from {least} to {most}"
        raise refuse(argument, value, f"a whole number {limits}")
    return int(value)


def not_by_name(kind: str, given: Any, base: type, known: Iterable[str] = ()) -> InputError:
    """The error for something that is neither a name nor an instance, or has numbers beside it.

    Example:
        >>> print(not_by_name("number", int, int))
        number: got the class int, expected a name or an instance. To mend it: write int().
    """
    if isinstance(given, type):
        mend = f"write {given.__name__}()"
        return InputError(
            f"{kind}: got the class {given.__name__}, expected a name or an instance. "
            f"To mend it: {mend}."
        )
    if isinstance(given, base):
        return InputError(
            f"{kind}: got {given!r} and further numbers, expected numbers with a name only. "
            "To mend it: give them to the instance, or use dataclasses.replace."
        )
    names = f", one of {', '.join(sorted(known))}," if known else ""
    return InputError(f"{kind}: got {given!r}, expected a name{names} or a {base.__name__}.")


def unknown(kind: str, name: Any, known: Iterable[str]) -> InputError:
    """The error for a name that is in no registry, with the nearest name suggested.

    Example:
        >>> print(unknown("loss", "dop", ["dpo", "ipo"]))
        loss: got 'dop', expected one of dpo, ipo. To mend it: did you mean 'dpo'?
    """
    names = sorted(known)
    near = difflib.get_close_matches(str(name).lower().replace("-", "_"), names, n=1, cutoff=0.4)
    message = f"{kind}: got {name!r}, expected one of {', '.join(names)}."
    return InputError(f"{message} To mend it: did you mean {near[0]!r}?" if near else message)
