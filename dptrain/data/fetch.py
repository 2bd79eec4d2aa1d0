"""Fetches one file over http(s): mirrors in turn, resumed after an interruption, kept only if its digest is right.

A partly fetched file is called FILE.part; the next attempt, of any process, continues it. FILE is always complete.
"""

from __future__ import annotations

import http.client
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO, NamedTuple

from dptrain import __version__
from dptrain.data.descriptor import Source
from dptrain.errors import DataError


class Watcher(NamedTuple):
    """Functions that are called as a download goes on."""

    asks: Callable[[str], None]  #: the address that is asked now, and why it is asked again
    brings: Callable[[str, int, int], None]  #: file, bytes so far, bytes in all (0: unknown)


_TRIES = 4  #: per URL; each continues where the last one stopped
_PAUSE = 1.0  #: seconds before the second try; doubled before each further one
_SILENCE = 30.0  #: seconds without a byte
_BLOCK = 1 << 18
_MOST_BYTES = 8 << 30
_AGAIN = (408, 425, 429, 500, 502, 503, 504)  #: HTTP codes after which the same URL may work a little later


class _Broken(Exception):
    """Another try may succeed. Never leaves this file."""


class _Useless(Exception):
    """Another try cannot succeed. Never leaves this file."""


class _Answer(NamedTuple):
    """What the server is about to send."""

    start: int  #: position of its first byte in the file
    total: int  #: bytes of the whole file; 0: unknown


def fetch(source: Source, urls: tuple[str, ...], directory: Path, watcher: Watcher) -> Path:
    """The verified file in `directory`. Raises DataError with one note per address."""
    target, failures = directory / source.file, []
    if target.is_file() and source.digest_of(target) == source.digest:
        return target
    directory.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    for url in urls:
        failure = _from(url, part, source, watcher)
        if failure is None:
            part.replace(target)
            return target
        failures.append(f"{url}: {failure}")
    failed = DataError(f"{source.file} could not be fetched into {directory}")
    for note in (*failures, f"what it should hold: {source.digest}"):
        failed.add_note(note)
    raise failed


def _from(url: str, part: Path, source: Source, watcher: Watcher) -> str | None:
    """None if `part` is the right file, else the reason."""
    reason = ""
    for attempt in range(_TRIES):
        pause = _PAUSE * 2 ** (attempt - 1) if attempt else 0.0
        watcher.asks(f"{url}, again in {pause:g} s: {reason}" if attempt else url)
        time.sleep(pause)
        continued = part.is_file() and part.stat().st_size > 0
        try:
            _transfer(url, part, source.file, watcher)
            found = source.digest_of(part)
        except _Useless as useless:
            return str(useless)
        except (_Broken, DataError) as broken:
            if isinstance(broken, DataError):  # not even gzip
                part.unlink(missing_ok=True)
            reason = str(broken)
            continue
        except OSError as error:
            raise DataError(f"{part} cannot be written: {error.strerror}") from error
        if found == source.digest:
            return None
        part.unlink()
        reason = f"the content has {found}: thrown away"
        if not continued:  # else the old part may be of another file
            break
    return reason


def _transfer(url: str, part: Path, name: str, watcher: Watcher) -> None:
    """Brings `part` to its full length. Raises _Broken, _Useless and OSError (of the disk)."""
    have = part.stat().st_size if part.is_file() else 0
    headers = {"User-Agent": f"dptrain/{__version__}", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    if not url.startswith(("http://", "https://")):
        raise _Useless("only http and https are fetched")
    with _open(urllib.request.Request(url, headers=headers), part) as response:
        answer = _answer(response, have)
        with part.open("ab" if answer.start else "wb") as file:
            done = answer.start
            while block := _read(response):
                file.write(block)
                done += len(block)
                if done > _MOST_BYTES:
                    raise _Useless(f"it sends more than {_MOST_BYTES:,} bytes")
                watcher.brings(name, done, answer.total)
    if answer.total and done != answer.total:
        raise _Broken(f"it ended after {done:,} of {answer.total:,} bytes")


def _open(request: urllib.request.Request, part: Path) -> http.client.HTTPResponse:
    try:
        response = _opener().open(request, timeout=_SILENCE)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # the part is longer than the file: it is of another file
            part.unlink(missing_ok=True)
            raise _Broken("its file is shorter than what was here") from error
        kind = _Broken if error.code in _AGAIN else _Useless
        raise kind(f"HTTP {error.code} {' '.join(str(error.reason).split())[:200]}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _Broken(_words(error)) from error
    assert isinstance(response, http.client.HTTPResponse)
    return response


def _answer(response: http.client.HTTPResponse, have: int) -> _Answer:
    length = response.headers.get("Content-Length", "")
    size = int(length) if length.isascii() and length.isdigit() and len(length) < 20 else 0
    if response.status == 206:
        match = re.fullmatch(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)", response.headers.get("Content-Range", ""))
        if match is None or int(match[1]) != have:
            raise _Useless(f"asked for the rest from byte {have}, it answers {response.headers.get('Content-Range')!r}")
        answer = _Answer(have, 0 if match[2] == "*" else int(match[2]))
    else:
        answer = _Answer(0, size)
    if max(answer.total, size) > _MOST_BYTES:
        raise _Useless(f"it announces {max(answer.total, size):,} bytes; at most {_MOST_BYTES:,} are fetched")
    return answer


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read1(_BLOCK)
    except (OSError, http.client.HTTPException) as error:
        raise _Broken(_words(error)) from error


def _words(error: BaseException) -> str:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    return " ".join(str(reason).split()) or type(error).__name__


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https only, and never from https to http."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """The request to `newurl`."""
        if not newurl.startswith(("https://", "http://")) or (req.type == "https" and newurl.startswith("http://")):
            raise _Useless(f"it redirects to {newurl[:200]}: refused")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    """Without the handlers for file:, ftp: and data: that urllib brings along."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    return opener
