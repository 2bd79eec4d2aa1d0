"""Photographs of drivers, from JPEG files to saliency maps: tools/drivers.py at a small size."""

from __future__ import annotations

import csv
import os
import subprocess
import sys

import pytest
from PIL import Image

pytestmark = pytest.mark.system


@pytest.mark.timeout(300)
def test_the_whole_way_from_photographs_to_saliency_with_no_driver_in_two_parts(root, tmp_path):
    command = [sys.executable, root / "tools" / "drivers.py", tmp_path / "all", "--drivers", "6", "--each", "2"]
    command += ["--epochs", "2", "--filters", "4"]
    environ = os.environ | {"MPLCONFIGDIR": str(tmp_path)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    assert "120 photographs of 6 drivers in " in done.stdout
    assert "drivers: 4 to train, 1 to validate, 1 to test; none in two parts\n" in done.stdout
    assert "test accuracy " in done.stdout
    photographs = sorted((tmp_path / "all" / "data" / "sfddd" / "train").rglob("*.jpg"))
    assert len(photographs) == 120
    with Image.open(photographs[0]) as photograph:
        assert (photograph.format, photograph.size) == ("JPEG", (640, 480))
    with (tmp_path / "all" / "data" / "sfddd" / "driver_imgs_list.csv").open(newline="") as file:
        assert len({row["subject"] for row in csv.DictReader(file)}) == 6
    for picture in ("preview", "confusion", "saliency"):
        with Image.open(tmp_path / "all" / f"{picture}.png") as image:
            assert min(image.size) > 100
            assert len(image.convert("L").getcolors(256)) > 10
