"""The pages of the documentation site: a hook of MkDocs, which `make docs` runs.

The site has the repository's own paths: README.md, CONTRIBUTING.md, docs/, deploy/README.md and
every file that one of them links to. So one link works in the repository and on the site. Each
package of the wheel gets a page of reference, made from the docstrings of its modules.
"""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
PAGES = ("*.md", "docs/**/*.md", "deploy/README.md")
LINK = re.compile(r"\]\(([^)#:\s]+)[)#]")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Replace the files of docs/ by those of the repository, and add the reference."""
    theme = [file for file in files if not file.src_uri.endswith((".md", ".py", ".svg", ".png"))]
    pages = sorted({path for pattern in PAGES for path in ROOT.glob(pattern)})
    linked = sorted({path for page in pages for path in _linked(page)} - {*pages})
    own = [
        File.generated(config, str(path.relative_to(ROOT)), abs_src_path=str(path))
        for path in [*pages, *linked]
    ]
    reference = [
        File.generated(config, f"reference/{package}.md", content=_reference(package))
        for package in _packages()
    ]
    return Files([*theme, *own, *reference])


def _linked(page: Path) -> Iterator[Path]:
    """Yield the files of the repository that a page links to."""
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        path = (page.parent / target).resolve()
        if path.is_file():
            yield path


def _packages() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    found: list[str] = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    return found


def _reference(package: str) -> str:
    """Write a reference page with a heading per module of the package."""
    paths = sorted((ROOT / package).rglob("*.py"))
    modules = [_dotted(path) for path in paths if path.stem != "__main__"]
    return "\n\n".join([f"# {package}", *(f"## {name}\n\n::: {name}" for name in modules)])


def _dotted(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")
