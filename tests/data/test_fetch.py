"""Fetching over http from a local server: it resumes, retries, verifies, and refuses unsafe redirections."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import re
import threading
import time
import urllib.request

import pytest

from dptrain.data import fetch as fetching
from dptrain.data.descriptor import Source
from dptrain.data.fetch import Watcher, fetch
from dptrain.errors import DataError

BODY = bytes(range(256)) * 400  # 102,400 bytes
RIGHT = f"sha256:{hashlib.sha256(BODY).hexdigest()}"


NOBODY = Watcher(lambda _: None, lambda *_: None)


class _Server(http.server.ThreadingHTTPServer):
    """Answers by the first part of the path; keeps what was asked: (path, Range)."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.breaks = 0  # so often "broken" ends in the middle


class _Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        """Be silent."""

    def do_GET(self):
        given = self.headers.get("Range")
        self.server.asked.append((self.path, given))
        kind = self.path.split("/")[1]
        start = int(re.fullmatch(r"bytes=(\d+)-", given)[1]) if given and kind != "whole" else 0
        if kind in ("404", "503"):
            self.send_error(int(kind))
        elif kind == "file":
            self._head(302, {"Location": "file:///etc/passwd", "Content-Length": "0"})
        elif kind == "ftp":
            self._head(302, {"Location": "ftp://127.0.0.1/set.bin", "Content-Length": "0"})
        elif kind == "moved":
            self._head(302, {"Location": "/good/" + self.path.rsplit("/", 1)[1], "Content-Length": "0"})
        elif kind == "loop":
            self._head(302, {"Location": self.path, "Content-Length": "0"})
        elif kind == "huge":
            self._head(200, {"Content-Length": str(1 << 50)})
        elif kind == "shifted":
            self._head(206, {"Content-Range": "bytes 5-9/10", "Content-Length": "5"})
        elif start >= len(BODY) and given:
            self.send_error(416)
        else:
            self._body(kind, start)

    def _body(self, kind, start):
        body = {"wrong": BODY[:-1] + b"?", "packed": gzip.compress(BODY, 1)}.get(kind, BODY)[start:]
        headers = {"Content-Length": str(len(body))}
        if start:
            headers["Content-Range"] = f"bytes {start}-{start + len(body) - 1}/{start + len(body)}"
        if kind == "unsized":
            del headers["Content-Length"]
        self._head(206 if start else 200, headers)
        if kind == "broken" and self.server.breaks > 0:
            self.server.breaks -= 1
            self.wfile.write(body[: len(body) // 3])
        elif kind == "silent":
            self.wfile.write(body[:1000])
            self.wfile.flush()
            time.sleep(3)
        elif kind == "slow":
            for at in range(0, len(body), 20_480):
                self.wfile.write(body[at : at + 20_480])
                self.wfile.flush()
                time.sleep(0.05)
        else:
            self.wfile.write(body)

    def _head(self, code, headers):
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(fetching, "_PAUSE", 0.0)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with _Server() as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture
def get(server, tmp_path):
    """get("404", "good") -> path; the kinds are mirrors, tried in this order."""

    def run(*kinds, digest=RIGHT, file="set.bin"):
        urls = tuple(f"{server.url}/{kind}/{file}" for kind in kinds)
        return fetch(
            Source(file, digest, ()), urls, tmp_path / "down", Watcher(asked.append, lambda *step: seen.append(step))
        )

    seen, asked = run.seen, run.asked = [], []
    return run


def _left(tmp_path):
    return sorted(p.name for p in (tmp_path / "down").iterdir())


@pytest.mark.parametrize("kind", ["good", "moved", "slow", "unsized"])
def test_a_file_arrives_whole_and_alone(get, tmp_path, kind):
    assert get(kind).read_bytes() == BODY
    assert _left(tmp_path) == ["set.bin"]
    assert get.seen[-1] == ("set.bin", len(BODY), 0 if kind == "unsized" else len(BODY))


def test_a_file_with_the_right_digest_is_not_fetched_again(get, server):
    get("good")
    get("good")
    assert len(server.asked) == 1


def test_a_file_with_a_wrong_digest_is_fetched_again(get, tmp_path):
    (tmp_path / "down").mkdir()
    (tmp_path / "down" / "set.bin").write_bytes(b"half of an earlier try")
    assert get("good").read_bytes() == BODY


def test_a_broken_transfer_continues_where_it_broke_off(get, server):
    server.breaks = 2
    assert get("broken").read_bytes() == BODY
    first = len(BODY) // 3
    second = first + (len(BODY) - first) // 3
    assert [asked for _, asked in server.asked] == [None, f"bytes={first}-", f"bytes={second}-"]


def test_an_earlier_process_is_continued_even_from_another_mirror(get, server, tmp_path):
    (tmp_path / "down").mkdir()
    (tmp_path / "down" / "set.bin.part").write_bytes(BODY[:70_000])
    assert get("404", "good").read_bytes() == BODY
    assert [asked for _, asked in server.asked] == ["bytes=70000-"] * 2


def test_a_server_without_range_is_read_from_the_start(get, tmp_path):
    (tmp_path / "down").mkdir()
    (tmp_path / "down" / "set.bin.part").write_bytes(BODY[:70_000])
    assert get("whole").read_bytes() == BODY


@pytest.mark.parametrize("old", [b"of another file" * 100, BODY + b"more", BODY[:-1] + b"?"])
def test_a_part_of_another_file_is_thrown_away(get, tmp_path, old):
    (tmp_path / "down").mkdir()
    (tmp_path / "down" / "set.bin.part").write_bytes(old)
    assert get("good").read_bytes() == BODY
    assert _left(tmp_path) == ["set.bin"]


def test_a_whole_part_is_used_as_it_is(get, tmp_path):
    (tmp_path / "down").mkdir()
    (tmp_path / "down" / "set.bin.part").write_bytes(BODY)
    assert get("good").read_bytes() == BODY


def test_the_next_mirror_is_asked_when_one_fails(get, server):
    assert get("404", "wrong", "503", "good").read_bytes() == BODY
    kinds = [path.split("/")[1] for path, _ in server.asked]
    assert kinds == ["404", "wrong", *["503"] * 4, "good"]


def test_each_address_is_reported_when_it_is_asked_and_why_it_is_asked_again(get, server):
    get("404", "503", "good")
    first, second, *again, last = get.asked
    assert (first, second, last) == tuple(f"{server.url}/{kind}/set.bin" for kind in ("404", "503", "good"))
    assert again == [f"{second}, again in 0 s: HTTP 503 Service Unavailable"] * 3


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("404", "/404/set.bin: HTTP 404 Not Found"),
        ("503", "HTTP 503"),
        ("wrong", "the content has sha256:"),
        ("file", "file:///etc/passwd"),
        ("ftp", "it redirects to ftp://127.0.0.1/set.bin: refused"),
        ("loop", "infinite loop"),
        ("huge", "it announces 1,125,899,906,842,624 bytes; at most"),
    ],
)
def test_a_failed_download_is_reported_with_address_path_and_digest(get, server, tmp_path, kind, words):
    with pytest.raises(DataError) as e:
        get(kind)
    for word in (words, f"{server.url}/{kind}/set.bin", str(tmp_path / "down"), RIGHT):
        assert word in "\n".join([str(e.value), *e.value.__notes__])
    assert "\n" not in str(e.value)
    assert [note for note in e.value.__notes__ if "\n" in note] == []
    assert not (tmp_path / "down" / "set.bin").exists()


def test_an_https_address_is_not_redirected_to_http():
    redirects = fetching._Redirects()
    given = urllib.request.Request("https://a/x")
    assert redirects.redirect_request(given, io.BytesIO(), 302, "", {}, "https://b/x").full_url == "https://b/x"
    with pytest.raises(fetching._Useless, match="it redirects to http://b/x: refused"):
        redirects.redirect_request(given, io.BytesIO(), 302, "", {}, "http://b/x")


def test_an_answer_from_another_place_is_refused(get, tmp_path):
    (tmp_path / "down").mkdir()
    (tmp_path / "down" / "set.bin.part").write_bytes(BODY[:7])
    with pytest.raises(DataError, match="asked for the rest from byte 7, it answers 'bytes 5-9/10'"):
        get("shifted")


def test_a_server_that_goes_on_breaking_leaves_a_part_for_next_time(get, server, tmp_path):
    server.breaks = 99
    with pytest.raises(DataError, match=r"it ended after [0-9,]+ of 102,400 bytes"):
        get("broken")
    assert _left(tmp_path) == ["set.bin.part"]
    server.breaks = 0
    assert get("broken").read_bytes() == BODY


def test_a_server_that_sends_nothing_is_given_up(get, monkeypatch):
    monkeypatch.setattr(fetching, "_SILENCE", 0.2)
    monkeypatch.setattr(fetching, "_TRIES", 1)
    with pytest.raises(DataError, match="timed out"):
        get("silent")


def test_a_server_that_is_not_there_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "_PAUSE", 0.0)
    with pytest.raises(DataError, match="Connection refused"):
        fetch(Source("a", RIGHT, ()), ("http://127.0.0.1:9/a",), tmp_path, NOBODY)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/a", "data:,hello", "/etc/passwd"])
def test_only_http_is_fetched(tmp_path, url):
    with pytest.raises(DataError, match="only http and https are fetched"):
        fetch(Source("a", RIGHT, ()), (url,), tmp_path, NOBODY)


def test_the_digest_of_a_single_gz_is_that_of_its_content(get):
    assert gzip.decompress(get("packed", file="set.gz").read_bytes()) == BODY
    with pytest.raises(DataError, match="the content has"):
        get("packed", file="set.tar.gz")


def test_md5_is_enough_if_no_sha256_is_published(get):
    assert get("good", digest=f"md5:{hashlib.md5(BODY).hexdigest()}").read_bytes() == BODY
