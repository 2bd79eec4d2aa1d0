"""A run in bf16: the same bits whatever it is made of, and a plain word where the CPU has no matrix tiles."""

import pytest

from dptrain.kernels import amx, isa
from soak import traces

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

#: A level by name: its tiles are emulated where the CPU has none.
FORCED = ["--isa", isa.level()]
BF16 = ["--precision", "bf16", *FORCED]
SHORT = ["--max-steps", 3]


@pytest.mark.slow
def test_workers_and_where_they_run_change_no_bit(runs):
    for workers in (0, 1, 2):
        runs.finished(runs.train(f"w{workers}", "--workers", workers, *BF16, *SHORT), f"w{workers}")
    same = (0, "identical over 3 common steps (1 to 3)\n")
    assert runs.verify(runs.path("w0"), runs.path("w1")) == same
    assert runs.verify(runs.path("w0"), runs.path("w2")) == same
    assert traces.records(runs.path("w2")) == traces.records(runs.path("w0"))


@pytest.mark.slow
def test_it_is_another_run_than_the_same_in_fp32(runs):
    runs.finished(runs.train("bf16", "--workers", 0, *BF16, *SHORT), "bf16")
    runs.finished(runs.train("fp32", "--workers", 0, *FORCED, *SHORT), "fp32")
    code, said = runs.verify(runs.path("bf16"), runs.path("fp32"))
    assert code == 1
    assert said.startswith("different from step 1 on")


@pytest.mark.skipif(not amx.lacks(), reason="this CPU has matrix tiles: nothing is refused")
def test_a_cpu_without_tiles_refuses_in_one_line_and_leaves_nothing(runs):
    runs.finished(runs.train("refused", "--workers", 1, "--precision", "bf16"), "refused", 78)
    (line,) = runs.output("refused").strip().splitlines()
    assert line.startswith(f"dptrain: error: precision bf16 needs {amx.lacks()}, which this machine lacks")
    assert "use --precision fp32" in line
    assert not runs.path("refused").exists()


def test_a_worker_that_cannot_compute_in_bf16_is_not_admitted(runs, port):
    """Here: one that was not told a level by name, on a CPU without tiles; with tiles it may take part."""
    process = runs.train("needy", "--workers", 1, "--bind", f"tcp://127.0.0.1:{port}", *BF16)
    runs.until_step("needy", 1)
    late = runs.start("worker", "--connect", f"tcp://127.0.0.1:{port}", "--name", "late")
    if not amx.lacks():
        runs.until_said("needy", "worker late joined")
    else:
        runs.finished(late, "worker", 78)
        assert "it computes in 'fp32-v2', the run in 'bf16-v1'" in runs.output("worker")
    process.terminate()
    runs.finished(process, "needy", 143)
