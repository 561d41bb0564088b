"""The registry of the parts of data collection, so that runs with them can be saved."""

from typing import Any

from toymodel._registry import Registry

#: Annotators and ways to choose what is compared, by name.
REGISTRY: Registry[Any] = Registry("sampling")
