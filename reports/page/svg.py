"""SVG from the chart library, made fit for a page: known elements and attributes only."""

import re
from html import escape
from xml.etree import ElementTree as ET

_ELEMENTS = {"svg", "g", "path", "line", "rect", "text", "tspan"}
_ATTRIBUTES = {
    *("d", "x", "y", "x1", "x2", "y1", "y2", "dx", "dy", "width", "height", "viewBox", "transform"),
    *("fill", "fill-opacity", "stroke", "stroke-width", "stroke-opacity", "stroke-miterlimit"),
    *("text-anchor", "font-size", "font-weight"),
}
_LONG = re.compile(r"(\.\d\d)\d+")  # a hundredth of a pixel is enough


def inlined(drawn: str, title: str, description: str, name: str) -> str:
    """Return the SVG as an image for a page; `name` begins its ids, its texts are escaped.

    Whatever else the library writes (scripts, links, styles, hidden elements) is left out.
    """
    root = ET.fromstring(drawn)  # noqa: S314  the chart library's own text
    body = "".join(map(_written, root))
    size = " ".join(f'{key}="{root.get(key)}"' for key in ("width", "height", "viewBox"))
    return (
        f'<svg {size} role="img" aria-labelledby="{name}-t {name}-d">'
        f'<title id="{name}-t">{escape(title)}</title>'
        f'<desc id="{name}-d">{escape(description)}</desc>{body}</svg>'
    )


def _written(element: ET.Element) -> str:
    tag = element.tag.rpartition("}")[2]
    inside = escape(element.text or "") + "".join(map(_written, element))
    if tag not in _ELEMENTS or _is_unseen(element) or (tag == "g" and not inside):
        return ""
    kept = [(name, value) for name, value in element.items() if name in _ATTRIBUTES]
    told = "".join(f' {name}="{escape(_rounded(name, value))}"' for name, value in kept)
    return f"<{tag}{told}>{inside}</{tag}>"


def _is_unseen(element: ET.Element) -> bool:
    if element.get("class") in {"background", "foreground"}:
        return True
    return element.get("opacity") == "0" or element.get("display") == "none"


def _rounded(name: str, value: str) -> str:
    return _LONG.sub(r"\1", value) if name in {"d", "transform"} else value
