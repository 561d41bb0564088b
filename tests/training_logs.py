"""Logs of real and of made training runs for tests, and what a diagnosis of them says."""

import csv
import json
import math
from pathlib import Path

from toymodel.diagnose import Diagnosis, diagnose

LOGS = Path(__file__).parent / "logs"
FALLS, RISES, WATCHED = LOGS / "falls.json", LOGS / "rises.json", LOGS / "watched.jsonl"

WITH_EVALS = json.loads(FALLS.read_text())["log_history"]


def pairs_of(path):
    return [x for x in json.loads(path.read_text())["log_history"] if "logps/chosen" in x]


def jsonl(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def table(path, records):
    names = list(dict.fromkeys(key for record in records for key in record))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(records)
    return path


def verdicts(found: Diagnosis):
    return {finding.name: finding.verdict for finding in found.findings}


def finding(found, name):
    return next(x for x in found.findings if x.name == name)


def cause(found, word):
    return next(x for x in found.causes if word in x.name)


HISTORY = pairs_of(FALLS)


def of(tmp_path, **columns):
    """A diagnosis of columns, one record a step from 1."""
    names = [name.replace("__", "/") for name in columns]
    rows = zip(*columns.values(), strict=True)
    records = [
        {"step": step, **{k: v for k, v in zip(names, row, strict=True) if not math.isnan(v)}}
        for step, row in enumerate(rows, 1)
    ]
    return diagnose(jsonl(tmp_path / "made.jsonl", records))
