"""Pages of the site that are generated from the code, so that they cannot go stale. mkdocs.yml lists this hook.

reference/command-line.md   from the command line itself, by cyclopts
reference/settings.md       from the declarations of the settings
contributing.md, changelog.md   the files at the top of the repository

Diagrams become pictures when the site is built, and a page that would load a file from another host is refused: the
site can be read without a network.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mmdr
from griffe import Attribute, Docstring, Extension
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from dptrain.cli.app import VERBS, build_app
from dptrain.cli.flags import BASIC
from dptrain.declaration import IDENTITY_SECTIONS
from dptrain.settings import SECTIONS, SETTINGS

ROOT = Path(__file__).resolve().parents[1]

_SETTINGS = """# Settings

Every setting is a key of a recipe (a TOML file with the sections below), a flag of `dptrain train`, an environment
variable and a keyword of `dptrain.fit`: `batch_size = 64` under `[training]`, `--batch-size 64`,
`DPTRAIN_BATCH_SIZE=64`, `batch_size=64`. Flags override variables, variables override the recipe, and the recipe
overrides the defaults. A setting that a stronger source makes meaningless is dropped with a warning: `--recipe sfddd
--schedule cosine` drops the `milestones` of the recipe. An unknown key is an error that names the nearest known one.

The settings under `[data]`, `[model]` and `[training]` decide the bits of a run: they are its **identity**. The
settings under `[deployment]` never change the bits.

Flags and `dptrain.fit` accept two more names: `width` is `filters`, and `depth` is the number of layers of a resnet,
6n + 2, in place of `n`: `--depth 20` is `--n 3`.
"""

_COMMANDS = """# Command line

`dptrain COMMAND --help` prints the same text. [Exit codes](exit-codes.md) have their own page.
`dptrain completion bash` (or zsh, fish) prints a script that completes commands, flags and choices in your shell.
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """MkDocs calls this after it has collected the pages."""
    pages = {
        "reference/command-line.md": command_line(),
        "reference/settings.md": settings(),
        "contributing.md": from_the_top("CONTRIBUTING.md"),
        "changelog.md": from_the_top("CHANGELOG.md"),
    }
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """MkDocs calls this for every page. `<!-- include: FILE -->` becomes the text of a file of the repository, and a
    block of mermaid a picture.
    """

    def included(found: re.Match[str]) -> str:
        return f"```python\n{(ROOT / found[1]).read_text()}```"

    markdown = re.sub(r"<!-- include: (\S+) -->", included, markdown)
    return re.sub(r"^```mermaid\n(.*?)^```$", picture, markdown, flags=re.DOTALL | re.MULTILINE)


def picture(found: re.Match[str]) -> str:
    """A diagram as an image that holds its own data, of its own width."""
    svg = mmdr.render(found[1]).svg()
    width = svg.split('viewBox="')[1].split('"')[0].split()[2]
    data = base64.b64encode(svg.encode()).decode()
    return f'<img class="diagram" alt="diagram" width="{float(width):.0f}" src="data:image/svg+xml;base64,{data}">'


def on_post_page(output: str, *, page: Page, **_: object) -> str:
    """MkDocs calls this for every page of the site. PluginError: a browser would load a file from elsewhere."""
    loaded = re.findall(r'<(?:script|img|iframe|source|video)\b[^>]*\bsrc="?((?:https?:)?//[^\s">]+)', output)
    loaded += re.findall(r'<link\b(?![^>]*rel="?canonical)[^>]*\bhref="?((?:https?:)?//[^\s">]+)', output)
    if loaded:
        raise PluginError(f"{page.file.src_uri} loads {loaded[0]}: the site must be readable without a network")
    return output


def command_line() -> str:
    """Every verb with its flags, as Markdown. A verb that takes all settings of a section links to the section."""
    text = build_app(listing=False).generate_docs(heading_level=1)
    body = text[text.index("\n## dptrain ") :]
    for section in SECTIONS:
        body = re.sub(
            rf"^\*\*{section.capitalize()}\*\*:\n\n(?:\* .*\n)+", _shortened(section), body, flags=re.MULTILINE
        )
    for noise in ("\\", " *[default: False]*", ' *[default: ""]*'):
        body = body.replace(noise, "")
    index = "".join(f"- [`{verb}`](#dptrain-{verb}): {line}\n" for verb, (_, line) in VERBS.items())
    return f"{_COMMANDS}\n{index}{body}"


def _shortened(section: str) -> Callable[[re.Match[str]], str]:
    """A function that replaces the list of all flags of a section but the basic ones by a link."""
    every = {each.flag for name, each in SETTINGS.items() if each.section == section and name not in BASIC}

    def shorten(found: re.Match[str]) -> str:
        if set(re.findall(r"^\* `(--[\w-]+)", found[0], re.MULTILINE)) != every:
            return found[0]
        return f"**{section.capitalize()}**: every other setting of [`[{section}]`](settings.md#{section}).\n"

    return shorten


def settings() -> str:
    """One table per section: key, default, what is allowed, what it does."""
    parts = [_SETTINGS]
    for section in SECTIONS:
        about = "part of the identity" if section in IDENTITY_SECTIONS else "never changes the bits"
        parts.append(
            f"\n## {section}\n\n`[{section}]`: {about}.\n\n| key | default | allowed | meaning |\n|---|---|---|---|\n"
        )
        for each in (each for each in SETTINGS.values() if each.section == section):
            allowed = each.rule.allowed.removeprefix("one of ")
            parts.append(f"| `{each.name}` | {_shown(each.default)} | {_cell(allowed)} | {_cell(each.about)} |\n")
    return "".join(parts)


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return "`[]`" if not value else f"`{list(value)}`"
    return f"`{value}`" if value != "" else '`""`'


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def from_the_top(name: str) -> str:
    """A file of the repository's top level with its links as they are seen from docs/; other files become code."""
    text = (ROOT / name).read_text()
    text = re.sub(r"\]\(docs/", "](", text)
    return re.sub(r"\[([^\]]+)\]\((?!https?:|#|[\w/-]+\.md)([^)]+)\)", r"`\2`", text)


class FieldComments(Extension):
    """Lets mkdocstrings show the `#:` comment behind a field as its docstring (mkdocs.yml lists it)."""

    def on_attribute_instance(self, *, attr: Attribute, **kwargs: Any) -> None:  # noqa: ANN401  # what griffe passes
        """Griffe calls this for every attribute that it has read."""
        if attr.docstring or attr.lineno is None or not isinstance(attr.filepath, Path):
            return
        line = attr.filepath.read_text().splitlines()[attr.lineno - 1]
        _, comment, text = line.partition("#: ")
        if comment:
            attr.docstring = Docstring(text, lineno=attr.lineno, parent=attr)
