"""The HTML report: complete, offline, accessible."""

import base64
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from warmstart.errors import UnsupportedError
from warmstart.evaluation import html_report
from warmstart.evaluation.compare import Resampling, compare
from warmstart.evaluation.comparison import Comparison, Timing
from warmstart.evaluation.evaluate import evaluate
from warmstart.evaluation.html_report import render_report, write_report
from warmstart.evaluation.simulation_quality import simulation_quality


@pytest.fixture(scope="module")
def comparison(split, scorers):
    reports = [
        evaluate(scorers["good"], split),
        evaluate(scorers["noisy"], split, seed=1),
        evaluate(scorers["noisy"], split, seed=2),
        evaluate(scorers["chance"], split, is_control=True),
        evaluate(scorers["warm_only"], split),
    ]
    simulated = simulation_quality(split.cold_test, split.cold_test, split.train)
    return compare(
        reports,
        against="good",
        timings=[Timing("good", "fit", 1.25)],
        simulations={"good": simulated},
        resampling=Resampling(n_resamples=100),
    )


@pytest.fixture(scope="module")
def page(comparison):
    return render_report(comparison)


class Reader(HTMLParser):
    """Collects images, text, tags, open tags, and the attributes that load something."""

    def __init__(self):
        super().__init__()
        self.images, self.loads, self.tags, self.text = [], [], [], []
        self.open = []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append(tag)
        if tag not in {"meta", "img", "br", "link"}:
            self.open.append(tag)
        if tag == "img":
            self.images.append(attributes)
        self.loads += [value for name, value in attrs if name in {"src", "href", "srcset"}]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def read(page):
    reader = Reader()
    reader.feed(page)
    return reader


def test_the_page_is_well_formed_and_loads_nothing(read, page):
    assert read.open == []
    assert read.loads
    assert all(address.startswith("data:image/svg+xml;base64,") for address in read.loads)
    assert not {"script", "link", "iframe"} & set(read.tags)
    assert "http" not in re.sub(r"base64,[A-Za-z0-9+/=]+", "", page)
    assert "url(" not in page
    assert "@import" not in page


def test_every_plot_is_drawn_described_and_loads_nothing(read):
    # By slice 6, trade-off 1, calibration 5 runs, by user 6, by item 3.
    assert len(read.images) == 21
    for image in read.images:
        svg = base64.b64decode(image["src"].partition(",")[2]).decode()
        assert svg.rstrip().endswith("</svg>")
        assert re.findall(r'href="([^#"][^"]*)"', svg) == []
        assert re.search(r"\d\.\d{3}", image["alt"]), image["alt"]


def test_numbers_of_the_comparison_are_on_the_page(read, comparison):
    text = " ".join(" ".join(read.text).split())
    for row in comparison.summary:
        assert f"{row.value:.4f}" in text
        assert f"[{row.low:.4f}, {row.high:.4f}]" in text
    for difference in comparison.differences:
        assert f"{difference.value:.4f}" in text


def test_protocol_and_known_defects_are_printed(read, comparison):
    text = " ".join(" ".join(read.text).split())
    for fact in (
        "random-cold, test part",
        "all: every known positive",
        "users with a cold and a warm positive",
        comparison.data.split_hash,
        comparison.data.hash,
    ):
        assert fact in text
    assert comparison.data.defects
    for defect in comparison.data.defects:
        assert defect in text
    for part in ("Differences from good", "1: 0.", "fit 1.2", "most_active", "user-macro recall"):
        assert part in text


def test_controls_are_marked_and_the_best_is_no_control(page):
    assert re.search(r'chance <span class="control">control</span>', page)
    assert not re.search(r"noisy <span", page)
    rows = re.findall(r'<tr><th scope="row">(\w+).*?</tr>', page, flags=re.DOTALL)
    assert set(rows) >= {"good", "noisy", "chance", "warm_only"}
    best = [row for row in re.findall(r"<tr><th.*?</tr>", page, re.DOTALL) if 'class="best"' in row]
    assert best
    assert not any("chance" in row for row in best)


def test_equal_methods_are_both_the_best(split, scorers):
    twin = replace(scorers["good"], name="twin")
    reports = [evaluate(model, split) for model in (scorers["good"], twin, scorers["noisy"])]
    best = html_report._best(compare(reports, resampling=Resampling(n_resamples=100)))
    assert best["warm", "ndcg@20"] == {"good", "twin"}


@pytest.mark.parametrize("metric", ["recall@20", "recall@3"])
def test_a_slice_with_few_candidates_has_no_best_method(split, scorers, metric):
    candidates = len(split.cold_candidates["test"])
    assert 6 < candidates < 40
    reports = [evaluate(scorers[name], split, metrics=[metric]) for name in ("good", "noisy")]
    table = compare(reports, resampling=Resampling(n_resamples=100))
    few = metric == "recall@20"
    assert table.few_candidates == ({"cold": candidates} if few else {})
    assert (("cold", metric) in html_report._best(table)) is not few
    for text in (render_report(table), table.text()):
        assert (f"has only {candidates} candidates" in " ".join(text.split())) is few


def test_the_page_fits_a_phone(page):
    assert 'name="viewport" content="width=device-width' in page
    tables = page.count("<table>")
    assert tables > 4
    assert page.count('<div class="scroll" role="region" aria-label=') == tables


@pytest.fixture(scope="module")
def small(split, scorers):
    """One method, slice and metric; the method's name needs HTML escaping."""
    model = replace(scorers["good"], name="<b>&")
    evaluated = evaluate(model, split, metrics=("mrr@5",), slices=("warm",))
    return compare([evaluated], resampling=Resampling(n_resamples=50))


def test_names_are_escaped(small):
    page = render_report(small)
    assert "&lt;b&gt;&amp;" in page
    assert "<b>" not in page


def test_the_same_comparison_gives_the_same_page_also_from_json(small, tmp_path):
    again = Comparison.from_json(small.to_json())
    path = write_report(again, tmp_path / "report.html")
    assert path.read_text(encoding="utf-8") == render_report(small)


def test_a_missing_extra_is_named(comparison, monkeypatch):
    monkeypatch.setattr(html_report, "find_spec", lambda name: None)
    with pytest.raises(UnsupportedError, match=r"warmstart\[report\]"):
        render_report(comparison)


def test_plots_are_imported_only_when_a_report_is_written():
    code = (
        "import sys, warmstart.evaluation.html_report, warmstart.evaluation.compare\n"
        "sys.exit(any(name in sys.modules for name in ('matplotlib', 'jinja2')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
