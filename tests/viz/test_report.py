"""The report: sections for what is there, none for what is not, one file that needs nothing else."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import numpy as np
import pytest

from bodvcl.cli.report import main
from bodvcl.errors import UserError
from bodvcl.runs.analysis import Analysis, save_analysis
from bodvcl.runs.contents import parse_metrics, read_run
from bodvcl.viz.figures import picture_uri
from bodvcl.viz.report import write_report

VOID = {"meta", "br", "img", "link", "hr", "input"}
NASTY = '<script>alert("x")</script>&\'$title'


class Page(HTMLParser):
    """Checks that elements nest, and collects what a browser would load, ids, texts and descriptions."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.undescribed = 0
        self.feed(text)
        self.close()
        assert self.open == [], f"not closed: {self.open}"

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        assert len(values) == len(attributes), f"attribute given twice in <{tag}>"
        assert not any(name.startswith("on") for name in values)
        self.tags.append(tag)
        self.links += [values[name] or "" for name in ("src", "href", "xlink:href", "data") if name in values]
        if "id" in values:
            self.ids.append(values["id"] or "")
        if tag == "svg" and not values.get("aria-label"):
            self.undescribed += 1
        if tag == "img" and "alt" not in values:
            self.undescribed += 1
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def write_metrics(run: Path, steps: int = 40, **fixed: object) -> None:
    rng = np.random.default_rng(0)
    names = [
        "loss",
        "loss_static",
        "loss_dynamic",
        "loss_pred",
        "static_modes",
        "empty_static",
        "empty_dynamic",
        "lr",
        "clips_per_second",
        "data_wait",
        "grad_norm",
    ]
    lines = [
        json.dumps({"step": step, "epoch": step / 10} | {name: rng.random() for name in names} | fixed)
        for step in range(1, steps + 1)
    ]
    (run / "metrics.jsonl").write_text("\n".join(lines) + "\n")


def write_config(run: Path, mask: str = "smooth") -> None:
    (run / "config.yaml").write_text(
        f"data: '{NASTY.replace(chr(39), chr(39) * 2)}'\nmethod: simclr\ndecouple: bod\nseed: 3\n"
        f"koopman:\n  xi: 0.2\n  mask: {mask}\n  smooth_power: 8\n"
    )


def write_probe(run: Path, semantic: str = "shape", kind: str | None = "static") -> None:
    row = {
        "semantic": semantic,
        "kind": kind,
        "features": "backbone",
        "classes": 2,
        "skipped": None,
        "train": 50,
        "test": 50,
        "chance": 0.5,
        "untrained": 0.62,
        "untrained_low": 0.48,
        "untrained_high": 0.74,
        "pretrained": 0.94,
        "pretrained_low": 0.84,
        "pretrained_high": 0.98,
        "gain": 0.32,
        "gain_margin": 0.15,
    }
    skipped = {
        "semantic": "camera",
        "kind": None,
        "features": "backbone",
        "classes": 1,
        "skipped": "one class",
    }
    streams = [
        row | {"features": name, "pretrained": value} for name, value in (("static", 0.91), ("dynamic", 0.53))
    ]
    (run / "probe.json").write_text(json.dumps({"rows": [row, skipped, *streams]}))


def analysis(frames: int = 6, clips: int = 4, broken: bool = False) -> Analysis:
    rng = np.random.default_rng(0)
    eigenvalues = (rng.normal(size=(clips, frames - 1)) * 0.5 + 0.3j).astype(np.complex64)
    if broken:
        eigenvalues[0] = np.nan
        eigenvalues[1, 0] = 40
    lag = np.linspace(1, 0.4, frames, dtype=np.float32)
    matrix = lag[np.abs(np.subtract.outer(np.arange(frames), np.arange(frames)))]
    modes = np.ones(clips, np.float32)
    weights = rng.random(eigenvalues.shape).astype(np.float32)
    return Analysis(eigenvalues, weights, modes, matrix, lag, lag - 0.1, lag + 0.05)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "20260101-simclr-bod"
    folder.mkdir()
    write_config(folder)
    write_metrics(folder)
    write_probe(folder)
    pictures = np.random.default_rng(0).integers(0, 256, (2, 12, 8, 8, 3)).astype(np.uint8)
    save_analysis(folder / "analysis.npz", analysis(), analysis(), pictures, ["clip one", NASTY])
    (folder / "summary.json").write_text(
        json.dumps(
            {"seconds": 125.4, "steps": 40, "versions": {"torch": "2.11"}, "note": NASTY, "skipped": []}
        )
    )
    return folder


def page(run: Path) -> tuple[str, Page]:
    text = write_report(run).read_text(encoding="utf-8")
    return text, Page(text)


SECTIONS = [
    "headline",
    "probe",
    "losses",
    "spectrum",
    "similarity",
    "health",
    "throughput",
    "examples",
    "summary",
    "configuration",
]


def test_a_full_run_has_every_section_in_order(run: Path) -> None:
    _, parsed = page(run)
    assert [name for name in parsed.ids if name in [*SECTIONS, "problems"]] == SECTIONS
    assert parsed.tags.count("svg") == 12
    assert parsed.tags.count("img") == 2 * 8
    assert parsed.undescribed == 0


def test_numbers_reach_the_page(run: Path) -> None:
    _, parsed = page(run)
    for expected in ("94.0", "62.0", "+32.0", "± 15.0", "91.0", "53.0", "skipped: one class", "2 min 5 s"):
        assert expected in parsed.text
    assert "V-SimCLR + BOD-VCL on" in parsed.text


def test_the_headline_compares_the_first_with_the_last_tenth(run: Path) -> None:
    lines = ({"step": n, "loss_static": n, "clips_per_second": 9, "data_wait": 0.25} for n in range(1, 41))
    (run / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    text, _ = page(run)
    assert "<dt>static loss</dt><dd>38.5<small>from 2.50</small></dd>" in text
    assert "<dt>clips / second</dt><dd>9.00<small>waiting for data 25%</small></dd>" in text


def test_a_filmstrip_goes_from_the_first_to_the_last_frame(run: Path) -> None:
    _, parsed = page(run)
    images = [link for link in parsed.links if link.startswith("data:image/jpeg")]
    pictures = np.random.default_rng(0).integers(0, 256, (2, 12, 8, 8, 3)).astype(np.uint8)
    places = (0, 2, 3, 5, 6, 8, 9, 11)
    assert images == [picture_uri(clip[place]) for clip in pictures for place in places]


@pytest.mark.parametrize("title", ["Clips with an empty stream", "Waiting for data"])
def test_shares_are_drawn_in_percent(run: Path, title: str) -> None:
    text, _ = page(run)
    figure = text.partition(f"<h3>{title}</h3>")[2].partition("</svg>")[0]
    assert re.search(r">\d+%<", figure)


def test_nothing_is_loaded_from_outside(run: Path) -> None:
    text, parsed = page(run)
    assert parsed.links
    assert all(link.startswith(("data:image/", "#")) for link in parsed.links)
    assert not {"script", "link", "iframe", "object", "embed", "base"} & set(parsed.tags)
    assert "@import" not in text
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", text))
    assert "http" not in re.sub(r"base64,[A-Za-z0-9+/=]+", "", text)


def test_references_within_the_page_resolve_and_ids_are_unique(run: Path) -> None:
    text, parsed = page(run)
    assert len(parsed.ids) == len(set(parsed.ids))
    targets = [link[1:] for link in parsed.links if link.startswith("#")]
    targets += re.findall(r"url\(#([^)]*)\)", text)
    assert targets
    assert set(targets) <= set(parsed.ids)


def test_text_from_the_run_is_escaped(run: Path) -> None:
    write_probe(run, semantic=NASTY, kind=NASTY)
    nasty_folder = run.rename(run.with_name("a<b>&\"c'"))
    text, parsed = page(nasty_folder)
    assert "<script" not in text
    assert parsed.text.count(NASTY) >= 6
    assert "a<b>&\"c'" in parsed.text


def test_colours_follow_the_theme(run: Path) -> None:
    text, _ = page(run)
    assert "prefers-color-scheme: dark" in text
    figures = "".join(re.findall(r"<svg.*?</svg>", text, re.DOTALL))
    assert "var(--static)" in figures
    drawn = set(re.findall(r"(?:stroke|fill): (#[0-9a-f]{6})", figures))
    assert drawn <= {"#000000", "#ffffff"}, "only numbers on top of a picture have a colour of their own"


@pytest.mark.parametrize(
    ("missing", "gone"),
    [
        ("probe.json", {"probe"}),
        ("analysis.npz", {"spectrum", "similarity", "examples"}),
        ("metrics.jsonl", {"losses", "health", "throughput"}),
        ("summary.json", {"summary"}),
        ("config.yaml", {"configuration"}),
    ],
)
def test_a_missing_file_costs_its_sections_only(run: Path, missing: str, gone: set[str]) -> None:
    (run / missing).unlink()
    _, parsed = page(run)
    assert {name for name in SECTIONS if name not in parsed.ids} == gone
    assert "problems" not in parsed.ids


@pytest.mark.parametrize(
    "name", ["probe.json", "analysis.npz", "metrics.jsonl", "summary.json", "config.yaml"]
)
def test_a_broken_file_never_stops_the_report(run: Path, name: str) -> None:
    for content in (b"", b"{", b"[1, 2]", b"\xff\xfe\x00", b'{"rows": 3}\n: [', b'{"rows": [7]}'):
        (run / name).write_bytes(content)
        contents = read_run(run)
        assert contents.analysis is None or name != "analysis.npz"
        assert not contents.probe or name != "probe.json"
    page(run)


@pytest.mark.parametrize(
    ("name", "content", "gone"),
    [
        ("probe.json", '{"rows": [{"features": "backbone"}]}', "probe"),
        ("config.yaml", "koopman: 3", "spectrum"),
    ],
)
def test_unexpected_contents_cost_a_section_and_are_named(
    run: Path, name: str, content: str, gone: str
) -> None:
    (run / name).write_text(content)
    _, parsed = page(run)
    assert gone not in parsed.ids
    assert f"section {gone}: " in parsed.text
    assert "losses" in parsed.ids


def test_a_broken_file_is_named(run: Path) -> None:
    (run / "analysis.npz").write_bytes(b"not an archive")
    _, parsed = page(run)
    assert "problems" in parsed.ids
    assert "analysis.npz: " in parsed.text


def test_each_file_alone_is_enough(run: Path, tmp_path: Path) -> None:
    for name in ("probe.json", "analysis.npz", "metrics.jsonl", "summary.json", "config.yaml"):
        alone = tmp_path / f"only-{name}"
        alone.mkdir()
        (alone / name).write_bytes((run / name).read_bytes())
        page(alone)


@pytest.mark.parametrize("mask", ["hard", "smooth"])
def test_mask_contours_only_where_the_mask_is_smooth(run: Path, mask: str) -> None:
    write_config(run, mask)
    _, parsed = page(run)
    assert ("dashed lines" in parsed.text) == (mask == "smooth")


def test_plain_method(run: Path) -> None:
    (run / "metrics.jsonl").write_text(
        "\n".join(json.dumps({"step": s, "loss": 2 / s, "loss_video": 2 / s, "lr": 0.1}) for s in (1, 2, 3))
    )
    text, parsed = page(run)
    assert "loss-contrastive" in text
    assert "loss-pred" not in text
    assert "health" not in parsed.ids


def test_empty_streams_are_told_in_words_where_there_are_none(run: Path) -> None:
    write_metrics(run, empty_static=0.0, empty_dynamic=0.0)
    text, parsed = page(run)
    assert "No clip had an empty static or dynamic stream" in parsed.text
    assert "empty-streams-" not in text


@pytest.mark.parametrize("value", [None, 0.0, -1.0, 1e30, 1e-30, float("nan"), float("inf"), "text", True])
def test_odd_values_in_the_log(tmp_path: Path, value: object) -> None:
    (tmp_path / "metrics.jsonl").write_text(
        "".join(
            json.dumps({"step": step, "loss_static": value, "static_modes": value, "data_wait": value}) + "\n"
            for step in range(3)
        )
    )
    page(tmp_path)


def test_log_is_read_by_step_and_cut_lines_are_passed_over() -> None:
    lines = [
        '{"step": 1, "loss": 3.0, "lr": null}',
        '{"step": 3, "loss": 9.0}',
        '{"step": 2, "loss": NaN, "lr": 0.1}',
        '{"step": 3, "loss": 1.0}',
        "7",
        '{"loss": 4.0}',
        '{"step": 4, "lo',
    ]
    columns = parse_metrics(lines)
    assert columns["step"].tolist() == [1, 2, 3]
    np.testing.assert_array_equal(columns["loss"], [3.0, np.nan, 1.0])
    np.testing.assert_array_equal(columns["lr"], [np.nan, 0.1, np.nan])
    assert parse_metrics([]) == {}
    assert set(parse_metrics(['{"step": 1, "loss": null}'])) == {"step"}


def test_one_step_one_clip_three_frames(run: Path) -> None:
    write_metrics(run, 1)
    save_analysis(
        run / "analysis.npz", analysis(frames=3, clips=1), None, np.zeros((1, 3, 1, 1, 3), np.uint8)
    )
    _, parsed = page(run)
    assert "clip 1" in parsed.text
    assert "Untrained" not in parsed.text


def test_eigenvalues_off_the_picture_are_counted(run: Path) -> None:
    save_analysis(run / "analysis.npz", analysis(broken=True))
    _, parsed = page(run)
    assert "1 of 20 eigenvalues lie outside the picture." in parsed.text


def test_long_clips(run: Path) -> None:
    save_analysis(run / "analysis.npz", analysis(frames=64, clips=100))
    text, _ = page(run)
    assert len(text) < 3_000_000


def test_the_report_is_a_function_of_the_folder(run: Path) -> None:
    first = write_report(run).read_bytes()
    assert write_report(run).read_bytes() == first


def test_matplotlib_settings_are_left_alone(run: Path) -> None:
    before = dict(matplotlib.rcParams)
    write_report(run)
    assert dict(matplotlib.rcParams) == before


def test_written_atomically(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_report(run).write_text("old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(UserError, match=r"cannot write .*report\.html: No space left on device"):
        write_report(run)
    assert (run / "report.html").read_text() == "old"
    assert not [path for path in run.iterdir() if path.name.endswith(".part")]


def test_command_line(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(run)]) == 0
    assert capsys.readouterr().out.strip() == str(run / "report.html")
    assert main([str(tmp_path / "nowhere")]) == 2
    assert "nowhere is not a folder" in capsys.readouterr().err
    empty = tmp_path / "empty"
    empty.mkdir()
    assert main([str(empty)]) == 2
    error = capsys.readouterr().err
    assert "holds no file of a run" in error
    assert error.count("\n") == 1
    assert list(empty.iterdir()) == []
