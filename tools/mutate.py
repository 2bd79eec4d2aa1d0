"""Breaks one line of the heart at a time, in a copy, and asks the tests that ought to notice: each must turn one red.

`python tools/mutate.py` tries all lines, `python tools/mutate.py 3 17` only these; exit code 1 if one goes unnoticed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
LONGEST = 600  #: seconds for one line's tests


class Mutation(NamedTuple):
    """A line, what it is made to say instead, and who must notice."""

    path: str
    old: str  #: stands exactly once in the file
    new: str
    tests: str


TREE, WORK, UPDATE = "dptrain/cluster/tree.py", "dptrain/cluster/work.py", "dptrain/cluster/update.py"
ROUNDS, LEAD, ADMIT = "dptrain/cluster/rounds.py", "dptrain/cluster/coordinator.py", "dptrain/cluster/admission.py"
SAMPLER, CODEC, SUMS = "dptrain/data/sampler.py", "dptrain/wire/codec.py", "dptrain/wire/checksum.py"
WINOGRAD, BLOCKS = "dptrain/kernels/intrinsics/winograd.py", "dptrain/kernels/intrinsics/correlate.py"
WEIGHTS, PACKING = "dptrain/kernels/conv/winograd.py", "dptrain/kernels/conv/packing.py"
OF_TREE, OF_LEAD = "tests/cluster/test_tree.py", "tests/cluster/test_coordinator.py"
OF_SAMPLER, OF_CODEC = "tests/data/test_sampler.py", "tests/wire/test_codec.py"
OF_CONV, OF_WINOGRAD = "tests/kernels/test_conv.py", "tests/kernels/test_winograd.py"

MUTATIONS = (
    # the tree
    Mutation(TREE, "1 << ((last - first - 1).bit_length() - 1)", "(last - first + 1) // 2", OF_TREE),
    Mutation(TREE, "value.combine(other) if node == left else", "other.combine(value) if node == left else", OF_TREE),
    Mutation(
        TREE, "all(node.last <= first or last <= node.first", "any(node.last <= first or last <= node.first", OF_TREE
    ),
    Mutation(TREE, "nodes.append(left if first < left.last else right)", "nodes.append(right)", OF_TREE),
    # the update
    Mutation(UPDATE, "np.float32(1.0 - take)", "np.float32(1.0)", "tests/cluster/test_update.py"),
    Mutation(
        UPDATE, "np.divide(total.gradient, np.float32(counted))", "total.gradient", "tests/cluster/test_update.py"
    ),
    Mutation(
        "dptrain/kernels/descent/jit.py",
        "change + velocity[i] * momentum",
        "velocity[i]",
        "tests/kernels/test_descent.py",
    ),
    # what is accepted, and from whom
    Mutation(LEAD, "if message.term != self._job.term:", "if message.term < 0:", OF_LEAD),
    Mutation(LEAD, "if message.incarnation != member.incarnation:", "if not message.incarnation:", OF_LEAD),
    Mutation(LEAD, "if not member.ready and not isinstance(message, Canary | Leave):", "if False:", OF_LEAD),
    Mutation(ROUNDS, "if digest == self.params.digest:", "if digest:", OF_LEAD),
    Mutation(ROUNDS, "if m.samples != samples:", "if m.samples < 0:", OF_LEAD),
    Mutation(WORK, "if current.book.was_asked(member.incarnation, node) else", "if what else", OF_LEAD),
    Mutation(WORK, "self._course.begin_anew(node, [first, known])", "pass", "tests/cluster/test_doubt.py"),
    Mutation(ADMIT, "if canary.digest != job.canary:", "if not canary.digest:", OF_LEAD),
    Mutation(ADMIT, "if job.numerics not in hello.numerics.split():", "if not hello.numerics:", OF_LEAD),
    # the sampler
    Mutation(
        SAMPLER, "return -(-self.samples // self.batch_size)", "return self.samples // self.batch_size", OF_SAMPLER
    ),
    Mutation(SAMPLER, "return step // self.steps_per_epoch", "return step // (self.steps_per_epoch + 1)", OF_SAMPLER),
    Mutation(SAMPLER, "first = index * self.shard_size", "first = index * (self.shard_size - 1)", OF_SAMPLER),
    Mutation(
        SAMPLER,
        "min(first + self.batch_size, self.samples)",
        "min(first + self.batch_size, self.samples - 1)",
        OF_SAMPLER,
    ),
    # the codec
    Mutation(CODEC, "if type(value) is not kind:", "if not isinstance(value, kind):", OF_CODEC),
    Mutation(CODEC, "if len(out) != len(pairs):", "if False:", OF_CODEC),
    Mutation(CODEC, "if header.keys() != form.keys:", "if header.keys() < form.keys:", OF_CODEC),
    Mutation(CODEC, "view.nbytes != size * dtype.itemsize", "view.nbytes < size * dtype.itemsize", OF_CODEC),
    Mutation(CODEC, "if not value.isprintable():", "if False:", OF_CODEC),
    Mutation(SUMS, "for part in parts:", "for part in list(parts)[:1]:", OF_CODEC),
    # the convolutions
    Mutation(WINOGRAD, "b.fsub(d[1], d[3])]", "b.fsub(d[3], d[1])]", OF_WINOGRAD),
    Mutation(WINOGRAD, "b.fsub(b.fsub(m[1], m[2]), m[3])]", "b.fsub(b.fadd(m[1], m[2]), m[3])]", OF_WINOGRAD),
    Mutation(WINOGRAD, "b.fsub(g[0], g[1]), b.fneg(g[1])]", "b.fsub(g[0], g[1]), g[1]]", OF_WINOGRAD),
    Mutation(WEIGHTS, "8 - 3 * r - s if flip else", "3 * r + s if flip else", OF_WINOGRAD),
    Mutation(BLOCKS, "builder.fadd(v.load(dw, at), builder.load(slot))", "builder.load(slot)", OF_CONV),
    Mutation(PACKING, "s0 + step * (s_taps - 1 - s)", "s0 + step * s", OF_CONV),
)


def main(chosen: list[int]) -> int:
    """Prints a row a line; returns the exit code."""
    unnoticed = 0
    with tempfile.TemporaryDirectory(prefix="dptrain-mutate-") as folder:
        copy = Path(folder) / "tree"
        _copy(copy)
        wanted = [(n, mutation) for n, mutation in enumerate(MUTATIONS, 1) if not chosen or n in chosen]
        for tests in dict.fromkeys(mutation.tests for _, mutation in wanted):
            if _pytest(copy, tests):
                print(f"{tests} is red already")
                return 1
        for number, mutation in wanted:
            begin = time.monotonic()
            word = _try(copy, mutation)
            unnoticed += word != "caught"
            line = mutation.old.splitlines()[0]
            print(f"{number:>3} {word:<12} {time.monotonic() - begin:5.0f} s  {mutation.path}: {line}", flush=True)
    print(f"{unnoticed} unnoticed")
    return int(unnoticed > 0)


def _copy(to: Path) -> None:
    files = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in (name for name in files.split("\0") if (ROOT / name).is_file()):
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, to / name)


def _try(copy: Path, mutation: Mutation) -> str:
    path = copy / mutation.path
    text = path.read_text()
    if text.count(mutation.old) != 1:
        return "no such line" if mutation.old not in text else "not one line"
    path.write_text(text.replace(mutation.old, mutation.new))
    try:
        return {0: "UNNOTICED", 1: "caught"}.get(_pytest(copy, mutation.tests), "broken")
    finally:
        path.write_text(text)


def _pytest(copy: Path, tests: str) -> int:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests.split()]
    environ = os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(command, cwd=copy, env=environ, capture_output=True, check=False, timeout=LONGEST)
    except subprocess.TimeoutExpired:
        return 1  # a loop without an end is noticed too
    return done.returncode


if __name__ == "__main__":
    sys.exit(main([int(word) for word in sys.argv[1:]]))
