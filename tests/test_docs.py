"""The documentation: builds strictly, names everything public, and its Python runs."""

import importlib
import inspect
import re
import subprocess
import sys
import zlib
from pathlib import Path
from types import ModuleType

import matplotlib.pyplot as plt
import pytest

import toymodel as tm

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
FENCED = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
ROLE = re.compile(r"\{py:(?:func|class|meth)\}`([\w.]+)`")
IMAGE = re.compile(r"!\[(.*?)\]\(([^)]*)\)", re.DOTALL)

LINK = re.compile(r"\]\(([^)\s]+)\)")
WRITTEN = sorted(
    path
    for folder in (".", "docs/**", "figures", "notebooks", "benchmarks/**")
    for path in ROOT.glob(f"{folder}/*.md")
)

BLOCKS = {
    f"{page.relative_to(DOCS)}:{number}": block
    for page in PAGES
    for number, block in enumerate(FENCED.findall(page.read_text()))
}
#: Pages whose blocks need what tests have not: a model, a cluster.
ELSEWHERE = ("llm/", "cluster.md", "how-to/trl-callback.md")
RUNS = {
    name: block
    for name, block in BLOCKS.items()
    if re.search(r"^import toymodel|^from toymodel", block, re.MULTILINE)
    and not name.startswith(ELSEWHERE)
}
#: What is made small where an example runs: a pattern, and what stands for it.
SMALL = {
    r"hidden=\(\d+,\)": "hidden=(4,), fit_steps=5",
    r"(?<!fit_)steps=\d{3,}": "steps=20",
    r"seeds=\d+": "seeds=2",
    r"range\(\d+\)": "range(2)",
    r'"mlp"': "tm.MLP(hidden=(4,), fit_steps=5)",
}


@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
def test_python_compiles(block):
    compile(block, "block", "exec")


@pytest.mark.slow
@pytest.mark.parametrize("block", RUNS.values(), ids=RUNS)
def test_python_runs(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for pattern, small in SMALL.items():
        block = re.sub(pattern, small, block)
    exec(compile(block, "block", "exec"), {"tm": tm})
    plt.close("all")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_pictures_have_texts_for_those_who_do_not_see_them(page):
    for text, target in IMAGE.findall(page.read_text()):
        assert len(text.split()) >= 2, target


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_within_the_repository_lead_somewhere(page):
    for target in LINK.findall(page.read_text()):
        path = target.partition("#")[0]
        assert not path or ":" in path or (page.parent / path).exists(), target


def test_the_gallery_shows_every_figure_and_says_what_it_shows():
    gallery = (DOCS / "gallery.md").read_text()
    captions = {path.stem: path.read_text() for path in (ROOT / "figures").glob("*.md")}
    assert set(captions) <= set(re.findall(r"\]\(\.\./figures/([\w.]+)\.md\)", gallery))
    for text, target in IMAGE.findall(gallery):
        name = Path(target).stem
        assert f"![{text}]({name}.png)" in captions.get(name, f"![{text}]({name}.png)")


def resolve(name):
    """The thing that a dotted name stands for."""
    owner, _, last = name.rpartition(".")
    try:
        return getattr(importlib.import_module(owner), last)
    except ModuleNotFoundError:
        return getattr(resolve(owner), last)  # a method, whose owner is a class


THEORY = (DOCS / "theory.md").read_text()


@pytest.mark.parametrize("name", sorted(set(ROLE.findall(THEORY))))
def test_theory_leads_to_functions(name):
    assert callable(resolve(name))


@pytest.mark.parametrize("section", THEORY.split("\n## ")[1:], ids=lambda text: text.split("\n")[0])
def test_every_section_of_theory_is_computed(section):
    assert ROLE.search(section)


def test_the_closed_forms_are_all_derived():
    named = {name.rpartition(".")[2] for name in ROLE.findall(THEORY) if ".exact." in name}
    helpers = {"margin_gained"}  # chooses between forms that are derived one by one
    assert set(tm.exact.__all__) - named == helpers


def public():
    """Dotted names and things: of `__all__`, here and in modules that it names; else what a module
    defines itself. The experiments behind findings are read in their source."""
    modules, seen = [tm], set()
    while modules:
        module = modules.pop()
        if module in seen:
            continue
        seen.add(module)
        names = getattr(module, "__all__", None)
        for name in names or [name for name in vars(module) if not name.startswith("_")]:
            thing = getattr(module, name)
            if names and isinstance(thing, ModuleType):
                modules.append(thing)
            elif names or getattr(thing, "__module__", None) == module.__name__:
                yield f"{module.__name__}.{name}", thing


def not_in_the_reference(inventory):
    """Public classes and functions that no entry of an inventory stands for."""
    entries = zlib.decompress(inventory.read_bytes().split(b"\n", 4)[4]).decode().splitlines()
    kinds = ("py:class", "py:exception", "py:function")
    names = [entry.split()[0] for entry in entries if entry.split()[1] in kinds]
    documented = {id(resolve(name)) for name in names}
    return [
        name
        for name, thing in public()
        if (inspect.isclass(thing) or inspect.isroutine(thing)) and id(thing) not in documented
    ]


def loaded_from_elsewhere(html):
    """Scripts, styles, pictures and frames that a page would fetch from the network."""
    tags = re.findall(r"<(?:script|link|img|iframe)\b[^>]*>", html)
    return [tag for tag in tags if re.search(r"""(?:src|href)=["'](?:https?:)?//""", tag)]


@pytest.mark.slow
def test_the_site_builds_strictly_is_complete_and_needs_no_network(tmp_path):
    pytest.importorskip("sphinx")
    command = ["-m", "sphinx", "-q", "-W", "--keep-going", "-c", "docs"]
    command += ["-D", "nb_execution_mode=off", ".", str(tmp_path)]
    built = subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr[-4000:]
    assert not_in_the_reference(tmp_path / "objects.inv") == []
    for page in tmp_path.rglob("*.html"):
        assert loaded_from_elsewhere(page.read_text()) == [], page.name
