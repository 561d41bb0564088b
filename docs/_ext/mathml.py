"""Formulas as MathML, made from TeX while building: no script and no network to read or print them.

A formula that cannot be translated is a warning, so a strict build stops at it.
"""

from docutils import nodes
from math_core import LatexError, LatexToMathML
from sphinx.application import Sphinx
from sphinx.util import logging

LOGGER = logging.getLogger(__name__)
CONVERTER = LatexToMathML(annotation=True, fancy_error=False)


def _mathml(node: nodes.Element, *, display: bool) -> str:
    tex = node.astext()
    if display and "\\\\" in tex and "\\begin" not in tex:
        tex = f"\\begin{{gathered}}{tex}\\end{{gathered}}"  # as Sphinx's own math directive
    try:
        return CONVERTER.convert_with_local_state(tex, displaystyle=display)
    except LatexError as error:
        LOGGER.warning("formula %r: %s", tex, error, location=node)
        return f"<code>{nodes.unescape(tex)}</code>"


def visit_inline(self, node: nodes.math) -> None:
    """A formula within a line."""
    self.body.append(_mathml(node, display=False))
    raise nodes.SkipNode


def visit_block(self, node: nodes.math_block) -> None:
    """A formula of its own, with its number where it has one."""
    identity = f' id="{node["ids"][0]}"' if node["ids"] else ""
    self.body.append(f'<div class="formula"{identity}>{_mathml(node, display=True)}')
    if node["number"]:
        self.body.append(f'<span class="number">({node["number"]})</span>')
    self.body.append("</div>\n")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Offer the renderer to Sphinx."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
