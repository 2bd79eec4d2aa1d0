"""Class names in any script are drawn without a raw warning, and what no font has is said once."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest

from dptrain.data.catalog import open_dataset
from dptrain.data.preview import draw
from dptrain.data.shards import Pipeline
from dptrain.explain import drawing
from dptrain.explain.confusion import draw_confusion

MISSING = "\U0001f9ff"  # in no font of text


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch):
    monkeypatch.setattr(drawing, "_said", [])


def _drawn(names):
    with drawing.looks():
        figure = draw_confusion(np.eye(len(names), dtype=np.int64), names, "title")
    return drawing.render(figure, "png")


def test_names_that_matplotlibs_own_font_has_cause_no_warning(caplog):
    assert _drawn(("café", "Ωμέγα", "жук"))[:4] == b"\x89PNG"
    assert caplog.text == ""


def test_characters_that_no_font_has_are_said_once_in_one_line(caplog, monkeypatch):
    monkeypatch.setattr(drawing, "_WIDE_FONTS", ())
    for _ in range(2):
        assert _drawn(("猫", "犬"))[:4] == b"\x89PNG"
    assert len(caplog.messages) == 1
    assert "no installed font has CJK UNIFIED IDEOGRAPH-" in caplog.messages[0]
    assert "it is drawn as a box; install one, such as fonts-noto-cjk" in caplog.messages[0]


def test_other_warnings_of_matplotlib_are_not_swallowed():
    import warnings

    with pytest.warns(UserWarning, match="something else"), drawing.looks():
        warnings.warn("something else", UserWarning, stacklevel=1)


@pytest.mark.parametrize(("name", "said"), [("plain", False), (MISSING, True)])
def test_the_preview_shows_the_number_of_a_class_whose_name_no_font_has(name, said, caplog):
    dataset = open_dataset("shapes32")
    ids = np.flatnonzero(dataset.train_labels == 0)[:1]
    with caplog.at_level(logging.WARNING):
        sheets = [
            draw(replace(dataset, classes=(first, *dataset.classes[1:])), Pipeline(), ids, 1, 0)
            for first in (name, "class 0")
        ]
    assert (np.array_equal(*map(np.asarray, sheets)), "no installed font has all characters" in caplog.text) == (
        said,
        said,
    )
