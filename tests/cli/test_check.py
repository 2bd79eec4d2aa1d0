"""check, gradcheck, describe: what a user can learn about a network before training it."""

import numpy as np
import pytest

from dptrain.cli import main
from dptrain.nn.activations import MulConstant
from dptrain.nn.criterion import MEASURES
from dptrain.nn.gradcheck import EXAMPLES


def test_gradcheck_goes_through_every_layer_and_criterion_and_the_network(capsys):
    assert main(["gradcheck", "--block", "preactivation", "--shortcut", "B", "--filters", "4"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "all right"
    assert {line[15:] for line in lines if line.startswith("ok ")} == {
        *EXAMPLES,
        *(f"criterion {name}" for name in MEASURES),
        "network resnet, cross-entropy",
    }


def test_gradcheck_finds_a_wrong_gradient(capsys, monkeypatch):
    class Wrong(MulConstant):
        def __call__(self, run, x):
            y, _ = super().__call__(run, x)
            return y, lambda dy, gradients: dy

    monkeypatch.setitem(EXAMPLES, "MulConstant", (Wrong(2.0), (2, 3)))
    assert main(["gradcheck", "--filters", "2"]) == 1
    out = capsys.readouterr().out
    assert "BAD   5.0e-01  MulConstant" in out
    assert out.endswith("1 wrong\n")


def test_describe_prints_every_layer_with_shapes_and_parameters(capsys):
    assert main(["describe", "--n", "3", "--shortcut", "avgpool"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head == "for images of 32x32x3 and 10 classes; --recipe or --dataset: those of a data set"
    assert lines[-1] == "68 layers, 269,722 parameters"
    assert lines[0].split() == ["Convolution(conv1,", "3,", "16,", "first=True)", "32x32x3", "->", "32x32x16", "432"]
    assert any(line.split()[0] == "AveragePool" and line.endswith("32x32x16 -> 16x16x32") for line in lines)
    counted = [line.split(" -> ")[1].split()[1:] for line in lines[:-1]]
    assert sum(int(count[0].replace(",", "")) for count in counted if count) == 269_722


@pytest.mark.parametrize(
    ("flags", "lines", "last"),
    [
        (
            ["--n", "1", "--filters", "16"],
            ["forward 1: all images of the shard", "    layer1.0.conv1: 32x32x16 -> 32x32x16 f4, 1 image at a time"],
            "2 fused passes; layer by layer: Linear linear",
        ),
        (
            ["--network", "lenet", "--dropout", "0.2", "--image", "12x12x1"],
            ["  convolve conv1: 12x12x1 -> 12x12x16 direct", "  maximum MaxPooling: 6x6x32 -> 3x3x32"],
            "18 fused passes; layer by layer: Reshape, Dropout dropout, Linear linear",
        ),
        (
            ["--n", "1", "--filters", "4", "--block", "preactivation"],
            ["  layers conv1: 32x32x3 -> 32x32x4", "  apply layer1.0.bn1, ReLU: 32x32x4 -> 32x32x4"],
            "64 fused passes; layer by layer: Convolution conv1, Convolution layer1.0.conv1",
        ),
    ],
)
def test_describe_plan_prints_every_pass_and_what_is_not_fused(flags, lines, last, capsys):
    assert main(["describe", "--plan", *flags]) == 0
    found = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line not in found] == []
    assert found[-1].startswith(last)


@pytest.mark.parametrize(
    ("flags", "head", "parameters"),
    [
        (["--recipe", "fashion-quick"], "28x28x1 and 10 classes, as of fashion-mini", "75,002"),
        (["--recipe", "mnist"], "32x32x1 and 10 classes, as of mnist", ""),
        (["--dataset", "cifar100:coarse"], "32x32x3 and 20 classes, as of cifar100:coarse", ""),
        (["--dataset", "gtsrb:48x40"], "48x40x3 and 43 classes, as of gtsrb:48x40", ""),
        (["--dataset", "folder:./pets:9x8x1"], "9x8x1 and 2 classes, as of folder:./pets:9x8x1", ""),
        (["--dataset", "mnist", "--image", "9x9x3"], "9x9x3 and 10 classes", ""),
        (["--dataset", "gtsrb", "--image", "9x9x3"], "9x9x3 and 43 classes", ""),
        (["--dataset", "mnist", "--image", "9x9x3", "--classes", "7"], "9x9x3 and 7 classes", ""),
        (["--classes", "7"], "32x32x3 and 7 classes", ""),
    ],
)
def test_describe_takes_images_and_classes_from_the_data_set(flags, head, parameters, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        (tmp_path / "pets" / name / "1.png").write_bytes(b"")
    assert main(["describe", *flags]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"for images of {head}"
    assert lines[-1].endswith(f" {parameters} parameters" if parameters else "parameters")
    assert [path.name for path in tmp_path.iterdir()] == ["pets"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["describe", "--dataset", "mnits"], 78, "there is no data set 'mnits'; did you mean mnist?"),
        (["describe", "--dataset", "folder:gone"], 78, "folder:gone: there is no folder "),
        (["describe", "--image", "32"], 78, "--image 32: must be HEIGHTxWIDTHxCHANNELS"),
        (["describe", "--classes", "1"], 78, "--classes 1: must be a whole number from 2"),
        (["describe", "--shortcut", "D"], 78, "must be one of A, avgpool, A-end, avgpool-end, B, C"),
        (["gradcheck", "--network", "mine:net"], 78, "this host was not told to run it"),
        (["check", "--l2", "0.1"], 78, "do the same thing: set one of them to 0"),
    ],
)
def test_bad_input_is_one_line(arguments, code, message, capsys):
    assert main(arguments) == code
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


CHECK = ["check", "--dataset", "shapes32", "--filters", "8"]


def test_check_looks_at_loss_gradients_and_evaluation_and_overfits_images(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([*CHECK, "--images", "50", "--passes", "60", "--augment", "crop:4,flip"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0:2][1].strip() for line in lines[:-1]] == [
        "first loss",
        "gradients",
        "evaluation",
        "overfit",
    ]
    assert lines[0].startswith("ok   first loss    2.")
    assert "50 images: loss 0." in lines[3]
    assert lines[-1] == "all fine"
    assert list(tmp_path.iterdir()) == [], "a check leaves nothing behind"


def test_check_says_what_does_not_learn_and_what_starts_wrong(capsys):
    assert main([*CHECK, "--images", "50", "--passes", "1", "--lr", "1e-5"]) == 1
    out = capsys.readouterr().out
    assert "BAD  overfit" in out
    assert "it should come to 1: try another lr, or more --passes" in out
    assert out.endswith("1 thing to look at\n")


def test_check_finds_a_parameter_without_a_gradient(tmp_path, capsys):
    """The last block of PyFunt got no gradient, and no test noticed it."""
    (tmp_path / "stuck.py").write_text(
        "from dptrain.nn import build_network\n"
        "from dptrain.nn.containers import Sequential\n"
        "from dptrain.nn.activations import MulConstant\n"
        "def net(config, image, classes):\n"
        "    from dataclasses import replace\n"
        "    ours = build_network(replace(config, network='vgg'), image, classes).network\n"
        "    return ours.insert(len(ours.layers) - 1, MulConstant(0.0))\n"
    )
    flags = ["--networks", str(tmp_path / "stuck.py"), "--images", "0"]
    assert main([*CHECK, "--network", "stuck:net", *flags]) == 1
    assert "BAD  gradients     none for stage1.0.conv.weight, stage1.0.bn.weight" in capsys.readouterr().out


def test_check_finds_scores_that_start_too_far_from_zero(tmp_path, capsys):
    (tmp_path / "loud.py").write_text(
        "from dptrain.nn import build_network\n"
        "from dptrain.nn.activations import MulConstant\n"
        "def net(config, image, classes):\n"
        "    from dataclasses import replace\n"
        "    ours = build_network(replace(config, network='vgg'), image, classes).network\n"
        "    return ours.insert(len(ours.layers), MulConstant(50.0))\n"
    )
    flags = ["--networks", str(tmp_path / "loud.py"), "--images", "0"]
    assert main([*CHECK, "--network", "loud:net", *flags]) == 1
    assert "scores start too far from 0" in capsys.readouterr().out


def test_the_first_loss_of_every_criterion_is_near_that_of_guessing(capsys):
    for criterion, guess in (("hinge", 9.0), ("bce", 10 * np.log(2))):
        assert main([*CHECK, "--criterion", criterion, "--images", "0"]) == 0
        assert f"= {guess:.3f}" in capsys.readouterr().out
