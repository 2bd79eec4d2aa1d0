"""metrics.jsonl and summary.csv: after a resume they are what an uninterrupted run would have written."""

import csv
import io
import json

import pytest

from dptrain.errors import RunDirectoryError
from dptrain.runs.metrics import read, to_csv
from dptrain.runs.recorder import JsonLines


def records(steps, epoch=3):
    """Of a run without interruption: an epoch of `epoch` steps, then its validation; the test at the end."""
    for step in range(1, steps + 1):
        yield {"kind": "step", "step": step, "epoch": (step - 1) // epoch, "train/loss": 1 / step}
        if step % epoch == 0:
            yield {
                "kind": "epoch",
                "step": step,
                "epoch": step // epoch,
                "train/loss": 0.5,
                "train/acc": 0.25,
                "lr": 0.1,
            }
            yield {"kind": "eval", "step": step, "epoch": step // epoch, "val/loss": 0.7, "val/acc": 0.75}
    yield {
        "kind": "eval",
        "step": epoch,
        "epoch": 1,
        "test/loss": 0.6,
        "test/acc": 0.8,
    }  # with the best weights, of step 3


def write(path, some, step=0):
    lines = JsonLines(path, step)
    for record in some:
        lines.write(record)
    lines.close()


@pytest.mark.parametrize("stopped_after", range(17))
@pytest.mark.parametrize("step", [0, 2, 3, 6])
def test_a_resumed_file_equals_an_uninterrupted_one(tmp_path, stopped_after, step):
    whole = list(records(9))
    write(tmp_path / "ref.jsonl", whole)
    path = tmp_path / "comp.jsonl"
    behind = next(at for at, r in enumerate(whole) if r["step"] > step)
    write(path, whole[: max(behind, stopped_after)])  # metrics are never behind a checkpoint
    write(path, whole[behind:], step)
    assert path.read_bytes() == (tmp_path / "ref.jsonl").read_bytes()


@pytest.mark.parametrize("applied", [1, 3, 6, 9])
def test_a_step_that_was_taken_back_and_done_again_stands_there_once(tmp_path, applied):
    whole = list(records(9))
    write(tmp_path / "ref.jsonl", whole)
    lines = JsonLines(tmp_path / "back.jsonl", 0)
    behind = [r for r in whole[:-1] if r["step"] >= applied]
    for record in [r for r in whole[:-1] if r["step"] <= applied]:
        lines.write(record | {"train/loss": -1.0} if record["step"] == applied else record)
    lines.back_to(applied - 1)
    for record in [*behind, whole[-1]]:
        lines.write(record)
    lines.close()
    assert (tmp_path / "back.jsonl").read_bytes() == (tmp_path / "ref.jsonl").read_bytes()


def test_what_was_written_before_the_stop_at_this_very_step_is_not_written_twice(tmp_path):
    whole = list(records(3))
    path = tmp_path / "m.jsonl"
    write(path, whole)
    write(path, whole[-1:], step=3)
    assert read(path) == whole


def test_a_line_cut_short_by_a_crash_is_dropped_and_other_damage_is_reported_with_its_line(tmp_path):
    path = tmp_path / "m.jsonl"
    write(path, list(records(2))[:2])
    with path.open("a") as file:
        file.write('{"kind": "step", "st')
    assert [r["step"] for r in read(path)] == [1, 2]
    write(path, [], step=2)
    assert path.read_text().endswith("}\n")
    path.write_text('{"kind": "step", "step": 1}\n{"kind"}\n{"kind": "step", "step": 3}\n')
    with pytest.raises(RunDirectoryError, match=r"m\.jsonl, line 2 is damaged"):
        read(path)


def test_the_summary_has_one_row_per_epoch_with_errors(tmp_path):
    rows = list(csv.DictReader(io.StringIO(to_csv(records(6)))))
    assert [(r["epoch"], r["val_acc"], r["val_err"], r["test_err"]) for r in rows] == [
        ("1", "0.75", "0.25", "0.2"),
        ("2", "0.75", "0.25", ""),
    ]
    assert rows[0]["train_loss"] == "0.5"


def test_every_line_is_one_json_object(tmp_path):
    path = tmp_path / "m.jsonl"
    write(path, records(4))
    assert [json.loads(line) for line in path.read_text().splitlines()] == list(records(4))
