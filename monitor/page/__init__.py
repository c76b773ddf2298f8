"""The status page: `render` makes one HTML file of a `PageView`."""

from monitor.page.render import POLICY, render, render_main

__all__ = ["POLICY", "render", "render_main"]
