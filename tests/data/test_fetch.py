"""Data that is missing: fetched, unpacked or asked for."""

import errno
import hashlib
import re
import tarfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from torchvision.datasets import CIFAR10, CIFAR100

from resnet_repro.data import load_data
from resnet_repro.data.fetch import UNPACKED
from resnet_repro.errors import UserError
from tests.support.sets import cifar, make_cifar100


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_missing_data_that_cannot_be_fetched_says_what_to_do(name, tmp_path, monkeypatch):
    kind = {"cifar10": CIFAR10, "cifar100": CIFAR100}[name]
    monkeypatch.setattr(kind, "url", "http://127.0.0.1:9/cifar.tar.gz")  # nobody listens there
    with pytest.raises(UserError, match=rf"could not be downloaded .*\nPut {kind.filename}"):
        load_data(cifar(name, root=str(tmp_path)))
    with pytest.raises(UserError, match=r"data\.download=false"):
        load_data(cifar(name, root=str(tmp_path), download=False))


def pack_cifar100(root, monkeypatch):
    """Return the archive of such a set, official as far as its MD5 goes."""
    make_cifar100(root, monkeypatch)
    archive = root / CIFAR100.filename
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(root / CIFAR100.base_folder, CIFAR100.base_folder)
    md5 = hashlib.md5(archive.read_bytes()).hexdigest()
    monkeypatch.setattr(CIFAR100, "tgz_md5", md5)
    return archive


def test_missing_data_is_fetched_and_a_wrong_archive_is_not_taken(tmp_path, monkeypatch):
    archive = pack_cifar100(tmp_path / "served", monkeypatch)
    handler = partial(SimpleHTTPRequestHandler, directory=archive.parent)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/{archive.name}"
        monkeypatch.setattr(CIFAR100, "url", url)
        with monkeypatch.context() as patch:
            patch.setattr(CIFAR100, "tgz_md5", "0" * 32)
            with pytest.raises(UserError, match="could not be downloaded"):
                load_data(cifar("cifar100", root=str(tmp_path / "wrong")))
        for root in ("new", "wrong"):  # where a wrong archive lies by now, it is fetched again
            data = load_data(cifar("cifar100", root=str(tmp_path / root)))
            assert len(data.train) == 200
        server.shutdown()


def test_processes_that_begin_together_fetch_once(tmp_path, monkeypatch):
    """One fetches, slowly; the others wait for it, and take nothing half written for damaged."""
    archive = pack_cifar100(tmp_path / "served", monkeypatch)
    fetched = []

    def slowly(_, root, filename, __):
        fetched.append(root)
        content = archive.read_bytes()
        (root / filename).write_bytes(content[:100])
        time.sleep(0.5)
        (root / filename).write_bytes(content)

    monkeypatch.setattr("resnet_repro.data.fetch.download_url", slowly)
    config = cifar("cifar100", root=str(tmp_path / "new"))
    with ThreadPoolExecutor(3) as pool:
        sets = list(pool.map(load_data, [config] * 3))
    assert [len(data.train) for data in sets] == [200] * 3
    assert len(fetched) == 1


def test_an_archive_that_lies_there_is_unpacked_without_a_network(tmp_path, monkeypatch, run_cli):
    """With data.download=false nothing is fetched, whatever lies there in place of the archive."""
    whole = pack_cifar100(tmp_path / "served", monkeypatch).read_bytes()
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: pytest.fail("a network"))
    config = cifar("cifar100", root=str(tmp_path / "x"), download=False)
    archive = tmp_path / "x" / CIFAR100.filename
    archive.parent.mkdir()
    damaged = f"{archive} is damaged: its MD5 differs from the official one"
    for content in (b"", b"<html>404</html>", whole[: len(whole) // 2], b"noise" * 99):
        archive.write_bytes(content)
        with pytest.raises(UserError, match=re.escape(damaged)):
            load_data(config)
    outcome = run_cli("experiment=preact_best", "row=ResNet-164 CIFAR-100", "seeds=[0]",
                      f"data.root={tmp_path / 'x'}", "data.download=false")  # fmt: skip
    assert outcome.code == 1
    assert damaged in outcome.err
    assert f"data.download=false.\nDelete {archive}. Put {CIFAR100.filename}" in outcome.err
    archive.write_bytes(whole)

    def write_half(folder):
        half = Path(folder, CIFAR100.base_folder, CIFAR100.train_list[0][0])
        half.parent.mkdir()
        half.write_bytes(b"half")

    def full(self, path, *_, **__):
        write_half(path)
        raise OSError(errno.ENOSPC, "No space left on device")

    def stopped(self, path, *_, **__):
        write_half(path)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tarfile.TarFile, "extractall", full)
        with pytest.raises(UserError, match=r"gz cannot be unpacked into .*x: No space left"):
            load_data(config)
        patch.setattr(tarfile.TarFile, "extractall", stopped)
        with pytest.raises(KeyboardInterrupt):
            load_data(config)
    killed = archive.parent / f"{UNPACKED}a"
    killed.mkdir()
    write_half(killed)
    assert len(load_data(config).train) == 200  # and no half of it is taken for damaged
    made = {path.name for path in archive.parent.iterdir() if path.is_dir()}
    assert made == {CIFAR100.base_folder}
