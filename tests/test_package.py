"""The package as it is installed: with its configs, and run from any folder."""

import os
import subprocess
import sys
import tarfile
import zipfile

import pytest

from tests.support.paths import ROOT


def test_the_wheel_holds_the_configs_and_runs_from_any_folder(tmp_path):
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    built = tmp_path / "wheel"
    subprocess.run(
        [*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", built, ROOT], check=True
    )
    (wheel,) = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    configs = {path.relative_to(ROOT).as_posix() for path in (ROOT / "conf").rglob("*.yaml")}
    shipped = {n.removeprefix("resnet_repro/") for n in names if n.startswith("resnet_repro/conf/")}
    assert shipped == {name for name in configs if not name.startswith("conf/local/")}
    assert not [name for name in names if "tests" in name]
    beside = {
        p.relative_to(ROOT).as_posix() for p in (ROOT / "resnet_repro/report/page").glob("page.*")
    }
    assert {
        "resnet_repro/report/page/page.html.jinja",
        "resnet_repro/report/page/page.css",
    } < beside
    assert beside <= set(names)

    site = tmp_path / "site"
    subprocess.run([*pip, "install", "-q", "--no-deps", "--target", site, wheel], check=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    listed = subprocess.run(
        [sys.executable, site / "bin" / "resnet-repro", "status", "experiment=quickstart"],
        cwd=elsewhere,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "ResNet-32-seed0" in listed.stdout
    assert not list(elsewhere.iterdir())


def test_the_source_distribution_holds_all_that_its_tests_read(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", tmp_path]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    listed = ["git", "ls-files", "resnet_repro", "conf", "scripts", "tests", "results/published"]
    tracked = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=False)
    if tracked.returncode:
        pytest.skip("no checkout: only git knows which files belong to it")
    wanted = {name for name in tracked.stdout.splitlines() if (ROOT / name).is_file()}
    assert wanted | {"README.md", "pyproject.toml", "PKG-INFO", ".gitignore"} <= names
    assert not [name for name in names if name.startswith(("conf/local/", "data/", "results/runs"))]
