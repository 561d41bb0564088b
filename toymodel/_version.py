"""The version, in one place; packaging and saved runs read it."""

__version__ = "0.1.0"
