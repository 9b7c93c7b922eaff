"""The page is checked as a browser would read it: well-formed, whole in itself, every figure and sound inside."""

import base64
import io
import re
import struct
import xml.etree.ElementTree as ElementTree
import zlib
from html.parser import HTMLParser

import numpy as np
import pytest

from antiphon.analysis.chart import Points, line_chart, number, png, ticks
from antiphon.analysis.report import Answer, Bar, Card, Clip, Found, Report, Table, render
from antiphon.audio.waveform import encode_flac

VOID = {"meta", "br", "input", "link", "img", "hr"}
DOMAINS = ("read", "meeting", "phone", "talk", "clips")
TEXTS = ("the harbour lights <went> out", "please hold & wait", "we meet again on monday", 'she said "seven"')


class Page(HTMLParser):
    """Collects tags and their attributes and refuses tags that do not close."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)
        assert self.open == [], f"left open: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def tone(seconds: float, rate: int = 16_000) -> bytes:
    time = np.arange(int(seconds * rate)) / rate
    return encode_flac((0.2 * np.sin(2 * np.pi * 330 * time)).astype(np.float32), rate)


def example(seed: int = 0) -> Report:
    """A report of invented figures, with every part filled."""
    rng = np.random.default_rng(seed)
    steps = range(20, 620, 20)
    ledger = [
        {
            "step": step,
            "loss": 4.0 * np.exp(-step / 150) + 0.8 + 0.05 * rng.normal(),
            "parts": {
                name: scale * np.exp(-step / 180) + 0.3 + 0.02 * rng.normal()
                for name, scale in (
                    ("wordpiece_rnnt", 3.0),
                    ("phone_rnnt", 2.0),
                    ("consistency", 1.0),
                    ("duration", 0.5),
                    ("contrastive", 2.5),
                )
            },
            "time": {"audio_sec_per_sec": 150 + 10 * rng.normal()},
        }
        for step in steps
    ]
    ledger.insert(3, {"step": 81, "refused": ["a"]})
    return Report(
        title="Antiphon quickstart",
        lead="Speech and text in one space: 2.1 hours of synthetic speech in five domains, 600 steps on 2 cores.",
        cards=(
            Card(name="Speech finds its text", value="0.96", note="R@1 of 200, chance 0.005"),
            Card(name="Word error rate", value="28.4 %", note="mean of five domains, greedy"),
            Card(name="Boundary error", value="20 ms", note="median; 90th percentile 60 ms"),
            Card(name="Wall time", value="8:12", note="min:s on 2 cores"),
        ),
        results=(
            Table(
                name="Recognition by domain",
                header=("domain", "WER", "PER", "utterances"),
                rows=tuple(
                    (name, Bar(text=f"{20 + 4 * row:.1f} %", share=0.2 + 0.04 * row), f"{12 + row:.1f} %", "80")
                    for row, name in enumerate(DOMAINS)
                ),
                note="Greedy decoding, normaliser 1, unseen sentences and speakers.",
            ),
            Table(
                name="Retrieval by tap",
                header=("tap", "speech → text", "text → speech", "chance"),
                rows=(
                    ("shared", Bar(text="0.96", share=0.96), Bar(text="0.95", share=0.95), "0.005"),
                    ("modal", Bar(text="0.88", share=0.88), Bar(text="0.84", share=0.84), "0.005"),
                ),
            ),
        ),
        ledger=ledger,
        clips=tuple(clip(rng, row) for row in range(4)),
        maps=tuple(points(rng, tap, gap) for tap, gap in (("speech", 1.5), ("text", 1.5), ("shared", 0.1))),
        answers=(
            Answer(modality="text", text=TEXTS[0], hits=tuple(hit(row, "speech") for row in range(4))),
            Answer(
                modality="speech",
                text=TEXTS[1],
                hits=tuple(hit(row, "text") for row in range(4)),
                flac=tone(0.3),
                synthetic=True,
            ),
        ),
        origin=(
            Table(name="Time by stage", header=("stage", "seconds"), rows=(("ingest", "40.1"), ("train", "320.0"))),
        ),
    )


def clip(rng: np.random.Generator, row: int) -> Clip:
    phones = ("DH", "AH", "HH", "AA", "R", "B", "ER", "L", "AY", "T", "S", "W", "EH", "N", "T", "AW", "T")
    starts = np.cumsum(rng.uniform(0.05, 0.16, len(phones)))
    mel = rng.normal(-1, 0.3, (int(starts[-1] * 100) + 20, 80)).astype(np.float32)
    for number_of_phone, start in enumerate(starts):
        mel[int(start * 100) : int(start * 100) + 9, (number_of_phone * 7) % 60 : (number_of_phone * 7) % 60 + 14] += (
            2.0
        )
    return Clip(
        key=f"k{row}",
        text=TEXTS[row],
        transcript=TEXTS[row][:-3],
        speaker=f"voice-{row}",
        domain=DOMAINS[row],
        seconds=len(mel) / 100,
        flac=tone(0.4),
        synthetic=row != 3,
        mel=mel if row < 2 else None,
        phones=phones,
        true=tuple(zip(starts, [*starts[1:], starts[-1] + 0.1], strict=True)),
        found=tuple(np.round(starts / 0.04) * 0.04),
    )


def points(rng: np.random.Generator, tap: str, gap: float) -> Points:
    centres = rng.normal(0, 4, (60, 2))
    xy = np.concatenate([centres, centres + rng.normal(0, gap, (60, 2)) + gap])
    return Points(
        tap=tap,
        xy=xy,
        modality=("speech",) * 60 + ("text",) * 60,
        domain=tuple(DOMAINS[row % 5] for row in range(60)) * 2,
        label=tuple(TEXTS[row % 4] for row in range(120)),
        pair=(*range(60, 120), *range(60)),
    )


def hit(row: int, modality: str) -> Found:
    speaker = f"voice-{row}" if modality == "speech" else ""
    flac = tone(0.2) if modality == "speech" else b""
    return Found(
        score=0.9 - row / 7,
        modality=modality,
        text=TEXTS[row],
        speaker=speaker,
        domain=DOMAINS[row],
        path="shard.tar",
        right=row == 0,
        flac=flac,
        synthetic=True,
    )


def test_the_page_is_well_formed_and_loads_nothing() -> None:
    html = render(example())
    page = Page(html)
    links = [
        value or "" for _, attributes in page.tags for name, value in attributes.items() if name in ("src", "href")
    ]
    assert links
    assert all(link.startswith(("data:", "#")) for link in links)
    assert not re.search(r"https?:|//cdn|@import|url\(", html)
    anchors = {attributes.get("id") for _, attributes in page.tags}
    assert all(link[1:] in anchors for link in links if link.startswith("#"))


def test_every_sound_and_image_decodes() -> None:
    html = render(example())
    sounds = re.findall(r'src="data:audio/flac;base64,([^"]+)"', html)
    assert len(sounds) == 4 + 2 + 4 + 1  # clips, alignments, hits, the spoken query
    assert all(base64.b64decode(sound)[:4] == b"fLaC" for sound in sounds)
    assert len(re.findall(r"data:image/png;base64,", html)) == 2


def test_synthetic_speech_is_labelled_wherever_it_is_shown() -> None:
    page = Page(render(example()))
    words = [word for word in page.words if word in ("synthetic speech", "recording")]
    assert words.count("synthetic speech") == 3 + 2 + 4 + 1  # clips, alignments, hits, the spoken query
    assert words.count("recording") == 1


def test_text_of_a_corpus_cannot_break_the_page() -> None:
    page = Page(render(example()))
    assert any("<went>" in word for word in page.words)
    assert "went" not in {tag for tag, _ in page.tags}


def test_every_svg_is_well_formed_and_says_what_it_shows() -> None:
    charts = re.findall(r"<svg.*?</svg>", render(example()), flags=re.DOTALL)
    assert len(charts) == 7 + 2 + 3  # curves, alignments, maps
    for chart in charts:
        root = ElementTree.fromstring(chart)
        assert root.find("title") is not None
        assert root.attrib["role"] == "img"


def test_what_is_missing_is_left_out() -> None:
    empty = Report(title="t", lead="", cards=(), results=(), ledger=(), clips=(), maps=(), answers=(), origin=())
    page = Page(render(empty))
    assert "section" not in {tag for tag, _ in page.tags}


def test_png_holds_the_pixels_upside_down() -> None:
    mel = np.zeros((3, 2), dtype=np.float32)
    mel[1, 1] = 1.0  # frame 1, the upper bin
    data = png(mel)
    width, height = struct.unpack(">II", data[16:24])
    start = data.index(b"IDAT") + 4
    pixels = zlib.decompressobj().decompress(data[start:])
    assert (width, height) == (3, 2)
    assert pixels[:4] == bytes([0, 0, 255, 0])  # first row of the picture: filter byte, then the upper bin over time
    assert pixels[4:] == bytes(4)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-3.0, 7.2), (0.0, 1234.0), (5.0, 5.0), (0.0, 3e-4)])
def test_ticks_enclose_and_are_evenly_spaced(low: float, high: float) -> None:
    found = ticks(low, high, 4)
    assert found[0] <= low + 1e-9
    assert found[-1] >= high - 1e-9
    assert len(found) <= 7
    assert np.allclose(np.diff(found), found[1] - found[0] if len(found) > 1 else 0)


def test_line_chart_places_values_in_order() -> None:
    chart = line_chart("loss", {"loss": [(0, 4.0), (10, 2.0), (20, float("nan")), (30, 1.0)]}, "step")
    points_drawn = re.search(r'<polyline[^>]*points="([^"]+)"', chart)
    assert points_drawn is not None
    places = [tuple(map(float, point.split(","))) for point in points_drawn.group(1).split()]
    assert len(places) == 3
    assert [x for x, _ in places] == sorted(x for x, _ in places)
    assert [y for _, y in places] == sorted(y for _, y in places)  # falling loss: growing y on the screen


def test_numbers_are_short() -> None:
    assert [number(value) for value in (0.0, 0.25, 12.0, 1200.0)] == ["0", "0.25", "12", "1.2k"]


def test_flac_of_the_example_is_a_sound() -> None:
    import soundfile

    samples, rate = soundfile.read(io.BytesIO(tone(0.1)))
    assert rate == 16_000
    assert np.abs(samples).max() == pytest.approx(0.2, abs=0.01)
