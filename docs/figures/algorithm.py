"""The figure of the algorithm for light and for dark pages: `python docs/figures/algorithm.py` writes both files."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent
WIDTH, HEIGHT = 560, 560
COLOURS = {
    "light": {"ink": "#1b1b1f", "soft": "#5c5c66", "line": "#8a8a94", "box": "#f3f3f6", "free": "#b85c00",
              "cell": "#d5d5dc", "ground": "#bdbdbd"},
    "dark": {"ink": "#ececf1", "soft": "#a9a9b4", "line": "#8a8a94", "box": "#26262c", "free": "#ffa53d",
             "cell": "#484852", "ground": "#8f8f8f"},
}  # fmt: skip


def text(x: float, y: float, words: str, *, size: int = 15, fill: str = "ink", anchor: str = "start",
         weight: str = "normal") -> str:  # fmt: skip
    """A line of text; `fill` is a name of the palette."""
    return (f'<text x="{x}" y="{y}" font-size="{size}" fill="{{{fill}}}" text-anchor="{anchor}" '
            f'font-weight="{weight}">{words}</text>')  # fmt: skip


def box(x: float, y: float, width: float, height: float) -> str:
    """A rounded box."""
    return f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="8" fill="{{box}}" stroke="{{line}}"/>'


def cells(x: float, y: float, count: int, free: int, side: float = 15) -> str:
    """A row of tokens, the first `free` of them in the colour of what is free to move."""
    return "".join(
        f'<rect x="{x + index * (side + 3)}" y="{y}" width="{side}" height="{side}" rx="2" '
        f'fill="{{{"free" if index < free else "cell"}}}"/>'
        for index in range(count)
    )


def arrow(path: str, fill: str = "ink") -> str:
    """A line along an SVG path, with a head at its end."""
    return f'<path d="{path}" fill="none" stroke="{{{fill}}}" stroke-width="1.8" marker-end="url(#{fill})"/>'


def head(fill: str) -> str:
    """The head of the arrows of one colour."""
    return (f'<marker id="{fill}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
            f'orient="auto-start-reverse"><path d="M0 0L10 5L0 10z" fill="{{{fill}}}"/></marker>')  # fmt: skip


def picture(x: float, y: float) -> str:
    """A red star left of a blue circle on a grey ground."""
    star = "24,14 28.7,27.5 43,27.8 31.6,36.5 35.8,50.2 24,42 12.2,50.2 16.4,36.5 5,27.8 19.3,27.5"
    return (f'<g transform="translate({x} {y})"><rect width="96" height="64" rx="4" fill="{{ground}}"/>'
            f'<polygon points="{star}" fill="#d62728"/>'
            f'<circle cx="71" cy="33" r="16" fill="#1f4fd6"/></g>')  # fmt: skip


def figure() -> str:
    """The drawing, with the palette's names in braces."""
    parts = [
        f"<defs>{head('ink')}{head('free')}</defs>",
        box(170, 10, 380, 44), text(186, 38, "prompt c: “a red star left of a blue circle”", size=16),
        arrow("M360 54V92"), text(374, 79, "write, greedily", fill="soft"),
        box(170, 94, 380, 74), text(186, 118, "visualisation t (text tokens)"), cells(186, 134, 19, 4),
        arrow("M360 168V206"), text(374, 193, "draw from “c. t”, sampled", fill="soft"),
        box(170, 208, 380, 74), text(186, 232, "image tokens v"), cells(186, 248, 19, 2),
        arrow("M360 282V320"), text(374, 307, "decode to pixels", fill="soft"),
        picture(312, 324),
        arrow("M360 390V428"), text(374, 415, "judge", fill="soft"),
        box(250, 430, 220, 44), text(360, 458, "score s, between 0 and 1", size=16, anchor="middle"),
        arrow("M360 474V512"), text(374, 499, "s above the threshold", fill="soft"),
        text(360, 536, "stop: return the best picture", size=16, anchor="middle", weight="bold"),
        # the way back, to what is free
        '<path d="M250 452H64V141" fill="none" stroke="{free}" stroke-width="1.8"/>',
        arrow("M64 141H182", "free"), arrow("M64 255H182", "free"),
        text(76, 444, "otherwise", fill="free"),
        text(76, 340, "move the free", fill="free", weight="bold"),
        text(76, 360, "latents z along", fill="free", weight="bold"),
        text(76, 384, "R · ∇ log p(tokens | z)", fill="free"), text(76, 404, "with R = s − 1", fill="free"),
    ]  # fmt: skip
    return "\n".join(parts)


def svg(name: str) -> str:
    """The file for "light" or "dark" pages."""
    drawn = (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="44 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
             f'height="{HEIGHT}" font-family="system-ui, sans-serif">\n{figure()}\n</svg>\n')  # fmt: skip
    for colour, value in COLOURS[name].items():
        drawn = drawn.replace(f"{{{colour}}}", value)
    return drawn


if __name__ == "__main__":
    for name in COLOURS:
        (FOLDER / f"algorithm-{name}.svg").write_text(svg(name), encoding="utf-8")
