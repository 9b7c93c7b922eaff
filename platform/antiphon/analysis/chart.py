"""Charts as text: SVG by hand, spectrograms as indexed PNG; no plotting library.

Colours are classes of the page's CSS (`c0`, `c1`, ... and `speech`, `text`), so one chart serves light and dark.
"""

import base64
import math
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import numpy.typing as npt

# Dark blue over magenta to pale yellow: equal steps look equal, and it survives a grey printer.
_ANCHORS = ((6, 8, 32), (58, 15, 102), (128, 37, 125), (205, 64, 104), (248, 140, 92), (252, 232, 174))


@dataclass(frozen=True, kw_only=True)
class Points:
    """A flat map of one tap or two: xy (N, 2); each point's modality, domain, label and the row of its pair."""

    tap: str
    xy: npt.NDArray[np.float64]
    modality: tuple[str, ...]
    domain: tuple[str, ...]
    label: tuple[str, ...]
    pair: tuple[int, ...]


def line_chart(title: str, lines: Mapping[str, Sequence[tuple[float, float]]], x_name: str) -> str:
    """A small chart of named lines [(x, y)], '' for fewer than two points; y begins at 0 for positive data."""
    points = [point for line in lines.values() for point in line if math.isfinite(point[1])]
    if len(points) < 2:
        return ""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    x_ticks, y_ticks = ticks(min(xs), max(xs), 4), ticks(min(0.0, *ys), max(ys), 4)
    left, top, width, height = 46.0, 12.0, 292.0, 140.0

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            left + width * _share(x, min(xs), max(xs)),
            top + height * (1 - _share(y, y_ticks[0], y_ticks[-1])),
        )

    parts = []
    for y in y_ticks:
        level = place(xs[0], y)[1]
        parts.append(f'<line class="grid" x1="{left}" x2="{left + width}" y1="{level:.1f}" y2="{level:.1f}"/>')
        parts.append(f'<text class="tick end" x="{left - 6}" y="{level + 3.5:.1f}">{number(y)}</text>')
    parts += [
        f'<text class="tick mid" x="{place(x, 0)[0]:.1f}" y="{top + height + 16}">{number(x)}</text>'
        for x in x_ticks
        if min(xs) <= x <= max(xs)
    ]
    for row, (name, line) in enumerate(lines.items()):
        kept = [place(x, y) for x, y in line if math.isfinite(y)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in kept)
        parts.append(f'<polyline class="line c{row}" points="{path}"><title>{escape(name)}</title></polyline>')
        parts += [
            f'<circle class="dot c{row}" cx="{x:.1f}" cy="{y:.1f}" r="5"><title>{escape(x_name)} {number(at)}: '
            f"{number(value)}</title></circle>"
            for (x, y), (at, value) in zip(kept, [point for point in line if math.isfinite(point[1])], strict=True)
        ]
    summary = f"{title}: from {number(points[0][1])} to {number(points[-1][1])} over {x_name} {number(max(xs))}"
    return _svg(summary, 356, 178, parts)


def scatter(points: Points) -> str:
    """A map of speech (circles) and text (diamonds); true pairs are joined by thin lines."""
    size, margin = 320.0, 12.0
    low, high = points.xy.min(axis=0), points.xy.max(axis=0)
    xy = margin + (points.xy - low) / np.maximum(high - low, 1e-9) * (size - 2 * margin)
    domains = {name: row for row, name in enumerate(sorted(set(points.domain)))}
    parts = [
        f'<path class="pair" d="M{xy[row, 0]:.1f} {xy[row, 1]:.1f}L{xy[other, 0]:.1f} {xy[other, 1]:.1f}"/>'
        for row, other in enumerate(points.pair)
        if row < other
    ]
    for (x, y), modality, domain, label in zip(xy, points.modality, points.domain, points.label, strict=True):
        where = f'class="{modality} c{domains[domain]}"'
        hint = f"<title>{escape(f'{modality} · {domain} · {label}')}</title>"
        if modality == "speech":
            parts.append(f'<circle {where} cx="{x:.1f}" cy="{y:.1f}" r="3.4">{hint}</circle>')
        else:
            parts.append(f'<path {where} d="M{x:.1f} {y - 4.4:.1f}l4.4 4.4l-4.4 4.4l-4.4 -4.4z">{hint}</path>')
    return _svg(f"t-SNE, {points.tap}: {len(points.xy)} vectors", size, size, parts)


def spectrogram(
    mel: npt.NDArray[np.float32],
    frame_sec: float,
    phones: Sequence[str],
    true: Sequence[tuple[float, float]],
    found: Sequence[float],
) -> str:
    """mel (T, M) with the true (start, end) of each phone above and the found starts below, all in seconds."""
    seconds = len(mel) * frame_sec
    width, top, height = max(1060.0, 300.0 * seconds), 24.0, 190.0
    bottom = top + height

    def x(sec: float) -> float:
        return width * min(max(sec / seconds, 0.0), 1.0)

    image = base64.b64encode(png(mel)).decode()
    parts = [
        f'<image x="0" y="{top}" width="{width:.0f}" height="{height}" preserveAspectRatio="none" '
        f'href="data:image/png;base64,{image}"/>'
    ]
    for phone, (start, end) in zip(phones, true, strict=bool(true)):
        parts.append(f'<line class="true" x1="{x(start):.1f}" x2="{x(start):.1f}" y1="{top - 18}" y2="{top}"/>')
        parts.append(f'<line class="inside" x1="{x(start):.1f}" x2="{x(start):.1f}" y1="{top}" y2="{bottom}"/>')
        parts.append(f'<text class="phone mid" x="{x((start + end) / 2):.1f}" y="{top - 8}">{escape(phone)}</text>')
    for phone, start, end in zip(phones, found, [*found[1:], seconds], strict=True):
        parts.append(f'<line class="found" x1="{x(start):.1f}" x2="{x(start):.1f}" y1="{top}" y2="{bottom + 18}"/>')
        middle = x((start + min(end, start + 0.3)) / 2)
        parts.append(f'<text class="phone mid" x="{middle:.1f}" y="{bottom + 16}">{escape(phone)}</text>')
    parts += [
        f'<text class="tick mid" x="{x(tick):.1f}" y="{bottom + 34}">{number(tick)} s</text>'
        for tick in ticks(0.0, seconds, max(2, int(seconds * 3)))
        if 0 < tick < seconds
    ]
    return _svg(f"log-mel spectrogram of {seconds:.1f} s, {len(phones)} phones", width, bottom + 40, parts)


def png(mel: npt.NDArray[np.float32]) -> bytes:
    """(T, M) features -> an indexed PNG, time to the right, pitch upwards, from the 2nd to the 99.5th percentile."""
    low, high = np.percentile(mel, (2.0, 99.5))
    levels = np.clip((mel - low) / max(high - low, 1e-6), 0.0, 1.0)
    pixels = (levels * 255).astype(np.uint8).T[::-1]  # (M, T)
    rows = b"".join(b"\0" + row.tobytes() for row in np.ascontiguousarray(pixels))
    stops = np.linspace(0, 255, len(_ANCHORS))
    palette = np.stack([np.interp(np.arange(256), stops, channel) for channel in zip(*_ANCHORS, strict=True)], axis=1)
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8, 3, 0, 0, 0)
    chunks = (
        (b"IHDR", header),
        (b"PLTE", palette.astype(np.uint8).tobytes()),
        (b"IDAT", zlib.compress(rows, 9)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks)


def ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers from at or below low to at or above high, about so many."""
    span = max(high - low, 1e-9)
    power = 10 ** math.floor(math.log10(span / max(about, 1)))
    step = next(power * factor for factor in (1, 2, 5, 10) if span / (power * factor) <= about)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(row * step, 10) for row in range(first, last + 1)]


def number(value: float) -> str:
    """Few characters for an axis: 1200 -> 1.2k, 0.25 -> 0.25."""
    return f"{value / 1000:g}k" if abs(value) >= 1000 else f"{value:.3g}"


def _share(value: float, low: float, high: float) -> float:
    return (value - low) / (high - low) if high > low else 0.5


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _svg(title: str, width: float, height: float, parts: Sequence[str]) -> str:
    return (
        f'<svg role="img" viewBox="0 0 {width:.0f} {height:.0f}" style="--w:{width:.0f}px">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )
