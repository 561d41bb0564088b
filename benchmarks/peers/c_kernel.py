"""(e) A plain C kernel of the same arithmetic, a thread per core: the practical limit."""

import ctypes
import functools
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.toy import Toy, log_probs

LANES = 16
FLAGS = ("-O3", "-march=native", "-ffast-math", "-fPIC", "-c")


@functools.cache
def _library() -> ctypes.CDLL:
    source = Path(__file__).with_name("kernel.c")
    folder = Path(tempfile.mkdtemp())
    compiled, built = folder / "kernel.o", folder / "kernel.so"
    subprocess.run(["cc", *FLAGS, str(source), "-o", str(compiled)], check=True)
    # linked without -ffast-math, which would switch off subnormals in the whole process
    subprocess.run(
        ["cc", "-shared", str(compiled), "-o", str(built), "-lm", "-lpthread"], check=True
    )
    return ctypes.CDLL(str(built))


def train(toy: Toy) -> np.ndarray:
    if toy.cells % LANES:
        raise ValueError(f"the C kernel takes cells in blocks of {LANES}, got {toy.cells}")
    leaves = (toy.first[0], toy.first[1], toy.last[0].T, toy.last[1])
    start = np.concatenate([leaf.ravel() for leaf in leaves]).astype(np.float32)
    blocks = toy.cells // LANES
    end = np.empty((blocks, len(start), LANES), np.float32)

    def pointer(array: np.ndarray) -> ctypes.c_void_p:
        return array.ctypes.data_as(ctypes.c_void_p)

    betas, rates = np.ascontiguousarray(toy.betas), np.ascontiguousarray(toy.rates)
    cores = len(os.sched_getaffinity(0))
    _library().train(
        *(pointer(array) for array in (start, betas, rates)),
        *(blocks, toy.steps, cores, pointer(end)),
    )
    flat = np.moveaxis(end, 2, 1).reshape(toy.cells, -1)
    ends = np.cumsum([leaf.size for leaf in leaves])[:-1]
    found = []
    for row in flat:
        parts = [p.reshape(leaf.shape) for p, leaf in zip(np.split(row, ends), leaves, strict=True)]
        found.append(log_probs(parts[:2], (parts[2].T, parts[3])))
    return np.stack(found)
