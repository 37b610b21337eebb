"""Files from an address: checked, kept, and refused where they are not what they should be, with nothing left."""

import functools
import hashlib
import http.client
import http.server
import io
import shutil
import threading
import urllib.request

import pytest

from mass_jax.tasks.download import Address, download


@pytest.fixture
def server(tmp_path):
    """A web server of one folder, and how often it was asked."""
    folder = tmp_path / "web"
    folder.mkdir()
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, form, *arguments):
            asked.append(self.path)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder)) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{web.server_port}", asked
        web.shutdown()


def test_a_download_is_checked_and_kept(tmp_path, server):
    folder, url, asked = server
    (folder / "a.txt").write_text("content")
    address = Address(f"{url}/a.txt", hashlib.sha256(b"content").hexdigest())
    path = download(address, tmp_path / "kept")
    assert path.read_text() == "content"
    assert download(address, tmp_path / "kept") == path and len(asked) == 1
    path.write_text("damaged")
    assert download(address, tmp_path / "kept").read_text() == "content" and len(asked) == 2
    assert [each.name for each in path.parent.iterdir()] == ["a.txt"]


def test_another_file_than_expected_is_refused(tmp_path, server):
    folder, url, _ = server
    (folder / "a.txt").write_text("other")
    with pytest.raises(ValueError, match="a.txt is not the file it was: its SHA-256 should be 0123"):
        download(Address(f"{url}/a.txt", "0123"), tmp_path / "kept")
    assert list((tmp_path / "kept").iterdir()) == []


def test_an_address_that_cannot_be_reached(tmp_path, server):
    _, url, _ = server
    for address in (f"{url}/none.txt", "http://127.0.0.1:9/none.txt", f"file://{tmp_path}/none.txt"):
        with pytest.raises(
            ConnectionError,
            match="none.txt cannot be fetched .*: try again, or download it elsewhere and give its folder",
        ):
            download(Address(address), tmp_path / "kept")
    assert list((tmp_path / "kept").iterdir()) == []


def test_a_download_that_breaks_off(tmp_path, monkeypatch):
    source = tmp_path / "a.txt"
    source.write_text("content")

    def broken(response, file):
        file.write(b"con")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shutil, "copyfileobj", broken)
        download(Address(source.as_uri()), tmp_path / "kept")
    assert list((tmp_path / "kept").iterdir()) == []
    assert download(Address(source.as_uri()), tmp_path / "kept").read_text() == "content"


def answering(content: bytes, told: int | None, broken: Exception | None = None):
    """Stands in for `urlopen`: a server that announces ``told`` bytes."""

    class Response(io.BytesIO):
        headers = {} if told is None else {"Content-Length": str(told)}

        def read(self, size=-1):
            if broken and self.tell() == len(content):
                raise broken
            return super().read(size)

    return lambda *arguments, **options: Response(content)


@pytest.mark.parametrize(
    ("opened", "words"),
    [
        (answering(b"abc", 10), "it broke off after 3 of 10 bytes"),
        (answering(b"abc", None, http.client.IncompleteRead(b"", 7)), "IncompleteRead"),
        (answering(b"abc", 10, ConnectionResetError("reset by peer")), "reset by peer"),
    ],
)
def test_a_broken_transfer_is_a_sentence_and_leaves_nothing(tmp_path, monkeypatch, opened, words):
    monkeypatch.setattr(urllib.request, "urlopen", opened)
    with pytest.raises(ConnectionError, match=f"x.tar cannot be fetched .*{words}.*: try again, or download it else"):
        download(Address("http://host/x.tar"), tmp_path)
    assert list(tmp_path.iterdir()) == []


PAGE = b"<html>Too many requests</html>"


def test_a_page_in_place_of_a_file_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(urllib.request, "urlopen", answering(PAGE, len(PAGE)))
    with pytest.raises(ValueError, match="test.parquet is not the file it was: .* begins with b'<html>Too many"):
        download(Address("http://host/test.parquet"), tmp_path)
    assert list(tmp_path.iterdir()) == []
    whole = b"PAR1 and PAR1"
    monkeypatch.setattr(urllib.request, "urlopen", answering(whole, None))
    for damaged in (PAGE, whole[:-1], b""):
        (tmp_path / "test.parquet").write_bytes(damaged)  # by an earlier version, or a disk
        assert download(Address("http://host/test.parquet"), tmp_path).read_bytes() == whole
