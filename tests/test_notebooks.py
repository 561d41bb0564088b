"""Notebooks: readable as text, on public names alone, and each runs from top to bottom."""

import ast
import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest

import toymodel as tm

jupytext = pytest.importorskip("jupytext")
nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")

FOLDER = Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("[0-9][0-9]-*.md"))
PATIENCE = 600  # seconds a cell; `python -m benchmarks --only reading` times them
#: What a notebook may import beside toymodel, which it calls tm.
ALLOWED = {
    *("copy", "json", "pathlib", "tempfile", "itertools", "dataclasses"),
    *("jax", "jax.numpy", "numpy", "optax", "xarray", "torch", "transformers"),
}
_SOLUTION = re.compile(r"<details>\n<summary>Solution</summary>\n(.*?)</details>", re.DOTALL)
_CODE = re.compile(r"```python\n(.*?)```", re.DOTALL)
_PICTURE = re.compile(r"(figure|tm\.plots\.\w+\(.*\)|\w+\.picture\(\))$", re.DOTALL)
_PROGRESS = re.compile(r"\d+%\|")

by_name = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def solution_of(path):
    """The code that an exercise's solution shows."""
    found = _SOLUTION.search(path.read_text())
    assert found, "no solution"
    return "".join(_CODE.findall(found[1]))


def code_of(book):
    return [cell for cell in book.cells if cell.cell_type == "code"]


def prose_of(book):
    return [cell.source for cell in book.cells if cell.cell_type == "markdown"]


def chain(node):
    """tm.plots.likelihoods as ["tm", "plots", "likelihoods"]; empty for anything else."""
    names = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return [node.id, *reversed(names)] if isinstance(node, ast.Name) else []


def is_public(module, name):
    if name.startswith("_"):
        return False
    if hasattr(module, "__all__"):
        return name in module.__all__ or name in {"llm"}  # resolved late
    own = getattr(module, name, None)
    return not inspect.ismodule(own) and getattr(own, "__module__", module.__name__).startswith(
        module.__name__
    )


def hidden_in(names):
    """The first name along tm.a.b.c that toymodel does not show, as a list of none or one."""
    place = tm
    for at, name in enumerate(names, start=1):
        if not isinstance(place, ModuleType):
            return []
        if not is_public(place, name):
            return [".".join(["tm", *names[:at]])]
        place = getattr(place, name)
    return []


def private_names(source):
    """What a user should not need: hidden names of toymodel and of anything, other imports."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            root, *names = chain(node) or [""]
            if root == "tm":
                found += hidden_in(names)
            elif node.attr.startswith("_"):
                found.append(node.attr)
        elif isinstance(node, ast.ImportFrom):
            found += [] if node.module in ALLOWED else [f"from {node.module}"]
        elif isinstance(node, ast.Import):
            for alias in node.names:
                ours = alias.name == "toymodel" and alias.asname == "tm"
                found += [] if ours or alias.name in ALLOWED else [f"import {alias.name}"]
    return sorted(set(found))


def test_there_are_eight():
    assert [path.name[:2] for path in NOTEBOOKS] == [f"{n:02d}" for n in range(1, 9)]
    index = (FOLDER / "README.md").read_text()
    assert [path.name for path in NOTEBOOKS if f"({path.name})" not in index] == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import toymodel as tm\ntm.plots.likelihoods(run)", []),
        ("tm.exact.margin(1.0, 0.1)\nrun.properties().mean()", []),
        ("tm._errors.refuse", ["tm._errors"]),
        ("run._troubles()", ["_troubles"]),
        ("tm.plots.style.CHOSEN", ["tm.plots.style"]),
        ("tm.kernels.jnp.ones(2)", ["tm.kernels.jnp"]),
        ("from toymodel.plots import style", ["from toymodel.plots"]),
        ("import toymodel", ["import toymodel"]),
    ],
)
def test_a_private_name_is_found(source, expected):
    assert private_names(source) == expected


@by_name
def test_reads_well(path):
    """Question, pictures that say what to see, answer, exercise; paired text without outputs."""
    book = jupytext.read(path)
    assert book.metadata["kernelspec"]["name"] == "python3"
    assert book.metadata["jupytext"]["text_representation"]["format_name"] == "myst"
    again = jupytext.reads(jupytext.writes(book, fmt="md:myst"), fmt="md:myst")
    assert [cell.source for cell in again.cells] == [cell.source for cell in book.cells]
    assert [cell.metadata for cell in again.cells] == [cell.metadata for cell in book.cells]

    first = book.cells[0].source
    assert first.startswith("# ")
    assert first.split("\n\n")[1].startswith("**Question.** ")
    assert "?" in first.split("\n\n")[1]
    heads = re.findall(r"^## (.+)$", "\n".join(prose_of(book)), re.MULTILINE)
    assert heads[-2:] == ["Answer", "Exercise"]
    compile(solution_of(path), str(path), "exec")

    pictures = 0
    for cell, following in zip(book.cells, [*book.cells[1:], None], strict=True):
        if cell.cell_type != "code":
            continue
        assert cell.outputs == []
        assert cell.execution_count is None
        assert private_names(cell.source) == []
        if _PICTURE.search(cell.source):
            pictures += 1
            assert len(cell.metadata["mystnb"]["image"]["alt"]) > 20, cell.source
            later = book.cells[book.cells.index(cell) + 1 :]
            said = next(c.source for c in later if c.cell_type == "markdown")
            assert said.startswith("*"), f"say what to see: {cell.source}"
        assert following is not None
    assert pictures >= 3
    assert private_names(solution_of(path)) == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # those of Jupyter's own machinery
@by_name
def test_runs_from_top_to_bottom(path, monkeypatch):
    """Without a warning, as readers run it; then its exercise's solution."""
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    if "torch" in path.read_text():
        pytest.importorskip("torch")
    book = jupytext.read(path)
    book.cells.append(nbformat.v4.new_code_cell(solution_of(path)))
    client = nbclient.NotebookClient(
        book,
        timeout=PATIENCE,
        kernel_name="python3",
        resources={"metadata": {"path": str(FOLDER)}},
    )
    client.execute()
    for cell in code_of(book):
        for output in cell.outputs:
            if output.output_type == "stream" and output.name == "stderr":
                lines = [line for line in output.text.splitlines() if line.strip()]
                assert all(map(_PROGRESS.search, lines)), output.text
