"""An experiment's folder: what is in it, whether it is the same experiment, and how it goes on."""

import importlib.metadata
import json
import platform
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from toymodel._errors import InputError, refuse
from toymodel._files import whole_file
from toymodel._version import __version__
from toymodel.llm.experiment.planning import Plan
from toymodel.storage import writable_folder

_PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "jax")


class Folder:
    """Where an experiment writes; a finished one has ``results.json``, which is written last.

    Args:
        path: of the folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._settings = self.path / "experiment.json"
        self._results = self.path / "results.json"

    @property
    def model(self) -> Path:
        """Where the trained model is, or will be."""
        return self.path / "model"

    @property
    def results(self) -> dict[str, Any] | None:
        """What a finished run left; None: it is not finished."""
        return _read(self._results) if self._results.exists() else None

    @property
    def checkpoint(self) -> Path | None:
        """The newest checkpoint that is whole: its state is written last."""
        found = []
        for path in self.path.glob("checkpoint-*"):
            try:
                json.loads((path / "trainer_state.json").read_text())
                found.append((int(path.name.rpartition("-")[2]), path))
            except (OSError, ValueError):
                continue
        return max(found)[1] if found else None

    def check(self, plan: Plan, *, overwrite: bool = False) -> None:
        """Refuse a folder with something else in it.

        Args:
            plan: of the experiment that is to run there.
            overwrite: another experiment may be replaced.

        Raises:
            InputError: another experiment, or files that are none.
        """
        if not self._settings.exists():
            if self.path.exists() and any(self.path.iterdir()):
                given = f"{self.path} with files that are no experiment's"
                raise refuse("output.folder", given, "a folder that is new or empty")
            return
        changed = _differences(_read(self._settings).get("identity"), _identity(plan))
        if changed and not overwrite and not self._is_bare():
            raise InputError(
                f"output.folder: {str(self.path)!r} has another experiment ({'; '.join(changed)}), "
                "expected the same one or a new folder. To mend it: choose another folder, or "
                "replace what is there with --overwrite."
            )

    def begin(self, plan: Plan, *, overwrite: bool = False) -> None:
        """Write down what is going to run, whole or not at all; with `overwrite`, start anew.

        Args:
            plan: of the experiment.
            overwrite: delete what is there, which `check` has found to be an experiment.
        """
        if overwrite and self._settings.exists():
            shutil.rmtree(self.path)
        writable_folder(self.path)
        if not self._settings.exists() or self._is_bare():
            told = {"identity": _identity(plan), "versions": _versions(), "plan": plan.as_data()}
            _write(self._settings, told)

    def _is_bare(self) -> bool:
        """Whether nothing but settings is there: a run that failed before its first step."""
        return [path.name for path in self.path.iterdir()] == [self._settings.name]

    def finish(self, results: Mapping[str, Any]) -> None:
        """Write what a run found, which says that it is finished."""
        _write(self._results, results)


def _identity(plan: Plan) -> dict[str, Any]:
    """What makes two experiments the same: settings, data, and pairs a step."""
    told = {**plan.experiment.as_data(), "pairs a step": plan.pairs_a_step}
    data = {"pairs": len(plan.rows.train), "sha256": plan.rows.digest}
    found: dict[str, Any] = json.loads(json.dumps({**told, "data read": data}))
    return found


def _versions() -> dict[str, str]:
    found = {"toymodel": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _differences(there: Any, here: Any, name: str = "") -> list[str]:
    """Where two experiments differ: dotted names with both values."""
    if isinstance(there, dict) and isinstance(here, dict):
        found = []
        for key in {**there, **here}:
            place = f"{name}.{key}" if name else key
            found += _differences(there.get(key, "nothing"), here.get(key, "nothing"), place)
        return found
    return [] if there == here else [f"{name}: {there} there, {here} here"]


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text())
        if not isinstance(found, dict):
            raise TypeError("no settings")
    except (OSError, ValueError, TypeError) as error:
        expected = "what a run wrote there"
        mend = "delete the folder, or choose another"
        raise refuse("output.folder", f"{path}, unreadable ({error})", expected, mend) from None
    return found


def _write(path: Path, data: Mapping[str, Any]) -> None:
    with whole_file(path) as partial:
        partial.write_text(json.dumps(data, indent=2) + "\n")
