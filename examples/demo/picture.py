"""What the demo prints, as an SVG that needs nothing from elsewhere: no fonts, no scripts."""

from rich.console import Console
from rich.terminal_theme import MONOKAI

_WIDTH = 112
_ASPECT = 0.6
_FORMAT = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">
<title>What scripts/demo prints</title>
<style>
.{unique_id}-matrix {{
  font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace;
  font-size: {char_height}px;
  line-height: {line_height}px;
}}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
<rect fill="#1c1e22" x="0" y="0" width="{width}" height="{height}" rx="6" />
<text class="{unique_id}-matrix" x="10" y="26" fill="#8b949e">$ scripts/demo</text>
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def recording() -> Console:
    """A console that prints, and remembers what it has printed."""
    return Console(highlight=False, markup=False, emoji=False, record=True, width=_WIDTH)


def to_svg(console: Console) -> str:
    """What a recording console has printed."""
    return console.export_svg(theme=MONOKAI, code_format=_FORMAT, unique_id="demo", font_aspect_ratio=_ASPECT)
