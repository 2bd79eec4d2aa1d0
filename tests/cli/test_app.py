"""Flags, help and start-up of the command."""

import subprocess
import sys

import pytest

from dptrain import __version__
from dptrain.cli import main
from dptrain.cli.app import VERBS
from dptrain.cli.flags import BASIC
from dptrain.cli.help import ELSEWHERE
from dptrain.recipefile import resolve
from dptrain.recipes import shipped
from dptrain.settings import SETTINGS


def test_every_field_is_a_flag_of_train_with_help(capsys):
    assert main(["train", "--help"]) == 0
    out = capsys.readouterr().out
    for setting in SETTINGS.values():
        assert f"  {setting.flag}" in out
        assert setting.about in " ".join(out.split())
    places = [out.splitlines().index(f"{name}:") for name in ("Most used", "Data", "Model", "Training", "Deployment")]
    assert places == sorted(places)
    basic = out.split("Most used:")[1].split("\n\n")[0]
    assert [name for name in BASIC if f"  {SETTINGS[name].flag}" not in basic] == []
    for short in ("--batch-size, -b", "--weight-decay, --wd", "--recipe, --config, -c"):
        assert short in out


def test_help_names_every_verb(capsys):
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for verb in VERBS:
        assert any(line.startswith(f"  {verb} ") and VERBS[verb][1][:40] in line for line in lines), verb


def test_no_line_of_help_is_wider_than_the_terminal_or_wraps_to_the_margin(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["train", "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    panels = lines[lines.index("Parameters:") :]
    assert all(line.startswith("  ") or line.endswith(":") or not line for line in panels)


def test_a_printed_configuration_can_be_given_back_as_a_recipe(tmp_path, capsys):
    flags = [
        "--milestones",
        "2,4",
        "--schedule",
        "steps",
        "--no-nesterov",
        "--wd",
        "0",
        "--workers",
        "3",
        "--validation",
        "-1",
    ]
    assert main(["train", "--recipe", "shapes-smoke", "--epochs", "5", "--augment", "", *flags, "--print-config"]) == 0
    first = capsys.readouterr().out
    (tmp_path / "r.toml").write_text(first)
    assert main(["train", "--recipe", str(tmp_path / "r.toml"), "--print-config"]) == 0
    assert capsys.readouterr().out == first
    config = resolve(str(tmp_path / "r.toml"))
    assert (config.training.milestones, config.training.nesterov, config.training.weight_decay) == ((2, 4), False, 0.0)
    assert (config.deployment.workers, config.data.dataset, config.data.augment) == (3, "shapes32", ())


def test_a_dropped_key_is_one_line_on_stderr_and_the_printed_configuration_does_not_have_it(dptrain):
    done = dptrain("train", "--recipe", "sfddd", "--schedule", "cosine", "--print-config")
    assert done.err.splitlines() == [
        "dptrain: warning: milestones of recipe sfddd is dropped: not used with schedule = cosine (the command line)"
    ]
    assert done.code == 0
    assert "milestones = []\n" in done.out
    assert dptrain("train", "--recipe", "sfddd", "--schedule", "cosine", "--print-config", "-q").err == ""


def test_depth_and_width_are_flags_of_every_verb_that_has_n_and_filters(capsys):
    assert main(["describe", "--depth", "14", "--width", "8", "--image", "16x16x1"]) == 0
    by_depth = capsys.readouterr().out
    assert main(["describe", "--n", "2", "--filters", "8", "--image", "16x16x1"]) == 0
    assert capsys.readouterr().out == by_depth
    assert main(["describe", "--depth", "15"]) == 78
    assert "--depth: depth = 15: a resnet has 6n + 2 layers: choose 14 or 20" in capsys.readouterr().err


def test_every_hint_for_a_flag_of_other_tools_is_a_flag_that_some_verb_has():
    ours = {setting.flag for setting in SETTINGS.values()} | {"--out"}
    assert set(ELSEWHERE.values()) <= ours
    assert not set(ELSEWHERE) & ours


def listed(lines):
    """Names at the start of rows: two spaces, a name; a sentence that goes on is indented further."""
    return [line.split()[0] for line in lines if line.startswith("  ") and line[2] != " "]


def test_recipes_begins_with_five_and_says_how_to_list_the_rest(capsys):
    assert main(["recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert listed(lines) == ["fashion-quick", "mnist", "cifar10-resnet20-10epochs", "cifar10-paper-20", "sfddd"]
    assert lines[-1] == f"`dptrain recipes --all` lists all {len(shipped())} recipes."


def test_all_recipes_are_listed_once_in_groups_with_a_sentence_each(capsys):
    assert main(["recipes", "--all"]) == 0
    text = capsys.readouterr().out
    assert sorted(listed(text.splitlines())) == sorted(shipped())
    titles = [line for line in text.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert titles == [f"{group}:" for group in dict.fromkeys(recipe.group for recipe in shipped().values())]
    for recipe in shipped().values():
        assert recipe.about in " ".join(text.split())


@pytest.mark.parametrize("arguments", [["--version"], ["train", "--print-config"], ["--help"]])
def test_numba_is_not_imported_before_it_is_needed(arguments):
    # The kernels look at the ISA when they are imported: the flags must be read by then.
    code = (
        "import sys\nfrom dptrain.cli import main\ncode = main(sys.argv[1:])\nsys.exit(code or 'numba' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_version_is_printed(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__


@pytest.mark.parametrize(
    ("verb", "line"),
    [
        ("predict", "Usage: dptrain predict [OPTIONS] CHECKPOINT IMAGES..."),
        ("plot", "Usage: dptrain plot [OPTIONS] RUNS..."),
        ("data get", "Usage: dptrain data get [OPTIONS] NAMES..."),
        ("data get", "  --mirror STR...         URL of a folder that has the files; tried first"),
        ("data preview", "  --out, -o PATH          PNG file [default: preview.png]"),
        ("history", "  --out, -o PATH          folder for the three tables [RUN/histories]"),
        ("keys new", "  --missing               leave existing keys as they are"),
    ],
)
def test_help_names_what_is_to_be_given_and_looks_the_same_for_all_verbs(verb, line, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "110")
    assert main([*verb.split(), "--help"]) == 0
    assert line in capsys.readouterr().out.splitlines()


def test_a_ctrl_c_in_a_callback_that_lets_nothing_out_still_ends_the_command():
    """Python prints such an exception and goes on; the weak reference's callback stands for any of a library."""
    script = """if True:
        import signal, time, weakref
        from dptrain.__main__ import Interrupts

        class Kept: ...

        Interrupts().install()
        kept = Kept()
        reference = weakref.ref(kept, lambda _: signal.raise_signal(signal.SIGINT))
        del kept
        print("goes on", flush=True)
        try:
            time.sleep(20)
        except KeyboardInterrupt:
            print("ends")
    """
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.split("\n"), done.stderr) == (0, ["goes on", "ends", ""], "")


@pytest.mark.parametrize("inside", ["the imports", "the command"])
def test_a_ctrl_c_while_a_class_is_defined_prints_no_traceback(inside):
    """Python 3.11 makes a RuntimeError of it, as of everything that is raised in __set_name__."""
    script = f"""if True:
        import signal, sys
        import dptrain.cli
        from dptrain.__main__ import command

        class Descriptor:
            def __set_name__(self, owner, name):
                signal.raise_signal(signal.SIGINT)

        class Package:
            def __getattr__(self, name):
                return main() if {inside == "the imports"} else main

        def main():
            class Interrupted:
                attribute = Descriptor()

        sys.modules["dptrain.cli"] = Package()
        raise SystemExit(command())
    """
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_an_uncaught_exception_prints_its_traceback_and_ends_with_70():
    script = """if True:
        import dptrain.cli
        from dptrain.__main__ import command

        def main():
            raise ZeroDivisionError("a bug")

        dptrain.cli.main = main
        raise SystemExit(command())
    """
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (70, "")
    assert done.stderr.startswith("Traceback ")
    assert done.stderr.endswith("ZeroDivisionError: a bug\n")
    assert done.stderr.count("ZeroDivisionError") == 1
