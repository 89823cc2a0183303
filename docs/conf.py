"""Settings of the documentation; `make docs` builds it and treats warnings as errors."""

import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent / "_extensions"))

import securerelay

project = "SecureRelay"
author = "The SecureRelay founders"
copyright = f"2026, {author}"
release = version = securerelay.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "commands"]
exclude_patterns = ["_build"]
highlight_language = "text"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
html_theme = "alabaster"
html_theme_options = {
    "description": "Messages between peers, through a relay that knows who is who",
    "page_width": "1040px",
    "fixed_sidebar": True,
}
html_show_sourcelink = False
html_copy_source = False

man_pages = [
    ("reference/commandline", "securerelay", "talk to a SecureRelay", author, 1),
    ("reference/daemon", "twistd-securerelay", "the message relay", author, 8),
    ("reference/configuration", "securerelay.toml", "configuration of the relay", author, 5),
]


def setup(app):
    """Show interfaces by their names, not as the objects that zope makes of them."""

    def shorten(app, what, name, obj, options, signature, returns):
        return tuple(
            text and re.sub(r"<InterfaceClass [\w.]*?(\w+)>", r"\1", text)
            for text in (signature, returns)
        )

    app.connect("autodoc-process-signature", shorten)
