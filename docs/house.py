"""Draw the packages of the wheel and the imports between them as an SVG: `make picture`.

A package stands one row above the highest package that it imports. An arrow is an import. An
import that a chain of other arrows implies has no arrow.
"""

import ast
import sys
import textwrap
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

ROOT = Path(__file__).parent.parent
Graph = Mapping[str, set[str]]

WIDTH, BOX, HIGH, GAP = 1000, 138, 96, 52
LETTERS = 22  # in a line of a narrow box
WIDE = 2  # more neighbours than these: the box is as wide as the picture
STYLE = (
    "text{font-family:sans-serif;font-size:10px;fill:#333;text-anchor:middle}.n{font-size:14px;font-weight:bold}"
    ".f{fill:#2563a8}rect{fill:#f4f7fb;stroke:#2563a8;rx:6}.a{stroke:#888;marker-end:url(#head)}"
    ".paper{fill:#fff;stroke:none}"
)
HEAD = (
    '<marker id="head" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">'
    '<path d="M0,0L8,4L0,8z" fill="#888"/></marker>'
)


@dataclass(frozen=True)
class Box:
    """A package's place in the picture, in pixels: the middle of its upper edge, and its width."""

    name: str
    x: float
    y: float
    width: float


def packages() -> list[str]:
    """List the packages of the wheel in the order of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    found: list[str] = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    return found


def imports(names: list[str]) -> Graph:
    """Find the other packages that each package imports, anywhere in its code."""
    found = {
        name: {top for path in (ROOT / name).rglob("*.py") for top in _imported(path)}
        for name in names
    }
    return {name: tops & {*names} - {name} for name, tops in found.items()}


def _imported(path: Path) -> Iterator[str]:
    """Yield the top-level package of each absolute import of the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def below(graph: Graph, name: str) -> set[str]:
    """Collect what `name` imports, directly or not; RecursionError for a circle."""
    return graph[name] | {far for near in graph[name] for far in below(graph, near)}


def reduced(graph: Graph) -> Graph:
    """Remove the imports that a chain of other imports implies."""
    return {
        name: near - {far for other in near for far in below(graph, other)}
        for name, near in graph.items()
    }


def floor(graph: Graph, name: str) -> int:
    """Count the packages of the longest import chain below `name`."""
    return max((floor(graph, near) + 1 for near in graph[name]), default=0)


def boxes(graph: Graph) -> dict[str, Box]:
    """Place each package. Lower rows come first: a box may be placed above its import."""
    floors = {name: floor(graph, name) for name in graph}
    top = max(floors.values())
    placed: dict[str, Box] = {}
    for level in range(top + 1):
        row = [name for name in graph if floors[name] == level]
        for nth, name in enumerate(row):
            x, width = _place(graph, name, placed, (nth + 0.5) / len(row))
            placed[name] = Box(name, x, GAP / 2 + (top - level) * (HIGH + GAP), width)
    return placed


def _place(graph: Graph, name: str, placed: Mapping[str, Box], share: float) -> tuple[float, float]:
    feet = [placed[near].x for near in graph[name]]
    users = sum(name in near for near in graph.values())
    if max(len(feet), users) > WIDE:
        return WIDTH / 2, WIDTH - 2 * (GAP / 2)
    stands_on_one = len(feet) == 1 and placed[next(iter(graph[name]))].width == BOX
    return (feet[0] if stands_on_one else share * WIDTH), BOX


def drawn(graph: Graph) -> str:
    """Draw the picture as SVG text."""
    arrows = reduced(graph)
    placed = boxes(arrows)
    height = max(box.y for box in placed.values()) + HIGH + GAP / 2
    lines = [_arrow(placed[name], placed[near]) for name in arrows for near in sorted(arrows[name])]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}">',
            f"<title>The packages of pinpip and their imports</title><style>{STYLE}</style>{HEAD}",
            f'<rect class="paper" width="{WIDTH}" height="{height:.0f}"/>',
            *lines,
            *map(_box, placed.values()),
            "</svg>",
            "",
        ]
    )


def _arrow(upper: Box, lower: Box) -> str:
    start = lower.x if upper.width > lower.width else upper.x
    end = upper.x if lower.width > upper.width else lower.x
    return (
        f'<line class="a" x1="{start:.0f}" y1="{upper.y + HIGH:.0f}" x2="{end:.0f}"'
        f' y2="{lower.y:.0f}"/>'
    )


def _box(box: Box) -> str:
    """Draw a package: its name, its folders, and the first line of its docstring."""
    purpose = textwrap.wrap(_purpose(box.name), int(LETTERS * box.width / BOX))
    texts = [
        _text(box, 20, box.name, "n"),
        _text(box, 35, " · ".join(_folders(box.name)), "f"),
        *(_text(box, 51 + 13 * nth, line, "p") for nth, line in enumerate(purpose)),
    ]
    left = box.x - box.width / 2
    rect = f'<rect x="{left:.0f}" y="{box.y:.0f}" width="{box.width:.0f}" height="{HIGH}"/>'
    return "\n".join([rect, *texts])


def _text(box: Box, down: int, text: str, style: str) -> str:
    return f'<text class="{style}" x="{box.x:.0f}" y="{box.y + down:.0f}">{escape(text)}</text>'


def _purpose(name: str) -> str:
    code = (ROOT / name / "__init__.py").read_text(encoding="utf-8")
    docstring = ast.get_docstring(ast.parse(code)) or ""
    return docstring.partition(":")[0].partition("\n")[0].rstrip(".")


def _folders(name: str) -> list[str]:
    """List the subpackages."""
    return sorted(path.parent.name for path in (ROOT / name).glob("*/__init__.py"))


if __name__ == "__main__":
    sys.stdout.write(drawn(imports(packages())))
