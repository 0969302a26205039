"""Pages that MkDocs makes of the repository: reports, configurations, the API reference.

Pages link to files of the repository as one reads them there, such as
``../benchmarks/reports/NAME.md``. In the site these files lie beside the pages, so that every link
leads somewhere, or fails the build.
"""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
TAKEN_ALONG = ("benchmarks/reports/**/*", "configs/**/*.py", "configs/**/*.yaml", "C*.md")
_LINK_UPWARD = re.compile(r"(\]\()\.\./")


def api_pages() -> dict[str, str]:
    """The API reference, a page a room: source paths and Markdown."""
    members = {"cmid": [f"cmid.{path.stem}" for path in sorted((ROOT / "cmid").glob("[!_]*.py"))]}
    for top in ("cmid", "benchmarks"):
        for path in sorted((ROOT / top).glob("*/__init__.py")):
            name = f"{top}.{path.parent.name}"
            members[name] = [name]
    return {
        f"api/{name}.md": f"# {name}\n\n" + "\n".join(f"::: {each}" for each in modules)
        for name, modules in members.items()
    }


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the API reference to the navigation."""
    assert config.nav is not None
    config.nav.append({"API": [{Path(uri).stem: uri} for uri in api_pages()]})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what does not lie in ``docs/``."""
    for uri, text in api_pages().items():
        files.append(File.generated(config, uri, content=text))
    for pattern in TAKEN_ALONG:
        for path in sorted(ROOT.glob(pattern)):
            if path.is_file():
                uri = path.relative_to(ROOT).as_posix()
                files.append(File.generated(config, uri, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links from ``docs/`` to the repository, in the site's own terms."""
    return markdown if page.file.generated_by else _LINK_UPWARD.sub(r"\1", markdown)
