"""A training that starts from weights, freezes some, stops early, goes on longer, or is ended by a callback."""

import json

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

import dptrain
from dptrain.cli import main
from dptrain.errors import CheckpointError, RunDirectoryError, UsageError
from dptrain.loop import train
from dptrain.workers.parts import first_state, open_parts

pytestmark = pytest.mark.system

#: Two steps per epoch of a network whose kernels other tests compile, too.
SMALL = {"dataset": "shapes32", "samples": 256, "validation": 500, "filters": 4, "batch_size": 128, "shard_size": 32}
QUIET = {"log_format": "quiet", "workers": 0, "hash_every": 1}
FROZEN = ("conv1", "bn1", "layer1")


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """Trained for an epoch on ten classes."""
    return dptrain.fit(**SMALL, **QUIET, epochs=1, runs=tmp_path_factory.mktemp("runs"), name="old")


@pytest.fixture(scope="module")
def flowers(tmp_path_factory):
    """Four classes of 20 pictures each."""
    folder = tmp_path_factory.mktemp("flowers")
    for number, colour in enumerate(np.random.default_rng(0).integers(0, 256, (4, 3))):
        (folder / f"class{number}").mkdir()
        for at in range(20):
            noise = np.random.default_rng(at).integers(-40, 40, (32, 32, 3))
            Image.fromarray((colour + noise).clip(0, 255).astype(np.uint8)).save(
                folder / f"class{number}" / f"{at}.png"
            )
    return folder


def hashes(run):
    """Step -> SHA-256 of the state."""
    lines = (run.path / "hashes.jsonl").read_text().splitlines()
    return {record["step"]: record["sha256"] for record in map(json.loads, lines)}


def by_loop(config):
    """The same, and the last state, by the definition of a run."""
    parts = open_parts(config, "")
    state, found = first_state(parts), {}
    for done in train(*parts, state):
        if done.phase == "train":
            found[state.step] = state.sha256()
    return found, state


def log(run):
    return (run.path / "logs" / "coordinator.log").read_text()


def test_four_classes_are_learned_with_a_frozen_stem_by_any_number_of_workers(old, flowers, tmp_path):
    given = {
        "dataset": f"folder:{flowers}:32x32x3",
        "validation": 16,
        **{name: SMALL[name] for name in ("filters", "shard_size")},
        "batch_size": 32,
        "epochs": 2,
        "classes": 4,
        "freeze": ",".join(FROZEN),
        "lr_scale": {"linear": 10},
        "lr": 0.01,
    }
    runs = [
        dptrain.fit(**given, **QUIET | {"workers": workers}, start=old, runs=tmp_path, name=f"by-{workers}")
        for workers in (0, 2)
    ]
    expected, state = by_loop(runs[0].config)
    assert hashes(runs[0]) == hashes(runs[1]) == expected
    begun = load_file(old.path / "checkpoints" / "best.safetensors")
    views = state.params_layout.views(state.params)
    for name, view in views.items():
        kept = name.split(".")[0] in FROZEN
        assert (view.tobytes() == begun[f"model.{name}"].tobytes()) == kept, name
        assert view.shape == (4, 16) or name != "linear.weight"
    # as in PyTorch: the statistics of a frozen BatchNorm follow the new images, with which training normalises, too
    statistics = state.buffers_layout.views(state.buffers)
    assert not np.array_equal(statistics["bn1.running_mean"], begun["model.bn1.running_mean"])
    assert "drawn anew: linear.weight, linear.bias" in log(runs[0])
    config = runs[0].config
    assert config.training.start_sha256
    mean = [255 * value for value in config.data.mean]
    np.testing.assert_allclose(mean, dptrain.load_data("shapes32").mean, rtol=1e-12)
    assert runs[0].classes == ("class0", "class1", "class2", "class3")


def test_a_started_run_resumes_without_the_file_and_refuses_another(old, tmp_path):
    file = old.export(tmp_path / "old.safetensors")
    given = SMALL | QUIET | {"epochs": 2, "start": file, "runs": tmp_path}
    whole = dptrain.fit(**given, name="whole")
    dptrain.fit(**given, name="part", max_steps=3)
    file.write_bytes(whole.export(tmp_path / "other.safetensors").read_bytes())
    again = dptrain.fit(**given, name="part", resume="auto")  # the same start: its weights are in the checkpoint
    assert hashes(again) == hashes(whole)
    with pytest.raises(UsageError, match=r"start_sha256 = .* but the run .* has start_sha256"):
        dptrain.fit(**given | {"start": tmp_path / "other.safetensors"}, name="part", resume="auto")
    with pytest.raises(UsageError, match=r"start_sha256 = 'a{64}', but "):
        dptrain.fit(**given, name="pinned", start_sha256="a" * 64)


def test_what_start_cannot_take_is_refused_before_a_step_and_nothing_is_left(old, tmp_path):
    for wrong, words in (
        ({"filters": 8}, "conv1.weight has shape"),
        ({"start": "", "anew": "linear"}, r'anew = ."linear". is not used with start = "": leave it out'),
        ({"classes": 4}, "classes = 4, but the data set shapes32 has 10"),
        ({"freeze": "conv9"}, "freeze: the network has no array 'conv9'"),
        ({"start": tmp_path / "none.pt"}, "no such file or run directory"),
        ({"mean": [0.5]}, "give both, with one value per channel"),
        ({"mean": [0.5], "std": [0.5]}, "must have one value per channel, and images of shapes32 have 3"),
        ({"mean": [120, 120, 120], "std": [60, 60, 60]}, "mean = '120,120,120': must be .* from 0 to 1"),
    ):
        with pytest.raises((UsageError, CheckpointError), match=words):
            dptrain.fit(**SMALL | QUIET | {"start": old} | wrong, epochs=1, runs=tmp_path, name="new")
    assert list(tmp_path.iterdir()) == []


def test_a_finished_run_of_one_epoch_becomes_one_of_two_with_its_bits_unless_the_schedule_forbids_it(tmp_path, capsys):
    given = SMALL | QUIET | {"runs": tmp_path, "schedule": "constant"}
    whole = dptrain.fit(**given, epochs=2, name="whole")
    dptrain.fit(**given, epochs=1, name="longer")
    longer = dptrain.fit(epochs=2, resume=tmp_path / "longer", **QUIET)
    assert hashes(longer) == hashes(whole)
    assert longer.test_accuracy == whole.test_accuracy
    assert longer.config.training.epochs == 2
    identities = {json.loads((run.path / "run.json").read_text())["identity"] for run in (whole, longer)}
    assert len(identities) == 1
    assert main(["train", "--resume", str(longer.path), "--workers", "0", "--log-format", "plain"]) == 0
    assert "the run is complete: nothing was left to do" in capsys.readouterr().out
    with pytest.raises(UsageError, match=r"epochs = 1 .* has epochs = 2"):
        dptrain.fit(epochs=1, resume=longer, **QUIET)


def test_cosine_cannot_be_made_longer_and_says_what_to_do(old):
    with pytest.raises(UsageError, match=r"planned for 1, and with schedule cosine .* new run, start=\".*old\"$"):
        dptrain.fit(epochs=2, resume=old, **QUIET)


def test_training_ends_after_so_many_epochs_without_a_better_validation_also_across_a_resume(tmp_path):
    """A learning rate of 1e-12 changes no class: the first validation stays the best."""
    given = SMALL | QUIET | {"runs": tmp_path, "lr": 1e-12, "weight_decay": 0.0, "bn_momentum": 1e-6}
    given |= {"epochs": 9, "patience": 2, "checkpoint_every": 5, "schedule": "constant"}
    whole = dptrain.fit(**given, name="whole")
    expected, state = by_loop(whole.config)
    assert max(expected) == 6
    assert state.tested
    assert hashes(whole) == expected
    assert "no better validation since step 2: the training ends (patience 2)" in log(whole)
    dptrain.fit(**given, name="part", max_steps=5)
    assert hashes(dptrain.fit(resume=tmp_path / "part", **QUIET)) == expected
    assert whole.test_accuracy is not None
    with pytest.raises(RunDirectoryError, match=r'ended by patience after epoch 3; .* start=".*whole"$'):
        dptrain.fit(resume=whole, epochs=12, **QUIET)
    assert whole.config.training.epochs == 9
    with pytest.raises(UsageError, match="patience = 2 counts epochs, and each must be validated"):
        dptrain.fit(**given, eval_every=2)


def test_callbacks_hear_of_steps_and_epochs_and_one_ends_the_training_at_its_step(tmp_path):
    steps, epochs = [], []
    given = SMALL | QUIET | {"epochs": 3, "runs": tmp_path}
    run = dptrain.fit(**given, on_step=steps.append, on_epoch=epochs.append, name="heard")
    records = run.history
    told = [(r["step"], r["train/loss"], r["train/acc"], r["lr"]) for r in records if r["kind"] == "step"]
    assert [(s.step, s.loss, s.accuracy, s.lr) for s in steps] == told
    scored = [(r["step"], r["val/loss"], r["val/acc"], r["best"]) for r in records if "val/acc" in r]
    assert [(e.step, e.validation_loss, e.validation_accuracy, e.best) for e in epochs] == scored
    assert [e.epoch for e in epochs] == [1, 2, 3]

    def end(record):
        return dptrain.STOP if record.step == 3 else None

    ended = dptrain.fit(**given, on_step=end, name="ended")
    assert max(hashes(ended)) == 3
    assert "on_step, step 3 returned STOP" in log(ended)
    unscored = []
    rest = dptrain.fit(resume=ended, on_epoch=unscored.append, **QUIET | {"eval_every": 3})
    assert hashes(rest) == hashes(run)
    assert [(e.epoch, e.validation_accuracy is None) for e in unscored] == [(2, True), (3, False)]


def test_an_error_in_a_callback_reaches_the_caller_and_the_run_can_go_on(tmp_path):
    def broken(record):
        raise ZeroDivisionError(record.epoch)

    given = SMALL | QUIET | {"epochs": 2, "runs": tmp_path, "name": "broken"}
    with pytest.raises(ZeroDivisionError):
        dptrain.fit(**given, on_epoch=broken)
    assert max(hashes(dptrain.fit(**given, resume="auto"))) == 4
