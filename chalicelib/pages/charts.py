"""Charts: small SVG drawings without script or style attributes, coloured by the classes of the style sheet."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape as escaped

from chalicelib.core.printing import plain

GROUPS = (
    ("compliant", "resolved", ("resolved",)),
    ("in work", "work", ("queued", "starting", "running", "verifying")),
    ("waiting", "waiting", ("waiting", "reboot_pending")),
    ("a person's turn", "ticketed", ("ticketed",)),
    ("only observed", "open", ("open",)),
    ("exempt", "exempt", ("exempt",)),
    ("gone", "gone", ("gone",)),
)
"""The states as people count them: name, class of the style sheet, members."""

WIDTH, NARROW, HEIGHT = 720, 400, 220
FEW = 7
"""So few columns need no more than the narrow width, which a telephone shows whole."""
LEFT, BOTTOM, TOP, RIGHT = 52, 26, 10, 8


def escape(text: str) -> str:
    """Text for an element or an attribute; what steers a reader stands as an escape."""
    return escaped(plain(text), quote=True)


def stacked(labels: Sequence[str], series: Sequence[tuple[str, str, Sequence[float]]], *, title: str,
            newest: bool = False) -> str:  # fmt: skip
    """Bars one beside the other, each stacked from the series `(name, class, values)` in their order."""
    totals = [sum(values[place] for _, _, values in series) for place in range(len(labels))]
    most = _ceiling(max([*totals, 1]))
    across = WIDTH if len(labels) > FEW else NARROW
    step = (across - LEFT - RIGHT) / max(len(labels), 1)
    parts = [*_grid(most, across), *_labels(labels, step, across)]
    for place, label in enumerate(labels):
        base = float(HEIGHT - BOTTOM)
        for name, kind, values in series:
            height = (HEIGHT - TOP - BOTTOM) * values[place] / most
            base -= height
            if height:
                told = escape(f"{label}: {values[place]:g} {name}")
                x, wide = LEFT + place * step + step * 0.1, step * 0.8
                parts.append(f'<rect class="{kind}" x="{x:.1f}" y="{base:.1f}" width="{wide:.1f}" '
                             f'height="{height:.1f}"><title>{told}</title></rect>')  # fmt: skip
    return _svg(parts, title, across, newest=newest) + legend([(name, kind) for name, kind, _ in series])


def funnel(stages: Sequence[tuple[str, float]], *, title: str) -> str:
    """Horizontal bars from the same side, each with its number and its share of the first."""
    most = max([value for _, value in stages] + [1])
    high, names, parts = 34, list[str](), list[str]()
    for place, (name, value) in enumerate(stages):
        y, part = place * high + 4, 100 * value / most
        share = f" ({100 * value / stages[0][1]:.0f} %)" if stages[0][1] else ""
        names.append(f'<text class="label" x="0" y="{y + 18}">{escape(name)}</text>')
        parts.append(f'<rect class="bar" x="0" y="{y}" width="{max(part, 0.2):.1f}%" height="{high - 8}"/>')
        kind, gap, anchor = ("inside", -6, "end") if part > 40 else ("label", 6, "start")
        parts.append(f'<text class="{kind}" x="{part:.1f}%" dx="{gap}" y="{y + 18}" text-anchor="{anchor}">'
                     f"{value:g}{share}</text>")  # fmt: skip
    beside = f'<svg x="88" y="0" width="69%" height="{high * len(stages)}">{"".join(parts)}</svg>'
    return _flat([*names, beside], title, height=high * len(stages))


def bars(items: Sequence[tuple[str, float, str]], *, title: str, line: float | None = None, unit: str = "") -> str:
    """Horizontal bars `(name, value, class)`, each below its name; `line` draws a limit across them."""
    most = max([value for _, value, _ in items] + [line or 0, 1e-9])
    high, parts, scale = 44, list[str](), 78
    for place, (name, value, kind) in enumerate(items):
        y, part = place * high, scale * value / most
        parts.append(f'<text class="label" x="0" y="{y + 14}">{escape(_short(name, 28))}</text>')
        parts.append(f'<rect class="{kind}" x="0" y="{y + 19}" width="{max(part, 0.2):.1f}%" height="18"/>')
        parts.append(f'<text class="label" x="{part:.1f}%" dx="6" y="{y + 33}">{value:g}{escape(unit)}</text>')
    height = high * max(len(items), 1)
    if line is not None:
        x = f"{scale * line / most:.1f}%"
        parts.append(f'<line class="limit" x1="{x}" x2="{x}" y1="0" y2="{height}"/>')
    return _flat(parts, title, height=height)


def legend(names: Sequence[tuple[str, str]]) -> str:
    """Which class stands for what, in words beside a patch of its colour."""
    items = "".join(f'<li><svg class="key" viewBox="0 0 12 12" aria-hidden="true"><rect class="{kind}" width="12" '
                    f'height="12"/></svg>{escape(name)}</li>' for name, kind in names)  # fmt: skip
    return f'<ul class="legend">{items}</ul>'


def _svg(parts: Sequence[str], title: str, across: int, *, newest: bool = False) -> str:
    """`newest`: on a narrow screen the right end is seen first."""
    kind = f"scroll drawing{' few' if across == NARROW else ''}{' newest' if newest else ''}"
    return (f'<div class="{kind}" tabindex="0" role="region" aria-label="{escape(title)}">'
            f'<svg role="img" aria-label="{escape(title)}" viewBox="0 0 {across} {HEIGHT}" '
            f'xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg></div>')  # fmt: skip


def _flat(parts: Sequence[str], title: str, *, height: float) -> str:
    """Across in percent, so that figures are as large on a telephone as on a desk, and none is cut off."""
    return (f'<div class="drawing flat"><svg role="img" aria-label="{escape(title)}" height="{height:g}" '
            f'xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg></div>')  # fmt: skip


def _grid(most: float, across: int) -> list[str]:
    parts = []
    for part in range(5):
        y = HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * part / 4
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{across - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="label" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{most * part / 4:g}</text>')
    return parts


def _labels(labels: Sequence[str], step: float, across: int) -> list[str]:
    """As many as there is room for; one that would stand over the right edge ends there."""
    longest = max(map(len, labels), default=0) * 6
    every = max(1, -(-longest // int(step or 1)))
    found = []
    for place, label in enumerate(labels):
        x, anchor = LEFT + (place + 0.5) * step, "middle"
        if x + len(label) * 3.5 > across:
            x, anchor = across, "end"
        if place % every == 0:
            found.append(
                f'<text class="label" x="{x:.1f}" y="{HEIGHT - 8}" text-anchor="{anchor}">{escape(label)}</text>'
            )
    return found


def _ceiling(value: float) -> float:
    """The next figure that people count by, whose quarters are whole: what is drawn over a grid are counts."""
    size = 10.0 ** max(0, len(str(int(value))) - 2)
    return next(step * size for step in (4, 8, 12, 16, 20, 24, 32, 40, 60, 80, 100) if step * size >= value)


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def group_of(state: str) -> str:
    """The class of the style sheet for a state."""
    return next((kind for _, kind, members in GROUPS if state in members), "bar")
