"""The packages of the `llm` extra: asked for with a clear message, and imported late."""

import importlib
import importlib.metadata
from types import ModuleType

from toymodel._errors import InputError

TRL_TESTED = ("1.16",)  # minor versions whose internals the trainer and the callback rely on
_HOW = (
    'pip install "toymodel[llm]"; for a build of torch without CUDA, install torch first, as '
    "pytorch.org says under Get Started for the compute platform CPU"
)


def need(package: str) -> ModuleType:
    """A module of the extra, or the error that says how to install it.

    Args:
        package: its import name.

    Raises:
        InputError: it is not installed.

    Example:
        >>> need("no_such_package")
        Traceback (most recent call last):
        toymodel._errors.InputError: llm: the package no_such_package is missing, ...
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package.partition(".")[0]:
            raise
        raise InputError(
            f"llm: the package {package} is missing, expected the extra llm. To mend it: {_HOW}."
        ) from None


def check_trl() -> None:
    """Refuse a TRL whose internals nobody here has tried.

    Raises:
        InputError: TRL is missing, or of a version that is not in `TRL_TESTED`.
    """
    need("trl")
    version = importlib.metadata.version("trl")
    if ".".join(version.split(".")[:2]) not in TRL_TESTED:
        raise InputError(
            f"trl: got version {version}, expected {' or '.join(TRL_TESTED)}, which is tested. "
            f'To mend it: pip install "trl=={TRL_TESTED[-1]}.*", or train with toymodel.llm.train, '
            "which does without TRL."
        )
