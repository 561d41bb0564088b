"""Links from pages to the repository's own source files lead to the highlighted source."""

from pathlib import PurePosixPath

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform


class SourceLinks(SphinxPostTransform):
    """Turn the download of a module into a link to its page of source, if it has one."""

    default_priority = 5
    formats = ("html",)

    def run(self, **kwargs: object) -> None:
        modules = getattr(self.env, "_viewcode_modules", {})
        for node in list(self.document.findall(addnodes.download_reference)):
            path, _ = self.env.relfn2path(node["reftarget"], node["refdoc"])
            parts = PurePosixPath(path).with_suffix("").parts
            name = ".".join(parts).removesuffix(".__init__")
            if modules.get(name):
                page = f"_modules/{name.replace('.', '/')}"
                uri = self.app.builder.get_relative_uri(node["refdoc"], page)
                node.replace_self(nodes.reference("", "", *node.children, refuri=uri))


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the transform."""
    app.add_post_transform(SourceLinks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
