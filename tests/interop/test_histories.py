"""The predecessors' CSV histories: PyFunt's files are read, ours have the same bytes, damage names file and line."""

import numpy as np
import pytest

from dptrain.errors import DataError
from dptrain.interop.histories import Histories, from_records, read_histories, write_histories


def as_pyfunt_wrote_them(folder, losses, train, validation, batch):
    """`export_histories` of PyFunt, in its words: np.savetxt with these formats and heads."""
    i = np.arange(len(losses)) + 1
    rows = np.array(list(zip(i, i * batch, losses, strict=True)))
    np.savetxt(
        folder / "loss_history.csv", rows, delimiter=",", fmt=["%d", "%d", "%f"], header="iteration, n_images, loss"
    )
    for name, values in (("train_acc", train), ("val_acc", validation)):
        rows = np.array(list(enumerate(values)))
        np.savetxt(folder / f"{name}_history.csv", rows, delimiter=",", fmt=["%d", "%f"], header=f"epoch, {name}")


def test_pyfunts_files_are_read(tmp_path):
    as_pyfunt_wrote_them(tmp_path, [2.3, 2.25], [0.1, 0.5], [0.1, 0.4], 64)
    assert read_histories(tmp_path) == Histories(
        loss=[(1, 64, 2.3), (2, 128, 2.25)], train=[(0, 0.1), (1, 0.5)], validation=[(0, 0.1), (1, 0.4)]
    )


def test_written_histories_have_pyfunts_bytes(tmp_path):
    (tmp_path / "theirs").mkdir()
    as_pyfunt_wrote_them(tmp_path / "theirs", [2.3, 2.25], [0.1, 0.5], [0.1, 0.4], 64)
    write_histories(read_histories(tmp_path / "theirs"), tmp_path / "ours")
    for name in ("loss_history.csv", "train_acc_history.csv", "val_acc_history.csv"):
        assert (tmp_path / "ours" / name).read_bytes() == (tmp_path / "theirs" / name).read_bytes()


def test_each_table_is_also_written_as_npy_without_rounding(tmp_path):
    write_histories(Histories([(1, 64, 1 / 3), (2, 128, 2.25)], [(0, 1 / 7)], []), tmp_path)
    assert np.load(tmp_path / "loss_history.npy").tolist() == [[1, 64, 1 / 3], [2, 128, 2.25]]
    assert np.load(tmp_path / "train_acc_history.npy").tolist() == [[0, 1 / 7]]
    empty = np.load(tmp_path / "val_acc_history.npy")
    assert (empty.shape, empty.dtype) == ((0, 2), np.float64)


def test_a_runs_records_become_histories_and_a_loss_that_was_not_finite_is_left_out():
    records = [
        {"kind": "step", "step": 1, "epoch": 1, "train/loss": 2.0, "train/acc": 0.1},
        {"kind": "step", "step": 2, "epoch": 1, "train/loss": None, "train/acc": 0.1},
        {"kind": "epoch", "step": 2, "epoch": 1, "train/loss": 2.0, "train/acc": 0.25},
        {"kind": "eval", "step": 2, "epoch": 1, "val/loss": 2.0, "val/acc": 0.5},
        {"kind": "eval", "step": 2, "epoch": 1, "test/loss": 2.0, "test/acc": 0.75},
    ]
    assert from_records(records, 32) == Histories([(1, 32, 2.0)], [(1, 0.25)], [(1, 0.5)])
    without = [r for r in records if "val/acc" not in r]
    assert from_records(without, 32).validation == [(1, 0.75)]


@pytest.mark.parametrize(("line", "message"), [("1,2", "line 2: 2 columns"), ("1,x,3", "line 2: could not convert")])
def test_a_damaged_line_is_named(tmp_path, line, message):
    (tmp_path / "loss_history.csv").write_text(f"# iteration, n_images, loss\n{line}\n")
    with pytest.raises(DataError, match=message):
        read_histories(tmp_path)


def test_a_folder_without_histories_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"none of loss_history\.csv"):
        read_histories(tmp_path)
