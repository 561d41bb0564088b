"""How Sphinx builds the documentation: the repository itself is the source, nothing is copied.

    sphinx-build -W --keep-going -c docs . build/site                          # runs notebooks
    sphinx-build -W --keep-going -c docs -D nb_execution_mode=off . build/site  # does not

Pages lie where the repository has them (`docs/`, `notebooks/`, `figures/`, `benchmarks/results/`),
so a link that works in the repository works on the site. Notebooks that ran once are kept in a
cache beside the build and run again only when they change. Nothing is fetched while building or
reading.
"""

import os
import sys
from pathlib import Path

import ziamath

from toymodel import __version__

os.environ.setdefault("JAX_PLATFORMS", "cpu")
sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "toymodel"
author = copyright = "The toymodel developers"
version = release = __version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "cyclopts.ext.sphinx",
    "docstrings",
    "mathml",
    "repository",
]

root_doc = "docs/index"
include_patterns = [
    "docs/**",
    "notebooks/**",
    "figures/*.md",
    "benchmarks/results/*.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
]
exclude_patterns = [".*", "build", "dist", "runs", "shared", "tests", "toymodel", "**/__pycache__"]
nitpicky = True
nitpick_ignore_regex = [("py:obj", "(?s).*")]  # code in docstrings: a link where there is a target
default_role = "py:obj"

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4
nb_execution_mode = "cache"
nb_execution_timeout = 180
nb_execution_raise_on_error = True
nb_output_stderr = "remove"  # progress bars

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_inherit_docstrings = False  # methods that implement a contract are documented there
autodoc_preserve_defaults = True
autodoc_typehints = "none"  # arguments say their shapes and units; types are in the linked source
autosummary_generate = False
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = "toymodel"
html_static_path = [
    "_static",
    str(Path(ziamath.__file__).parent / "fonts" / "STIXTwoMath-Regular.ttf"),
]
html_css_files = ["toymodel.css"]
html_extra_path = ["_extra"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_sphinx = False
