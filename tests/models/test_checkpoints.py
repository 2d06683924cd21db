"""Checkpoints on disk and in the hub's cache: what is whole, what is not, and what it is."""

from __future__ import annotations

import json
import os
import struct
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from reportcard.api import ReportCardError
from reportcard.models import checkpoints
from reportcard.models.checkpoints import Checkpoint, fetch, locate, safetensors_shapes, size_of

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NEEDS = ("config.json", "*.safetensors")


def write_safetensors(path: Path, **shapes: tuple[int, ...]) -> Path:
    """float32 zeros under these names, in the published format."""
    header, at = {}, 0
    for name, shape in shapes.items():
        size = 4
        for side in shape:
            size *= side
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(at))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "weights"
    made.mkdir()
    (made / "config.json").write_text("{}")
    write_safetensors(made / "model.safetensors", a=(2, 3), b=(4,))
    return made


def problem(weights: str | Path | None, needs: tuple[str, ...] = NEEDS) -> str:
    with pytest.raises(ReportCardError) as caught:
        locate(None if weights is None else str(weights), needs)
    return str(caught.value)


def test_a_whole_folder_is_found(folder: Path) -> None:
    found = locate(str(folder), NEEDS)
    assert (found.folder, found.revision) == (folder, None)
    assert safetensors_shapes(found.path("model.safetensors")) == {"a": (2, 3), "b": (4,)}
    assert size_of(folder, ("*.safetensors",)) == (folder / "model.safetensors").stat().st_size


def test_a_home_folder_may_be_written_with_a_tilde(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    assert locate("~/weights", NEEDS).folder == folder


def test_what_cannot_be_a_checkpoint_is_named(folder: Path) -> None:
    assert "no weights given" in problem(None)
    assert "no weights given" in problem("")
    assert "there is no folder" in problem(folder / "elsewhere")
    assert "is a file" in problem(folder / "config.json")
    assert "needs a commit" in problem("org/name")
    assert "needs a commit" in problem("org/name@main")
    assert "needs a commit" in problem(f"org/name@{COMMIT[:7]}")
    with pytest.raises(ReportCardError, match=r"model\.base: there is no folder"):
        locate("/nowhere/at/all", NEEDS, option="model.base")


def test_a_missing_file_is_named_with_what_is_there(folder: Path) -> None:
    said = problem(folder, ("config.json", "tokenizer.json"))
    assert "lacks tokenizer.json" in said
    assert "model.safetensors" in said
    empty = folder / "empty"
    empty.mkdir()
    assert "there is nothing" in problem(empty)


@pytest.mark.parametrize("name", ["model.safetensors.incomplete", "x.part", "y.aria2", "z.tmp"])
def test_a_running_download_is_no_checkpoint(folder: Path, name: str) -> None:
    (folder / ".cache").mkdir()
    (folder / ".cache" / name).write_bytes(b"")
    assert "an incomplete download" in problem(folder)
    assert name in problem(folder)


def test_missing_shards_are_counted(folder: Path) -> None:
    index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "1 of 2 shards" in problem(folder)
    assert "model-2.safetensors" in problem(folder)
    write_safetensors(folder / "model-2.safetensors", b=(4,))
    assert locate(str(folder), NEEDS)


@pytest.mark.parametrize("text", ["[]", '"x"', '{"weight_map": [1]}', "{}", '{"weight_map": {}}'])
def test_an_index_without_shards_is_said_to_be_broken(folder: Path, text: str) -> None:
    (folder / "model.safetensors.index.json").write_text(text)
    assert "model.safetensors.index.json" in problem(folder)


def test_an_index_may_not_lead_out_of_the_folder(folder: Path) -> None:
    outside = write_safetensors(folder.parent / "outside.safetensors", a=(1,))
    index = {"weight_map": {"a": f"../{outside.name}"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "outside" in problem(folder)


def test_a_cut_file_is_found_before_anything_is_loaded(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    assert "an incomplete download" in problem(folder)


def test_a_file_repaired_in_the_same_process_is_looked_at_again(folder: Path) -> None:
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    assert locate(str(folder), NEEDS)
    path.write_bytes(whole[:-1])
    assert "an incomplete download" in problem(folder)
    path.write_bytes(whole)
    assert locate(str(folder), NEEDS)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 4,
        b"\xff" * 64,
        struct.pack("<Q", 10**12) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 4) + b"null",
        struct.pack("<Q", 3) + b"{\xff}",
        struct.pack("<Q", 9) + b'{"a": {}}',
        struct.pack("<Q", 41) + b'{"a":{"shape":[1],"data_offsets":["x",1]}}',
        struct.pack("<Q", 42) + b'{"a":{"shape":[1],"data_offsets":[0,"x"]}}',
        struct.pack("<Q", 5000) + b"[" * 5000,
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4\n",
    ],
)
def test_hostile_bytes_are_no_safetensors_file(folder: Path, content: bytes) -> None:
    (folder / "model.safetensors").write_bytes(content)
    assert "is no safetensors file" in problem(folder)


def test_what_no_model_reads_is_no_part_of_an_identity(folder: Path) -> None:
    """`hf download --local-dir` leaves .cache, whose files have times in them."""
    before = locate(str(folder), NEEDS).identity
    (folder / ".cache" / "huggingface").mkdir(parents=True)
    for name in (
        *(".cache/huggingface/a.metadata", ".gitattributes", "README.md", "README", "LICENSE.txt"),
        *("NOTICE.md", "readme.rst"),
    ):
        (folder / name).write_text("1")
    assert locate(str(folder), NEEDS).identity == before


def test_an_identity_follows_the_content_of_every_file(folder: Path) -> None:
    before = locate(str(folder), NEEDS).identity
    moved = folder.rename(folder.parent / "moved")
    assert locate(str(moved), NEEDS).identity == before
    (moved / "config.json").write_text('{"a": 1}')
    changed = locate(str(moved), NEEDS).identity
    (moved / "extra.txt").write_text("x")
    assert len({before, changed, locate(str(moved), NEEDS).identity}) == 3


def test_a_large_file_is_hashed_once_until_it_changes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_safetensors(folder / "model.safetensors", a=(2**19,))
    hashed: list[Path] = []
    real = checkpoints.file_digest
    monkeypatch.setattr(checkpoints, "file_digest", lambda p: hashed.append(p) or real(p))

    def identity() -> str:
        return Checkpoint(folder, str(folder)).identity

    first = identity()
    assert identity() == first
    assert hashed.count(path) == 1
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(0, 10**18))
    assert identity() != first
    assert hashed.count(path) == 2


def test_a_broken_book_of_digests_is_written_anew(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from reportcard.core.weights import weights_dir

    write_safetensors(folder / "model.safetensors", a=(2**19,))
    first = Checkpoint(folder, str(folder)).identity
    for text in ("{", "[]", "null", f'{{"{folder / "model.safetensors"}": 7}}'):
        (weights_dir() / "digests.json").write_text(text)
        assert Checkpoint(folder, str(folder)).identity == first


# The hub: its cache in the true layout, and a server on the loopback.


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    constants = pytest.importorskip("huggingface_hub.constants", reason="needs the gpu extra")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


class _Hub(BaseHTTPRequestHandler):
    """Answers every question with one status and one `X-Error-Code`, as huggingface.co does."""

    status, code = 401, "GatedRepo"
    asked = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        self.send_response(self.status)
        self.send_header("X-Error-Code", self.code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:
        return None


@pytest.fixture
def hub(hub_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[_Hub]]:
    from huggingface_hub import constants

    handler = type("Hub", (_Hub,), {})
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("HF_ENDPOINT", address)
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield handler
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_snapshot_in_the_hub_cache_is_found(hub_cache: Path, hub: type[_Hub]) -> None:
    weights = f"org/name@{COMMIT}"
    assert f"hf download org/name --revision {COMMIT}" in problem(weights)
    repository = hub_cache / "models--org--name"
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    (repository / "blobs" / "c").write_text("{}")
    (snapshot / "config.json").symlink_to("../../blobs/c")
    assert "lacks *.safetensors" in problem(weights)
    with pytest.raises(ReportCardError, match=r"lacks"):
        fetch(weights, NEEDS)
    assert hub.asked  # it wanted to go on with the download
    write_safetensors(repository / "blobs" / "m", a=(1,))
    (snapshot / "model.safetensors").symlink_to("../../blobs/m")
    found = fetch(weights, NEEDS)
    assert (found.folder, found.revision, found.identity) == (snapshot, COMMIT, weights)


@pytest.mark.parametrize(
    ("status", "code", "sentence"),
    [
        (401, "GatedRepo", r"org/name is behind a gate: accept its licence at http://127.*hf auth"),
        (403, "GatedRepo", r"org/name is behind a gate"),
        (404, "RepoNotFound", r"has no org/name, or it is private"),
        (404, "RevisionNotFound", rf"org/name has no commit {COMMIT}"),
        (418, "", r"could not fetch org/name"),
    ],
)
def test_the_hub_refuses_in_a_sentence(
    hub: type[_Hub], status: int, code: str, sentence: str
) -> None:
    hub.status, hub.code = status, code
    with pytest.raises(ReportCardError, match=sentence):
        fetch(f"org/name@{COMMIT}", NEEDS)


def test_no_network_is_a_sentence_with_a_way_out(
    hub: type[_Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ReportCardError, match=r"could not fetch org/name.*model\.weights=FOLDER"):
        fetch(f"org/name@{COMMIT}", NEEDS)
