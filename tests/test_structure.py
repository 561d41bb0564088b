"""The shape of the package: who imports whom, what importing costs, documentation, file sizes."""

import ast
import inspect
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

import toymodel

PACKAGE = Path(toymodel.__file__).parent
MOST_LINES = 400

#: A module imports only from those above it. A package is one layer.
LAYERS = [
    *("_typing", "_errors", "_files", "_version", "_struct", "_registry"),
    *("scenarios", "sampling", "policies", "sequences", "worlds"),
    *("losses", "preconditioners", "optimisers", "gradients", "rewards", "exact", "kernels"),
    *("values", "objectives", "rl"),
    *("special_cases", "identities", "portraits"),
    *("properties", "storage", "training", "decomposition", "trajectory", "flow"),
    *("simulation", "sweeps"),
    *("attribution", "plots", "studies", "paper", "why", "roads", "explorer"),
    *("diagnose", "llm", "cli", "__main__"),
]

SOURCES = sorted(PACKAGE.rglob("*.py"))
INSIDE = [path for path in SOURCES if path != PACKAGE / "__init__.py"]


def name_of(path):
    """The dotted name inside the package: losses.dpo."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def layer_of(module):
    return module.split(".")[0]


def layers_imported_by(source):
    """The layers of this package that a source file imports, at the top or inside functions."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            whole = node.module == "toymodel"
            modules = [f"toymodel.{alias.name}" if whole else node.module for alias in node.names]
        else:
            continue
        for module in modules:
            package, _, rest = module.partition(".")
            if package == "toymodel":
                yield layer_of(rest)


def wrong_imports(layer, source):
    above = LAYERS[: LAYERS.index(layer) + 1]
    return sorted(set(layers_imported_by(source)) - set(above))


@pytest.mark.parametrize("path", INSIDE, ids=name_of)
def test_imports_point_up(path):
    layer = layer_of(name_of(path))
    assert layer in LAYERS, f"give {layer} a place in LAYERS"
    assert wrong_imports(layer, path.read_text()) == []


def test_what_is_listed_as_slow_exists():
    for line in (PACKAGE.parent / "tests" / "slow.txt").read_text().splitlines():
        path, _, name = line.partition("::")
        last = name.partition("[")[0].rpartition(".")[2]
        assert last in (PACKAGE.parent / path).read_text(), line


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import jax\nfrom toymodel import _errors\nfrom toymodel.losses.base import DPO", []),
        ("from toymodel import simulation, _errors", ["simulation"]),
        ("import toymodel.plots.style as style", ["plots"]),
        ("def late():\n    from toymodel.flow import gradient_flow", ["flow"]),
        ("import toymodel", [""]),
    ],
)
def test_a_wrong_import_is_found(source, expected):
    assert wrong_imports("losses", source) == expected


def test_importing_is_light():
    heavy = ["torch", "tensorflow", "matplotlib.pyplot"]
    script = f"import sys, toymodel; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=PACKAGE.parent, capture_output=True, text=True
    )
    assert result.stdout.strip() == "[]", result.stderr


#: Where the public names are: in `__all__`, or all that a module defines.
PUBLIC_IN = (
    *(toymodel, toymodel.losses, toymodel.policies, toymodel.plots, toymodel.sweeps),
    *(toymodel.sequences, toymodel.worlds, toymodel.attribution, toymodel.exact),
    *(toymodel.kernels, toymodel.special_cases, toymodel.preconditioners, toymodel.decomposition),
)


def defined_in(module):
    """Its functions and classes, where it does not say what is public."""
    own = [
        name
        for name, thing in vars(module).items()
        if getattr(thing, "__module__", None) == module.__name__
    ]
    return [name for name in own if not name.startswith("_")]


PUBLIC = {
    f"{module.__name__}.{name}": getattr(module, name)
    for module in PUBLIC_IN
    for name in getattr(module, "__all__", None) or defined_in(module)
    if name != "Switches"  # an alias of a type
}


@pytest.mark.parametrize("thing", PUBLIC.values(), ids=PUBLIC)
def test_public_names_are_documented(thing):
    if isinstance(thing, str | Mapping):  # the version, tables: comments document them
        return
    first_line = (inspect.getdoc(thing) or "").partition("\n")[0]
    assert 0 < len(first_line) < 100
    assert first_line.endswith((".", ":"))
    if inspect.isclass(thing) or inspect.isfunction(thing):
        assert not first_line.startswith(f"{thing.__name__}("), "only the generated signature"


FULLY = [
    f"{thing.__module__}.{thing.__name__}"
    for name, thing in PUBLIC.items()
    if inspect.isfunction(thing)
    and thing.__module__.split(".")[1]
    in {
        *("sequences", "worlds", "attribution", "exact"),
        *("kernels", "special_cases", "preconditioners", "decomposition"),
    }
]
#: Where an example would have to build what a whole run builds.
WITHOUT_EXAMPLE = {"toymodel.decomposition.replay", "toymodel.decomposition.step_parts"}


@pytest.mark.parametrize("name", sorted(set(FULLY) - WITHOUT_EXAMPLE))
def test_functions_say_what_they_take_and_show_it(name):
    module, _, function = name.rpartition(".")
    thing = getattr(sys.modules[module], function)
    text = inspect.getdoc(thing)
    assert "Example:" in text
    if inspect.signature(thing).parameters:
        assert "Args:" in text


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_is_long(path):
    assert len(path.read_text().splitlines()) <= MOST_LINES
