"""Diagnose a finished run from its log: which of the three properties, since when, and why."""

from toymodel.diagnose.causes import Cause
from toymodel.diagnose.curves import Interval
from toymodel.diagnose.diagnosis import Diagnosis, diagnose
from toymodel.diagnose.findings import Finding
from toymodel.diagnose.log import Log, Track, read

__all__ = ["Cause", "Diagnosis", "Finding", "Interval", "Log", "Track", "diagnose", "read"]
