"""Users' mistakes, typed into a real process: one line with the cause and the remedy, the exit code, no files left."""

import gzip
import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from dptrain.cli import main
from dptrain.nn import build as build_network
from dptrain.nn import initial_buffers, initial_params
from dptrain.recipefile import to_toml
from dptrain.runs import directory
from dptrain.runs.checkpoint import pack
from dptrain.runs.manifest import DataFacts, RunFacts
from dptrain.runs.metrics import hash_record
from dptrain.runs.recorder import JsonLines
from dptrain.settings import build
from dptrain.state import TrainingState, layout_digest

USAGE, CONFIGURATION = 64, 78


def is_one_line(err):
    return err.startswith("dptrain: error: ") and err.count("\n") == 1 and err.endswith("\n")


CASES = [
    (["train", "--batchsize", "3"], USAGE, "Unknown option: --batchsize. Did you mean --batch-size?"),
    (["trian"], USAGE, 'Unknown command "trian". Did you mean "train"?'),
    (["train", "--learning-rate", "0.1"], USAGE, "Unknown option: --learning-rate. Did you mean --lr?"),
    (["check", "--learning_rate=0.1"], USAGE, "Unknown option: --learning_rate. Did you mean --lr?"),
    (["train", "-n", "3"], USAGE, "-n is not a flag: use --n (blocks per stage) or --workers"),
    (["train", "-n3"], USAGE, "-n is not a flag: use --n (blocks per stage) or --workers"),
    (["train", "fashion-quick"], USAGE, "did you mean --recipe fashion-quick?"),
    (["train", "fashion-mini"], USAGE, "did you mean --dataset fashion-mini?"),
    (["train", "mnist"], USAGE, "did you mean --recipe mnist or --dataset mnist?"),
    (
        ["check", "folder:pets"],
        USAGE,
        "check does not take the word 'folder:pets': did you mean --dataset folder:pets?",
    ),
    (["train", "quickly"], USAGE, "train does not take the word 'quickly'; see `dptrain train --help`"),
    (["history", "a", "mnist"], USAGE, "history does not take the word 'mnist'; see `dptrain history --help`"),
    (["train", "--lr"], USAGE, "--lr requires an argument"),
    (["train", "--lr", "1", "--lr", "2"], USAGE, "--lr specified multiple times"),
    (["eval", "--split", "dev", "x"], USAGE, "--split"),
    (["verify", "a"], USAGE, "verify needs RUN_B: run directory; see `dptrain verify --help`"),
    (["train", "--lr", "quick"], CONFIGURATION, "--lr: lr = 'quick': must be a number above 0 and at most 100"),
    (["train", "--batch-size", "100"], CONFIGURATION, "batch_size = 100 is not a multiple of shard_size = 32"),
    (
        ["train", "--recipe", "fashion"],
        CONFIGURATION,
        "unknown recipe 'fashion'; did you mean fashion-quick? `dptrain recipes --all` lists all",
    ),
    (["train", "--recipe", "qqq"], CONFIGURATION, "unknown recipe 'qqq'; `dptrain recipes --all` lists all"),
    (
        ["train", "--recipe", "bad.toml"],
        CONFIGURATION,
        "bad.toml: unknown key 'batchsize' in [training]; did you mean batch_size?",
    ),
    (["train", "--epochs", "-3"], CONFIGURATION, "--epochs: epochs = '-3': must be a whole number from 1 to 100000"),
    (["train", "--lr", "nan"], CONFIGURATION, "--lr: lr = 'nan': must be a number above 0 and at most 100"),
    (["train", "--name", "../up"], CONFIGURATION, "--name: name = '../up': must be a directory name of letters"),
    (["train", "--isa", "avx"], CONFIGURATION, "--isa: isa = 'avx': must be one of auto, avx512, avx2, portable"),
    (
        ["train", "--workers", "0", "--bind", "tcp://127.0.0.1:0"],
        CONFIGURATION,
        "workers = 0 trains inside this process",
    ),
    (["train", "--resume", "runs/typo"], CONFIGURATION, "--resume runs/typo: no such directory"),
    (["doctor", "--connect", "here"], CONFIGURATION, "--connect here: must be tcp://HOST:PORT"),
    (["bench", "--image", "1"], CONFIGURATION, "--image 1: must be a whole number from 4 to 1024"),
    (["eval"], USAGE, "eval needs CHECKPOINT: run directory, or .safetensors file; see `dptrain eval --help`"),
    (["predict", "x"], USAGE, "predict needs IMAGES: image files, or directories of them"),
    (["plot"], USAGE, "plot needs RUNS: run directories, or folders"),
    (["explain", "filters"], USAGE, "explain filters needs WEIGHTS: run directory"),
    (["data", "get"], USAGE, "data get needs NAMES: as listed by `dptrain data list`"),
    (["data", "add", "mnist"], USAGE, "data add needs FILES: files or archives that you have downloaded"),
    (["keys", "new"], USAGE, "keys new needs NAMES: ROLE or ROLE-WORD; start with: coordinator worker"),
    (["worker"], USAGE, "which coordinator? Give --connect tcp://HOST:PORT, or set DPTRAIN_COORDINATOR"),
    (["coordinator"], USAGE, "a coordinator needs an address for its workers: --bind tcp://HOST:PORT"),
    (["verify", "a", "b"], CONFIGURATION, "a is no run directory"),
]


@pytest.mark.parametrize(("arguments", "code", "message"), CASES, ids=[" ".join(c[0]) for c in CASES])
def test_a_wrong_command_line_is_one_line_and_leaves_nothing(arguments, code, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.toml").write_text("[training]\nbatchsize = 3\n")
    assert main(arguments) == code
    out, err = capsys.readouterr()
    assert is_one_line(err)
    assert message in err
    assert out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["bad.toml"]


@pytest.mark.parametrize(
    ("arguments", "environ", "code", "message"),
    [
        (["train", "--epoch", "3"], {}, USAGE, "Did you mean --epochs?"),
        (
            ["train"],
            {"DPTRAIN_EPOCH": "3"},
            CONFIGURATION,
            "unknown environment variable DPTRAIN_EPOCH; did you mean DPTRAIN_EPOCHS?",
        ),
        (["train", "--dataset", "fashion-mnii"], {}, CONFIGURATION, "did you mean fashion-mini?"),
        (
            ["train", "--dataset", "cifar10", "--data-dir", "."],
            {},
            CONFIGURATION,
            "cifar10 is not here: run `dptrain data get cifar10`, or put ",
        ),
        (["train", "--augment", "flop"], {}, CONFIGURATION, "there is no augmentation 'flop'; did you mean flip?"),
        (["train", "--validation", "6000"], {}, CONFIGURATION, "fashion-mini has 6000 training images"),
        (["train", "--runs", "file/below"], {}, CONFIGURATION, "run directory file/below/"),
    ],
)
def test_a_process_ends_with_one_line_and_the_right_code(dptrain, tmp_path, arguments, environ, code, message):
    (tmp_path / "file").write_text("")
    done = dptrain(*arguments, environ=environ)
    assert (done.code, done.out) == (code, "")
    assert is_one_line(done.err), done.err
    assert message in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_network_that_does_not_fit_into_memory_is_one_line(tmp_path):
    command = f"ulimit -v 8000000; exec {sys.executable} -m dptrain bench --image 1024 --filters 64 --layers"
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (CONFIGURATION, "")
    assert done.stderr.splitlines()[-1].startswith("dptrain: error: not enough memory: Unable to allocate ")
    assert "Traceback" not in done.stderr


# --- data files


class _Call:
    """Unpickling it would make a folder."""

    def __reduce__(self):
        return os.mkdir, ("owned",)


def _cut_gzip(path):
    """MNIST's four files, as a download that broke off leaves them."""
    for name in IDX:
        (path / f"{name}.gz").write_bytes(gzip.compress(bytes(4000))[:-12])


def _idx_of_doubles(path):
    for name in IDX:
        (path / name).write_bytes(bytes([0, 0, 0x0E, 3]) + bytes(12))


def _foreign_pickle(path):
    for name in ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"):
        (path / name).write_bytes(pickle.dumps({"data": _Call()}))


IDX = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]


@pytest.mark.parametrize(
    ("dataset", "spoil", "message"),
    [
        ("mnist", lambda path: None, "mnist is not here: run `dptrain data get mnist`"),
        ("mnist", _cut_gzip, "train-images-idx3-ubyte.gz"),
        ("mnist", _idx_of_doubles, "train-images-idx3-ubyte begins with 00 00 0e 03"),
        ("cifar10", _foreign_pickle, "data_batch_1 names posix.mkdir, which no CIFAR batch holds"),
    ],
    ids=["missing", "cut-gzip", "idx-of-doubles", "foreign-pickle"],
)
def test_damaged_data_is_one_line_and_leaves_no_run(tmp_path, monkeypatch, capsys, dataset, spoil, message):
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "data"
    data.mkdir()
    spoil(data)
    assert main(["train", "--dataset", dataset, "--data-dir", "data", "--workers", "0"]) == CONFIGURATION
    out, err = capsys.readouterr()
    assert out == ""
    assert is_one_line(err)
    assert message in err
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


# --- runs and checkpoints


@pytest.fixture
def run(tmp_path):
    """runs/a: a run over 8x8 grey images with a checkpoint that says step 1; its weights are the initial ones."""
    config = build({"filters": 4, "name": "a"})
    data = DataFacts("tiny", "ab" * 32, (8, 8, 1), ("zero", "one", "two"), (100.0,), (50.0,), 10, 1, 2)
    model = build_network(config.model, data.image, 3, data.mean, data.std)
    facts = RunFacts(config, data, layout_digest(model.params, model.buffers), "fp32-v1", "ResNet-8")
    params, buffers = initial_params(model.params, 0), initial_buffers(model.buffers)
    state = TrainingState(model.params, model.buffers, params, buffers, {"velocity": np.zeros_like(params)}, step=1)
    manifest = {"identity": facts.identity, "starts": []}
    made = directory.create(tmp_path / "runs", "a", to_toml(config), manifest)
    made.close()
    (made.checkpoints / "last.safetensors").write_bytes(pack(state, facts, term=1))
    return made.path


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tree(path):
    return {p.relative_to(path): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["train", "--name", "a"],
            "run directory runs/a exists: continue it with --resume runs/a, or choose another --name",
        ),
        (["train", "--resume", "runs/a", "--lr", "0.2"], "lr = 0.2 (the command line), but the run "),
        (
            ["train", "--name", "a", "--resume", "auto", "--recipe", "shapes-smoke"],
            "(recipe shapes-smoke), but the run ",
        ),
    ],
)
def test_an_existing_run_is_not_touched_by_a_start_that_does_not_fit(run, here, capsys, arguments, message):
    before = tree(run)
    assert main(arguments) == CONFIGURATION
    err = capsys.readouterr().err
    assert is_one_line(err)
    assert message in err
    assert tree(run) == before


def test_a_checkpoint_of_another_identity_is_refused_with_what_differs(run, here, capsys):
    # The configuration names fashion-mini, the checkpoint says it was trained on "tiny".
    assert main(["train", "--resume", "runs/a"]) == CONFIGURATION
    err = capsys.readouterr().err
    assert is_one_line(err)
    assert "last.safetensors belongs to another run (data set: abababababab -> 93a7a429e415; layout: " in err


def _with_a_bit_turned(content):
    return content[:-5] + bytes([content[-5] ^ 4]) + content[-4:]


@pytest.mark.parametrize("damage", [_with_a_bit_turned, lambda content: content[:-40], lambda content: content[:100]])
@pytest.mark.parametrize("verb", [["eval"], ["predict", "x.png"]])
def test_a_damaged_checkpoint_is_refused_by_name(run, here, capsys, verb, damage):
    path = run / "checkpoints" / "last.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    assert main([verb[0], str(run), *verb[1:]]) == CONFIGURATION
    err = capsys.readouterr().err
    assert is_one_line(err)
    assert "last.safetensors is " in err
    assert "damaged" in err


def test_eval_refuses_other_data_than_the_checkpoint_was_trained_on(run, here, capsys):
    assert main(["eval", str(run)]) == CONFIGURATION
    err = capsys.readouterr().err
    assert is_one_line(err)
    assert "was trained on tiny abababababab, but the data set here is 93a7a429e415" in err


def test_predict_names_files_that_are_no_images_and_goes_on_with_the_others(run, here, capsys):
    (here / "notes.txt").write_text("no image")
    Image.new("RGB", (40, 20), (200, 10, 10)).save(here / "a.png")
    folder = here / "folder"
    folder.mkdir()
    Image.new("L", (8, 8), 77).save(folder / "b.png")
    code = main(["predict", str(run), "notes.txt", "a.png", "gone.png", "folder", "--json", "--topk", "2"])
    out, err = capsys.readouterr()
    assert code == CONFIGURATION
    assert err.splitlines() == [
        "dptrain: error: notes.txt is no image (of BMP, GIF, JPEG, PNG, PPM, TIFF, WEBP)",
        "dptrain: error: gone.png cannot be read: No such file or directory",
    ]
    objects = [json.loads(line) for line in out.splitlines()]
    assert [o["file"] for o in objects] == ["a.png", "folder/b.png"]
    assert all(len(o["top"]) == 2 and 0 < o["top"][1]["probability"] <= o["top"][0]["probability"] for o in objects)


def test_predict_shows_bars_that_are_as_long_as_the_probability(run, here, capsys):
    Image.new("L", (8, 8), 77).save(here / "b.png")
    assert main(["predict", str(run), "b.png", "--topk", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("b.png  ")
    probabilities = [float(line.removeprefix("b.png").split()[1]) for line in lines]
    assert sum(probabilities) == pytest.approx(1, abs=2e-3)
    assert [line.count("#") for line in lines] == pytest.approx([24 * p for p in probabilities], abs=0.6)


# --- verify


@pytest.fixture
def hashed(here):
    """hashed("a", {1: ("x", {"model.w": "00"})}) makes the run directory a."""

    def make(name, hashes):
        (here / name).mkdir()
        lines = JsonLines(here / name / "hashes.jsonl", 0)
        for step, (sha256, tensors) in hashes.items():
            lines.write(hash_record(step, sha256, tuple(tensors.items())))
        lines.close()
        return str(here / name)

    return make


def test_verify_says_over_how_many_steps_two_runs_are_identical(hashed, capsys):
    a = hashed("a", {1: ("x", {"w": "0"}), 2: ("y", {"w": "1"}), 3: ("z", {"w": "2"})})
    b = hashed("b", {2: ("y", {"w": "1"}), 3: ("z", {"w": "2"}), 4: ("?", {"w": "3"})})
    assert main(["verify", a, b]) == 0
    assert capsys.readouterr().out == "identical over 2 common steps (2 to 3)\n"


def test_verify_names_the_first_differing_step_and_tensor(hashed, capsys):
    a = hashed("a", {1: ("x", {"u": "0", "v": "1"}), 2: ("y", {"u": "5", "v": "6"}), 3: ("z", {"u": "7", "v": "8"})})
    b = hashed("b", {1: ("x", {"u": "0", "v": "1"}), 2: ("!", {"u": "5", "v": "9"}), 3: ("!", {"u": "0", "v": "0"})})
    assert main(["verify", a, b]) == 1
    out = capsys.readouterr().out
    assert out == "different from step 2 on: first tensor v (6 and 9); step 1 was still equal\n"


def test_verify_without_common_steps_ends_with_2_and_the_reason(hashed, capsys):
    a, b, empty = hashed("a", {1: ("x", {})}), hashed("b", {2: ("x", {})}), hashed("c", {})
    assert main(["verify", a, b]) == 2
    err = capsys.readouterr().err
    assert is_one_line(err)
    assert "no hashed step in common" in err
    assert main(["verify", a, empty]) == 2
    assert f"{empty} holds no state hash: nothing to compare; train with --hash-every 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (bytes(range(128, 256)), "hashes.jsonl is damaged: it holds no record"),
        (b"\x93\xff\n" * 5, "hashes.jsonl, line 1 is damaged"),
        (b'{"kind": "hash", "step": 1, "sha256": 7, "tensors": {}}\n', "its record of step 1 holds no hash"),
        (b'{"kind": "hash", "step": 1}\n', "its record of step 1 holds no hash"),
    ],
    ids=["bytes", "lines", "number", "nothing"],
)
def test_verify_says_that_a_file_of_hashes_is_damaged(hashed, here, capsys, content, words):
    a, b = hashed("a", {1: ("x", {})}), hashed("b", {})
    (here / "b" / "hashes.jsonl").write_bytes(content)
    assert main(["verify", a, b]) == 78
    err = capsys.readouterr().err
    assert is_one_line(err)
    assert words in err
