"""`dptrain completion`: the script of bash completes verbs, flags and choices; those of zsh and fish name all verbs."""

import subprocess

import pytest

from dptrain.cli import main
from dptrain.cli.app import VERBS


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    """script("bash") -> the file with the script, made once per shell."""
    folder = tmp_path_factory.mktemp("completion")

    def make(shell):
        path = folder / shell
        if not path.exists():
            with pytest.MonkeyPatch.context() as patch, path.open("w") as file:
                patch.setattr("sys.stdout", file)
                assert main(["completion", shell]) == 0
        return path

    return make


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["tr"], {"train"}),
        (["re"], {"recipes", "reestimate", "report"}),
        (["train", "--batch"], {"--batch-size"}),
        (["train", "--lr", "0.1", "--optim"], {"--optimizer"}),
        (["train", "--optimizer", "rms"], {"rmsprop"}),
        (["train", "--nesterov", "--optim"], {"--optimizer"}),
        (["explain", "sal"], {"saliency"}),
        (["eval", "--batch"], set()),
    ],
)
def test_bash_completes_verbs_flags_and_choices(script, words, offered):
    code = (
        'source "$1"; shift; complete -p dptrain >/dev/null || exit 3\n'
        'COMP_WORDS=(dptrain "$@"); COMP_CWORD=$#; _dptrain; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", code, "bash", script("bash"), *words], capture_output=True, text=True, check=True
    )
    assert (set(done.stdout.split()), done.stderr) == (offered, "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_each_shell_knows_every_verb(script, shell):
    text = script(shell).read_text()
    assert [verb for verb in VERBS if verb not in text] == []
    assert "learning-rate" not in text
    assert "--batch-size" in text or "-l batch-size" in text


def test_a_shell_that_is_not_known_is_refused_with_those_that_are(capsys):
    assert main(["completion", "powershell"]) == 64
    assert "bash" in capsys.readouterr().err
