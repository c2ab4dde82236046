"""How the site is built: `make docs`, or `sphinx-build -W -n docs docs/_build/html`. Nothing is fetched."""

from __future__ import annotations

from typing import Any

import milr

project = "milr"
author = "the authors of milr"
copyright = "the authors of milr, Apache-2.0"  # noqa: A001 - Sphinx's own name
release = version = milr.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.coverage", "sphinx_copybutton"]
exclude_patterns = ["_build", "help.md"]
highlight_language = "none"  # where a block names no language
default_role = "code"  # `name` in a docstring
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = "milr"
html_static_path = ["_static"]
html_css_files = ["milr.css"]
html_theme_options = {"top_of_page_buttons": []}
html_copy_source = False
html_show_sphinx = False
copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
coverage_show_missing_items = True
coverage_statistics_to_report = coverage_statistics_to_stdout = False

# Names of other libraries cannot be linked without a network.
nitpick_ignore_regex = [
    ("py:.*", r"(collections|typing|pathlib|asyncio|PIL|torch|numpy|pandas|pydantic)\..*"),
    (
        "py:.*",
        r"(Any|Path|Image|Tensor|Self|Literal|Callable|Mapping|Sequence|Iterable|AsyncIterator|Unpack|RunConfig|LogitsDtype|Damage)",
    ),
]


def say_what_options_mean(app: object, what: str, name: str, *rest: object) -> None:
    """An option is explained by its help, which the command line shows, too."""
    lines = rest[-1]
    field = milr.Options.__dataclass_fields__.get(name.rpartition(".")[2])
    if name.startswith("milr.options.Options.") and field is not None and isinstance(lines, list):
        lines[:] = [field.metadata["help"].replace("|", r"\|"), ""]


def setup(app: Any) -> None:
    """Sphinx calls this."""
    app.connect("autodoc-process-docstring", say_what_options_mean)
