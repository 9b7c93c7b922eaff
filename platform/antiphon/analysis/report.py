"""A run as one HTML file that needs nothing else: tables, curves, alignments, maps, sound and answers.

`render` turns a `Report`, plain values that the caller has gathered, into the page; `report.html` beside this file
holds the page's frame and style. Nothing is loaded from anywhere.
"""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import numpy.typing as npt

from antiphon.analysis.chart import Points, line_chart, scatter, spectrogram


@dataclass(frozen=True, kw_only=True)
class Card:
    """One figure at the top of the page: what, how much, and what it is to be judged by."""

    name: str
    value: str
    note: str


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A cell with a bar behind its text; share is the bar's length in [0, 1]."""

    text: str
    share: float


@dataclass(frozen=True, kw_only=True)
class Table:
    """rows of cells under a header; the first column is text, the others are set as numbers."""

    name: str
    header: tuple[str, ...]
    rows: tuple[tuple[str | Bar, ...], ...]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One utterance that can be played, and looked at where mel (T, M) and phones are given.

    true (start, end) and found start of each phone in seconds.
    """

    key: str
    text: str
    transcript: str
    speaker: str
    domain: str
    seconds: float
    flac: bytes
    synthetic: bool
    mel: npt.NDArray[np.float32] | None = None
    frame_sec: float = 0.01
    phones: tuple[str, ...] = ()
    true: tuple[tuple[float, float], ...] = ()
    found: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Found:
    """One hit of a sample query; `right` says whether it is the query's own counterpart."""

    score: float
    modality: str
    text: str
    speaker: str
    domain: str
    path: str
    right: bool
    flac: bytes = b""
    synthetic: bool = False


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A sample query and its hits, best first."""

    modality: str
    text: str
    hits: tuple[Found, ...]
    flac: bytes = b""
    synthetic: bool = False


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that the page shows. ledger holds the lines of ledger.jsonl."""

    title: str
    lead: str
    cards: tuple[Card, ...]
    results: tuple[Table, ...]
    ledger: Sequence[Mapping[str, Any]]
    clips: tuple[Clip, ...]
    maps: tuple[Points, ...]
    answers: tuple[Answer, ...]
    origin: tuple[Table, ...]  # what the figures were made from and by


def render(report: Report) -> str:
    """The page as a string of HTML."""
    domains = sorted({domain for points in report.maps for domain in points.domain})
    sections = (
        _section("results", "Results", "", _tables(report.results)),
        _section("training", "Training", "Means since the line before, by step.", _curves(report.ledger)),
        _section("alignment", "Alignment", _ALIGNMENT, "".join(_alignment(clip) for clip in report.clips)),
        _section("space", "The space", _SPACE, _maps(report.maps, domains)),
        _section("answers", "Questions and answers", _ANSWERS, "".join(_answer(answer) for answer in report.answers)),
        _section("listen", "Listen", "", _grid("clips", (_clip(clip) for clip in report.clips))),
        _section("origin", "How it was made", "", _tables(report.origin)),
    )
    shown = [(name, title, body) for name, title, body in sections if body]
    return Template(Path(__file__).with_suffix(".html").read_text()).substitute(
        title=escape(report.title),
        lead=escape(report.lead),
        links="".join(f'<a href="#{name}">{title}</a>' for name, title, _ in shown),
        cards="".join(_card(card) for card in report.cards),
        sections="".join(body for _, _, body in shown),
    )


_ALIGNMENT = (
    "The true start of each phone stands above the spectrogram, the start that the phoneme transducer found below it. "
    "One frame of the encoder is 40 ms."
)
_SPACE = (
    "Mean-pooled vectors of the same unseen utterances at the three taps, flattened by t-SNE. Circles are speech, "
    "diamonds are text; a line joins each utterance with its own text. Where the space is shared, the two lie on each "
    "other."
)
_ANSWERS = "Each query is searched among the items of the other modality. A tick marks the query's own counterpart."


def _section(name: str, title: str, note: str, body: str) -> tuple[str, str, str]:
    """(anchor, title, HTML); the HTML is empty when there is nothing to show."""
    lead = f'<p class="note">{escape(note)}</p>' if note else ""
    whole = (
        f'<section id="{name}" aria-labelledby="{name}-title"><h2 id="{name}-title">{title}</h2>{lead}{body}</section>'
    )
    return name, title, whole if body else ""


def _card(card: Card) -> str:
    note = f"<small>{escape(card.note)}</small>"
    return f'<div class="card"><dt>{escape(card.name)}</dt><dd>{escape(card.value)}{note}</dd></div>'


def _grid(kind: str, items: Iterable[str]) -> str:
    body = "".join(items)
    return f'<div class="{kind}">{body}</div>' if body else ""


def _tables(tables: Iterable[Table]) -> str:
    return _grid("tables", (_table(table) for table in tables if table.rows))


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in table.header)
    rows = "".join(f"<tr>{''.join(_cell(cell, row) for row, cell in enumerate(cells))}</tr>" for cells in table.rows)
    note = f"<figcaption>{escape(table.note)}</figcaption>" if table.note else ""
    kind = "table wide" if len(table.header) > 6 else "table"
    return (
        f'<figure class="{kind}"><h3>{escape(table.name)}</h3><div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>{note}</figure>"
    )


def _cell(cell: str | Bar, column: int) -> str:
    if column == 0:
        return f'<th scope="row">{escape(cell if isinstance(cell, str) else cell.text)}</th>'
    if isinstance(cell, Bar):
        share = min(max(cell.share, 0.0), 1.0)
        return f'<td class="bar" style="--share:{share:.3f}"><span>{escape(cell.text)}</span></td>'
    return f"<td>{escape(cell)}</td>"


def _curves(ledger: Sequence[Mapping[str, Any]]) -> str:
    """One small chart for the loss, one for each of its parts, one for the speed."""
    lines = [line for line in ledger if line.get("loss") is not None]
    names = list(dict.fromkeys(name for line in lines for name in line["parts"]))
    curves = {"loss": [(line["step"], line["loss"]) for line in lines]}
    curves |= {name: [(line["step"], line["parts"][name]) for line in lines if name in line["parts"]] for name in names}
    curves["audio seconds per second"] = [(line["step"], line["time"]["audio_sec_per_sec"]) for line in lines]
    charts = ((name, line_chart(name, {name: line}, "step")) for name, line in curves.items())
    return _grid(
        "charts",
        (f"<figure><h3>{escape(name.replace('_', ' '))}</h3>{chart}</figure>" for name, chart in charts if chart),
    )


def _alignment(clip: Clip) -> str:
    if clip.mel is None or not clip.found:
        return ""
    legend = '<p class="legend"><span class="true">true start</span><span class="found">found start</span></p>'
    chart = spectrogram(clip.mel, clip.frame_sec, clip.phones, clip.true, clip.found)
    return (
        f'<figure class="alignment"><h3>“{escape(clip.text)}”</h3>{legend}'
        f'<div class="scroll" tabindex="0" role="region" aria-label="spectrogram">{chart}</div>'
        f"<figcaption>{_badge(clip.domain)} {_heard(clip)}</figcaption>"
        "</figure>"
    )


def _maps(maps: Sequence[Points], domains: Sequence[str]) -> str:
    if not maps:
        return ""
    keys = "".join(f'<span class="key c{row}">{escape(name)}</span>' for row, name in enumerate(domains))
    choice = (
        '<fieldset class="choice"><legend>Colour by</legend>'
        '<label><input type="radio" name="colour" id="by-modality" checked>modality</label>'
        '<label><input type="radio" name="colour" id="by-domain">domain</label></fieldset>'
        '<p class="legend modality"><span class="key speech">speech</span><span class="key text">text</span></p>'
        f'<p class="legend domain">{keys}</p>'
    )
    figures = (f"<figure><h3>{escape(points.tap)}</h3>{scatter(points)}</figure>" for points in maps)
    return f'<div class="space">{choice}{_grid("maps", figures)}</div>'


def _answer(answer: Answer) -> str:
    rows = "".join(
        f'<li class="{"right" if hit.right else "other"}"><span class="score">{hit.score:.3f}</span>'
        f"<span>{escape(hit.text)}</span>{_badge(hit.domain)}"
        f'<small title="{escape(hit.path)}">{escape(" · ".join(filter(None, (hit.modality, hit.speaker))))}</small>'
        f"<span>{_heard(hit)}</span></li>"
        for hit in answer.hits
    )
    return (
        f'<article class="answer"><header><span class="kind {escape(answer.modality)}">{escape(answer.modality)}</span>'
        f"<h3>{escape(answer.text)}</h3>{_heard(answer)}</header><ol>{rows}</ol></article>"
    )


def _clip(clip: Clip) -> str:
    return (
        f'<article class="clip"><header>{_badge(clip.domain)} {_made(clip.synthetic)}'
        f"<small>{escape(clip.speaker)} · {clip.seconds:.1f} s</small></header>{_player(clip.flac, clip.text)}"
        f"<dl><dt>said</dt><dd>{escape(clip.text)}</dd>"
        f"<dt>heard</dt><dd>{escape(clip.transcript or '(nothing)')}</dd></dl></article>"
    )


def _badge(domain: str) -> str:
    return f'<span class="badge">{escape(domain)}</span>' if domain else ""


def _made(synthetic: bool) -> str:
    return (
        '<span class="badge synthetic">synthetic speech</span>' if synthetic else '<span class="badge">recording</span>'
    )


def _player(flac: bytes, text: str) -> str:
    data = base64.b64encode(flac).decode()
    return f'<audio controls preload="none" aria-label="{escape(text)}" src="data:audio/flac;base64,{data}"></audio>'


def _heard(item: Clip | Found | Answer) -> str:
    """Player and origin of the sound, when there is one: no audio is shown without saying whether it is synthetic."""
    return f"{_made(item.synthetic)} {_player(item.flac, item.text)}" if item.flac else ""
