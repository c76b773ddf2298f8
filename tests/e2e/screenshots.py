"""`make screenshots`: docs/images/*.png, of what people look at.

Needs Debian's packages chromium and imagemagick. Arguments name some of the groups of pictures.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Browser

from tests.support.browser import Scheme, chromium, opened, serving
from tests.support.notebooks import RESULTS
from tests.support.places import ROOT
from tests.support.report_pages import emulated_report
from tests.support.views import VIEWS

IMAGES = ROOT / "docs/images"
NBCONVERT = ROOT / "build/notebook/bin/jupyter-nbconvert"
SETTLED = 400  # ms after loading: the charts are drawn
LARGEST = 150_000
TALLEST = {1280: 1_340, 390: 1_700}


def shot(browser: Browser, target: str | Path, name: str, width: int, scheme: Scheme) -> Path:
    """Write docs/images/NAME-WIDTH-SCHEME.png of a URL or file, 1280 or 390 px wide."""
    url = target.resolve().as_uri() if isinstance(target, Path) else target
    page = opened(browser, url, width, scheme)
    page.wait_for_timeout(SETTLED)
    height = min(page.evaluate("document.documentElement.scrollHeight"), TALLEST[width])
    page.set_viewport_size({"width": width, "height": height})
    page.wait_for_timeout(SETTLED)
    made = IMAGES / f"{name}-{width}-{scheme}.png"
    made.parent.mkdir(exist_ok=True)
    page.screenshot(path=made)
    page.close()
    _reduce(made)
    return made


def _reduce(picture: Path) -> None:
    """Take colours away until the file is small enough for the repository."""
    for colours in ("256", "128", "64", "32"):
        smaller = ["-strip", "-dither", "None", "-colors", colours, f"png8:{picture}"]
        subprocess.run(["convert", str(picture), *smaller], check=True)  # noqa: S607  # on PATH
        if picture.stat().st_size < LARGEST:
            return
    sys.exit(f"{picture} has {picture.stat().st_size:,} bytes: show less")


def pages(browser: Browser) -> None:
    """Take the status page in its states."""
    for name in ("good", "broken"):
        with serving(VIEWS[name]) as served:
            for width in (1280, 390):
                for scheme in ("light", "dark"):
                    shot(browser, served.url, f"page-{name}", width, scheme)


def notebook(browser: Browser) -> None:
    """Take notebooks/explore.ipynb as JupyterLab shows it, from its answers on."""
    with TemporaryDirectory() as folder:
        for scheme in ("light", "dark"):
            page = Path(folder) / f"{scheme}.html"
            options = ["--to", "html", "--theme", scheme, "--output", str(page)]
            subprocess.run([str(NBCONVERT), *options, str(RESULTS)], check=True)
            shot(browser, f"{page.as_uri()}#The-nine-answers", "notebook", 1280, scheme)


def report(browser: Browser) -> None:
    """Take the report of an emulated lake, and two of its answers."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "report.html")
        path.write_text(emulated_report(Path(folder)), encoding="utf-8")
        for width in (1280, 390):
            for scheme in ("light", "dark"):
                shot(browser, path, "report", width, scheme)
        page = opened(browser, path.as_uri(), 1280, "light")
        for question in ("q1", "q8"):
            made = IMAGES / f"report-{question}.png"
            page.locator(f"section[aria-labelledby={question}]").screenshot(path=made)
            _reduce(made)
        page.close()


GROUPS: dict[str, Callable[[Browser], None]] = {
    "pages": pages,
    "notebook": notebook,
    "report": report,
}


def main(names: list[str]) -> None:
    """Take all groups of pictures, or those that are named."""
    with chromium() as browser:
        for name in names or GROUPS:
            GROUPS[name](browser)


if __name__ == "__main__":
    main(sys.argv[1:])
