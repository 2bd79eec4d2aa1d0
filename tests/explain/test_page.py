"""The HTML report: one self-contained file, in which all text is escaped."""

import base64
import re
from html.parser import HTMLParser

import numpy as np

from dptrain.explain.page import Page
from dptrain.explain.saliency import draw_filters
from dptrain.explain.table import Table


class Tags(HTMLParser):
    """Opening and closing tags, in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.seen = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def page():
    made = Page('<b>"run"', "a & b")
    made.section("First <i>", "text <script>alert(1)</script>")
    made.facts([("test", "<0.9>")])
    made.table(Table(("name", "n"), [("<td>", "1"), ("b", "2.5e-06")]))
    made.picture(draw_filters(np.zeros((2, 1, 3, 3)), "t"), 'a "picture"')
    made.section("Second")
    made.verbatim("[data]\nx = '<y>'")
    return made.html().decode()


def test_it_is_one_file_without_script_and_without_a_reference_to_any_other():
    tags = Tags(page())
    assert tags.open == []
    assert "script" not in [tag for tag, _ in tags.seen]
    addresses = [a[k] for _, a in tags.seen for k in ("src", "href") if k in a]
    assert addresses
    assert all(address.startswith(("data:image/png;base64,", "#s")) for address in addresses)
    assert "http" not in page()


def test_every_link_has_its_heading_and_the_picture_is_a_picture():
    tags = Tags(page())
    links = [a["href"][1:] for tag, a in tags.seen if tag == "a"]
    assert links == [a["id"] for tag, a in tags.seen if tag == "h2"] == ["s1", "s2"]
    content = re.search(r"base64,([^\"]+)", page())[1]
    assert base64.b64decode(content).startswith(b"\x89PNG")


def test_figures_stand_to_the_right_and_texts_to_the_left():
    text = page()
    assert '<td class="figure">2.5e-06</td>' in text
    assert "<td>&lt;td&gt;</td>" in text
