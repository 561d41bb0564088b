"""Strict ground rules for every test: float64, no silent rank promotion, warnings are errors."""

import os
from pathlib import Path

# Tests compile far more than they compute, so machine code is optimised a little only: none at
# all compiles no faster, and the studies then take twice as long. What users run is optimised in
# full, and CI runs the README's command that way.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=1")

import hypothesis
import jax
import pytest

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")

COMMON = {"deadline": None, "print_blob": True}
hypothesis.settings.register_profile("toymodel", max_examples=30, derandomize=True, **COMMON)
hypothesis.settings.register_profile("explore", max_examples=500, **COMMON)  # other draws each time
hypothesis.settings.load_profile("toymodel")


#: Tests that take seconds to compile, a node id a line: slow, without a mark in their file.
SLOW = frozenset((Path(__file__).parent / "tests" / "slow.txt").read_text().splitlines())


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark what is listed."""
    for item in items:
        if item.nodeid in SLOW:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="module", autouse=True)
def _forget_compiled_programs():
    """A process may map 65,530 regions of memory, and a file's programs take up to 15,000."""
    yield
    jax.clear_caches()


@pytest.fixture
def float32():
    """Run a test in JAX's default precision."""
    with jax.enable_x64(False):
        yield
