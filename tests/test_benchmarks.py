"""Peers of the benchmarks compute what toymodel computes; ratios are taken round by round."""

import subprocess
import sys

import numpy as np
import pytest

from benchmarks import harness, ours
from benchmarks.peers import c_kernel, eager_torch, naive_jax, numpy_cells, torch_vmap
from benchmarks.start import toy


@pytest.mark.slow
@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize(
    "train",
    [eager_torch.train, torch_vmap.train, numpy_cells.train, naive_jax.train, c_kernel.train],
    ids=["eager torch", "torch vmap", "numpy", "naive jax", "c"],
)
def test_everybody_computes_the_same(train):
    problem = toy(16, 20)
    np.testing.assert_allclose(train(problem), ours.train(problem), atol=2e-4)


def test_ratios():
    found = {"ours": [10.0, 20.0, 30.0], "peer": [5.0, 5.0, 5.0], "dead": "its process died"}
    ratios = harness.ratios(found, "ours")
    assert ratios["peer"] == (4.0, 3.0, 5.0)
    assert ratios["ours"] == (1.0, 1.0, 1.0)
    assert ratios["dead"] == "its process died"


def test_help():
    command = [sys.executable, "-m", "benchmarks", "--help"]
    assert "--repeats" in subprocess.run(command, capture_output=True, text=True).stdout
