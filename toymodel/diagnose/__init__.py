"""Diagnose a finished run from its log: which of the three properties, since when, and why."""
