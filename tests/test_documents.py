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
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "confusion.png").stat().st_size > 10_000
