"""One HTML page about a run: result, curves, confusion, mistakes, saliency, fooling, filters, settings, machine."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from dptrain.api import pictures
from dptrain.api.curves import curve
from dptrain.api.fooling import Fooling
from dptrain.api.pictures import Explained
from dptrain.explain.curves import draw_curves, usual_window
from dptrain.explain.page import Page
from dptrain.explain.table import Table
from dptrain.runs.directory import read_manifest
from dptrain.runs.metrics import Record, read, to_csv

_MISTAKES = 24  #: images shown


def report(run: Path, explained: Explained, split: str) -> bytes:
    """The page, as HTML that needs no other file. `split`: the images that are looked at."""
    records = read(run / "metrics.jsonl")
    facts = explained.trained.facts
    page = Page(f"Run {run.resolve().name}", f"{facts.model} on {facts.data.name}. Identity {facts.identity}")
    _result(page, explained, records)
    _curves(page, run, records)
    _classes(page, explained, split)
    _pictures(page, explained, split)
    _origin(page, run)
    return page.html()


def _result(page: Page, explained: Explained, records: list[Record]) -> None:
    data, training = explained.trained.facts.data, explained.trained.facts.config.training
    page.section("Result")
    facts = [("weights of step", f"{explained.trained.step:,}")]
    tested = [r for r in records if "test/acc" in r]
    validated = [r["val/acc"] for r in records if "val/acc" in r]
    if tested:
        facts = [
            ("test accuracy", f"{tested[-1]['test/acc']:.4f}"),
            ("test error", f"{100 * (1 - tested[-1]['test/acc']):.2f} %"),
            ("top 5", f"{tested[-1]['test/top5']:.4f}"),
            *facts,
        ]
    else:
        facts.append(("run", "not finished"))
    if validated:
        facts.append(("best validation accuracy", f"{max(validated):.4f}"))
    facts.append(("images", f"{data.train:,} train, {data.validation:,} validation, {data.test:,} test"))
    facts.append(("steps", f"batch {training.batch_size}, shards of {training.shard_size}"))
    page.facts(facts)


def _curves(page: Page, run: Path, records: list[Record]) -> None:
    page.section("Training")
    drawn = curve(run, run.resolve().name)
    if drawn.loss:
        page.picture(draw_curves([drawn], usual_window([drawn])), "loss by step, error by epoch")
    heads, *rows = csv.reader(io.StringIO(to_csv(records)))
    used = [at for at, head in enumerate(heads) if any(row[at] for row in rows) and not head.startswith("test_")]
    if rows:
        page.table(Table([heads[at] for at in used], [[_short(row[at]) for at in used] for row in rows]))


def _short(cell: str) -> str:
    """A number with as many digits as a page has room for."""
    return f"{float(cell):.5g}" if "." in cell else cell


def _classes(page: Page, explained: Explained, split: str) -> None:
    drawn, classes = pictures.confusion(explained, split)
    page.section("Confusion", f"{split.capitalize()} images: one row per true class, one column per guess.")
    page.picture(drawn, "confusion matrix")
    page.table(classes)
    mistakes = pictures.misclassified(explained, split, _MISTAKES)
    if mistakes is None:
        page.section("Mistakes", f"None: all {split} images are classified right.")
    else:
        page.section("Mistakes")
        page.picture(mistakes, "misclassified images")


def _pictures(page: Page, explained: Explained, split: str) -> None:
    maps = pictures.saliency(explained, split, 6)
    if maps is not None:
        page.section("Saliency", "The pixels on which the score of the true class depends, of the image that is shown.")
        page.picture(maps, "saliency maps")
        drawn, verdict = pictures.fooled(explained, split, Fooling(count=20, show=3))
        page.section("Fooling", f"Images changed until the network takes them for the next class. {verdict}.")
        page.picture(drawn, "image, change, fooling image")
    if any(len(spec.shape) == 4 for spec in explained.trained.model.params.specs):
        page.section("First layer")
        page.picture(pictures.filters(explained.trained.path), "filters of the first convolution")


def _origin(page: Page, run: Path) -> None:
    page.section("Settings")
    page.verbatim((run / "config.toml").read_text(encoding="utf-8"))
    page.section("Starts")
    rows = [
        [str(s.get("term", "")), _field(s, "time"), _field(s, "host"), _cpu(s), _code(s)]
        for s in read_manifest(run)["starts"]
    ]
    page.table(Table(("term", "time", "host", "CPU", "code"), rows))


def _field(start: dict[str, Any], key: str) -> str:
    return str(start.get(key, ""))


def _cpu(start: dict[str, Any]) -> str:
    cpu = start.get("cpu", {})
    return f"{cpu.get('model', '')}, {cpu.get('usable', '?')} of {cpu.get('count', '?')} cores"


def _code(start: dict[str, Any]) -> str:
    versions = start.get("versions", {})
    return (
        f"dptrain {versions.get('dptrain', '')} {_field(start, 'git')[:12]}, numba {versions.get('numba', '')}".strip()
    )
