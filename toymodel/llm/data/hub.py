"""Rows of a data set on the Hugging Face hub, through the package datasets."""

import re
from collections.abc import Iterator
from pathlib import Path

from toymodel._errors import InputError
from toymodel.llm.data.files import Record
from toymodel.llm.extra import need

_NAME = re.compile(r"[\w-][\w.-]*/[\w.-]+(:[\w.-]+)?")
_FILES = (".jsonl", ".json", ".csv", ".parquet", ".gz", ".txt")


def is_hub_name(name: str | Path) -> bool:
    """Whether a name is one of the hub, ``owner/name`` or ``owner/name:configuration``.

    What exists on disk, or ends as a file of data does, is not.

    Args:
        name: as a user gave it.

    Example:
        >>> [is_hub_name(x) for x in ("openai/gsm8k:main", "data/pairs.jsonl", "pairs", "./a/b")]
        [True, False, False, False]
    """
    text = str(name)
    return bool(_NAME.fullmatch(text)) and not text.endswith(_FILES) and not Path(text).exists()


def hub_records(name: str, split: str, *, local_files_only: bool = False) -> Iterator[Record]:
    """The records of a data set of the hub; no code of the data set's runs.

    Args:
        name: ``owner/name``, with ``:configuration`` where the set has several.
        split: as the set calls it.
        local_files_only: take it from the cache, never from the network.

    Raises:
        InputError: no such set, configuration or split, or no network.
    """
    need("datasets")
    import datasets

    place, _, configuration = name.partition(":")
    try:
        rows = datasets.load_dataset(
            place,
            configuration or None,
            split=split,
            download_config=datasets.DownloadConfig(local_files_only=local_files_only),
        )
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"data: {name!r} cannot be had ({reason}), expected a file or folder that exists, or "
            "a name on the hub. To mend it: check name, configuration (owner/name:configuration), "
            f"split (here {split}) and network, or download it and give the folder."
        ) from None
    for number, row in enumerate(rows, 1):
        yield Record(f"{name}:{number}", row)
