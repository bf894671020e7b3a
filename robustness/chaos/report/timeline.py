"""A picture of a run as SVG: who owned the sampled sessions over time, and what was done to the cluster when.

A row is a session or task, its colour the node that had activated it; a dark stroke is a turn that ended well, a red
one a try that did not; dashed lines are marks. Written by hand: no library is worth so few shapes.
"""

from html import escape
from itertools import pairwise

from robustness.chaos.validate.evidence import Evidence, Line

_SAMPLES = 24
_ROW, _LEFT, _WIDTH, _TOP = 14, 150, 1_000, 90
_COLOURS = ("#4c78a8", "#f58518", "#54a24b", "#b279a2", "#9d755d", "#72b7b2")


def timeline(evidence: Evidence, begun_ns: int, ended_ns: int, title: str) -> str:
    """The picture; begun_ns, ended_ns: what stands at its edges."""
    span_ns = max(1, ended_ns - begun_ns)

    def x(t_ns: int) -> float:
        return _LEFT + _WIDTH * min(1.0, max(0.0, (t_ns - begun_ns) / span_ns))

    rows = sampled(evidence)
    colours = _by_node(evidence)
    height = _TOP + _ROW * len(rows) + 30
    shapes = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LEFT + _WIDTH + 20}" height="{height}" '
        'font-family="sans-serif" font-size="10">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="10" y="18" font-size="14">{escape(title)}</text>',
    ]
    for number, (node, colour) in enumerate(colours.items()):
        shapes.append(f'<rect x="{10 + 60 * number}" y="26" width="10" height="10" fill="{colour}"/>')
        shapes.append(f'<text x="{24 + 60 * number}" y="35">{escape(node)}</text>')
    calls = evidence.calls_by_subject()
    for number, (subject, lines) in enumerate(rows.items()):
        y = _TOP + _ROW * number
        shapes.append(f'<text x="10" y="{y + 9}">{escape(subject.rpartition("/")[2][:24])}</text>')
        for line, until_ns in owners(lines, ended_ns):
            width = max(0.5, x(until_ns) - x(line.t_ns))
            shapes.append(
                f'<rect x="{x(line.t_ns):.1f}" y="{y}" width="{width:.1f}" height="{_ROW - 4}" '
                f'fill="{colours[line.node]}" fill-opacity="0.5"><title>{line.node} epoch {line.epoch}</title></rect>'
            )
        for call in calls.get(subject, ()):
            colour = "#222" if call.ok else "#d62728"
            at = x(call.ended_ns)
            shapes.append(
                f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{y}" y2="{y + _ROW - 4}" stroke="{colour}" stroke-width="0.6"/>'
            )
    for number, mark in enumerate(evidence.marks):
        at, y = x(mark.t_ns), 48 + 9 * (number % 4)
        shapes.append(
            f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{y}" y2="{height - 24}" stroke="#555" stroke-dasharray="3 3"/>'
        )
        shapes.append(f'<text x="{at + 2:.1f}" y="{y + 6}" font-size="8">{escape(f"{mark.what} {mark.node}")}</text>')
    for tenth in range(11):
        at = _LEFT + _WIDTH * tenth / 10
        shapes.append(f'<text x="{at:.1f}" y="{height - 8}">{span_ns * tenth / 10 / 1e9:.1f} s</text>')
    return "\n".join([*shapes, "</svg>"])


def sampled(evidence: Evidence) -> dict[str, list[Line]]:
    """The sessions and tasks worth a row: those with most owners, then those with most lines."""

    def worth(lines: list[Line]) -> tuple[int, int]:
        return len({line.epoch for line in lines}), len(lines)

    found = sorted(evidence.lines_by_subject().items(), key=lambda item: worth(item[1]), reverse=True)[:_SAMPLES]
    return dict(sorted(found, key=lambda item: item[1][0].t_ns))


def owners(lines: list[Line], ended_ns: int) -> list[tuple[Line, int]]:
    """Each claim, and until when it stood as far as the lines tell: its release, the next claim, or the end."""
    claims = [line for line in lines if line.event == "claimed"]
    released = {line.epoch: line.t_ns for line in lines if line.event == "released"}
    ends = [after.t_ns for _, after in pairwise(claims)] + [ended_ns]
    return [(claim, min(end, released.get(claim.epoch, end))) for claim, end in zip(claims, ends, strict=True)]


def _by_node(evidence: Evidence) -> dict[str, str]:
    nodes = sorted({line.node for line in evidence.lines})
    return {node: _COLOURS[number % len(_COLOURS)] for number, node in enumerate(nodes)}
