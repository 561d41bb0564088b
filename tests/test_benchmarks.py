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


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what is imported
def test_steps_of_all_weights_are_steps_of_sgd():
    import torch

    from benchmarks.ranking import _steps
    from tests.llm_models import ROWS, model, tokenizer
    from toymodel import losses
    from toymodel.llm import batches, sequences, train

    pair = batches.tokenise(tokenizer(), ROWS)[0]
    policy, rate = model(dtype=torch.float64), 1e-6
    (found,) = _steps(policy, [pair], losses.DPO(), 0)
    before = sequences.score(policy, batches.collate([pair], 0)).total[0]
    sgd = torch.optim.SGD(policy.parameters(), lr=rate)
    train(policy, [pair], pad_token=0, optimiser=sgd, max_grad_norm=None, progress=False)
    after = sequences.score(policy, batches.collate([pair], 0)).total[0]
    assert float((after - before).detach()) / rate == pytest.approx(found, rel=1e-3)


def test_help():
    command = [sys.executable, "-m", "benchmarks", "--help"]
    assert "--repeats" in subprocess.run(command, capture_output=True, text=True).stdout
