"""What the documents show runs as it stands there."""

import re
import subprocess
import sys

import pytest


@pytest.mark.system
def test_the_page_about_python_runs_from_top_to_bottom(root, tmp_path):
    [code] = re.findall(r"```python\n(import dptrain\n.*?)```", (root / "docs" / "python.md").read_text(), re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    # Where the cache is empty, it says that it compiles.
    assert (done.returncode, re.sub(r"compiling kernels[ :].*\n", "", done.stderr)) == (0, ""), done.stderr
    assert (tmp_path / "confusion.png").stat().st_size > 10_000
