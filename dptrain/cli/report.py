"""`dptrain report`: one HTML file about a run, with its figures, pictures, settings and machine."""

from __future__ import annotations

import csv
import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from dptrain.api.curves import curve
from dptrain.cli.flags import takes_settings, texts
from dptrain.cli.picture import write
from dptrain.errors import UsageError
from dptrain.recipefile import resolve
from dptrain.runs.directory import read_manifest, stored_config
from dptrain.runs.metrics import Record, read, to_csv

if TYPE_CHECKING:
    from dptrain.api.pictures import Explained
    from dptrain.explain.page import Page

_COUNT = 24  #: mistakes shown


@takes_settings("data_dir", "isa", "networks")
def report(
    run: Annotated[Path, Parameter(help="run directory")],
    /,
    *,
    out: Annotated[Path | None, Parameter(["--out", "-o"], help="file [RUN/report.html]")] = None,
    split: Annotated[Literal["test", "validation"], Parameter(help="samples that are looked at")] = "test",
    **flags: str | bool,
) -> int:
    """Write one HTML file that needs no other: result, curves, confusion, mistakes, saliency, fooling, filters."""
    file = out or run / "report.html"
    if file.suffix.lower() not in (".html", ".htm") or file.is_dir():
        raise UsageError(f"{file}: the report is one .html file")
    stored_config(run)  # is it a run directory at all?
    deployment = resolve(environ=os.environ, flags=texts(flags)).deployment
    os.environ["DPTRAIN_ISA"] = deployment.isa
    from dptrain.explain.drawing import looks
    from dptrain.explain.page import Page

    with looks():  # without matplotlib: say so before the network is scored
        from dptrain.api.pictures import open_explained  # imports Numba: only now is the ISA known
        from dptrain.api.trained import load_trained  # the same

    trained = load_trained(run, deployment.networks)
    sys.stderr.write(f"scoring the {split} samples, fooling the network, drawing; a moment\n")
    explained = open_explained(trained, deployment.data_dir, deployment.networks)
    records = read(run / "metrics.jsonl")
    facts = explained.trained.facts
    page = Page(f"Run {run.resolve().name}", f"{facts.model} on {facts.data.name}. Identity {facts.identity}")
    _result(page, explained, records)
    _curves(page, run, records)
    _classes(page, explained, split)
    _pictures(page, explained, split)
    _origin(page, run)
    write(file, page.html())
    sys.stdout.write(f"{file}\n")
    return 0


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
    facts.append(("samples", f"{data.train:,} train, {data.validation:,} validation, {data.test:,} test"))
    facts.append(("steps", f"batch {training.batch_size}, shards of {training.shard_size}"))
    page.facts(facts)


def _curves(page: Page, run: Path, records: list[Record]) -> None:
    from dptrain.explain.curves import draw_curves, usual_window
    from dptrain.explain.table import Table

    page.section("Training")
    drawn = curve(run, run.resolve().name)
    if drawn.loss:
        page.picture(draw_curves([drawn], usual_window([drawn])), "loss by step, error by epoch")
    heads, *rows = csv.reader(io.StringIO(to_csv(records)))
    used = [at for at, head in enumerate(heads) if any(row[at] for row in rows) and not head.startswith("test_")]
    if rows:
        page.table(Table([heads[at] for at in used], [[_short(row[at]) for at in used] for row in rows]))


def _short(cell: str) -> str:
    """Figures of a run have more digits than a page has room for."""
    return f"{float(cell):.5g}" if "." in cell else cell


def _classes(page: Page, explained: Explained, split: str) -> None:
    from dptrain.api import pictures

    drawn, classes = pictures.confusion(explained, split)
    page.section("Confusion", f"{split.capitalize()} samples: a row a true class, a column a guess.")
    page.picture(drawn, "confusion matrix")
    page.table(classes)
    mistakes = pictures.misclassified(explained, split, _COUNT)
    if mistakes is None:
        page.section("Mistakes", f"None: every one of the {split} samples is taken for what it is.")
    else:
        page.section("Mistakes")
        page.picture(mistakes, "misclassified images")


def _pictures(page: Page, explained: Explained, split: str) -> None:
    from dptrain.api import pictures
    from dptrain.api.fooling import Fooling

    maps = pictures.saliency(explained, split, 6)
    if maps is not None:
        page.section("Saliency", "Which pixels the score of the true class depends on, by the image that is shown.")
        page.picture(maps, "saliency maps")
        drawn, verdict = pictures.fooled(explained, split, Fooling(count=20, show=3))
        page.section("Fooling", f"Images changed until they are taken for the next class. {verdict}.")
        page.picture(drawn, "image, change, fooling image")
    if any(len(spec.shape) == 4 for spec in explained.trained.model.params.specs):
        page.section("First layer")
        page.picture(pictures.filters(explained.trained.path), "filters of the first convolution")


def _origin(page: Page, run: Path) -> None:
    from dptrain.explain.table import Table

    page.section("Settings")
    page.verbatim((run / "config.toml").read_text(encoding="utf-8"))
    page.section("Starts")
    rows = [
        [str(s.get("term", "")), _told(s, "time"), _told(s, "host"), _cpu(s), _code(s)]
        for s in read_manifest(run)["starts"]
    ]
    page.table(Table(("term", "time", "host", "CPU", "code"), rows))


def _told(start: dict[str, Any], key: str) -> str:
    return str(start.get(key, ""))


def _cpu(start: dict[str, Any]) -> str:
    cpu = start.get("cpu", {})
    return f"{cpu.get('model', '')}, {cpu.get('usable', '?')} of {cpu.get('count', '?')} cores"


def _code(start: dict[str, Any]) -> str:
    versions = start.get("versions", {})
    return (
        f"dptrain {versions.get('dptrain', '')} {_told(start, 'git')[:12]}, numba {versions.get('numba', '')}".strip()
    )
