"""The package as it is installed: with its configs, and run from any folder."""

import os
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import Distribution

import pytest

from tests.support.paths import ROOT


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Return the folder of a wheel and a source distribution."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-t", "wheel", "-d", folder]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    return folder


def test_the_wheel_holds_the_configs_and_runs_from_any_folder(built, tmp_path):
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
    zipfile.ZipFile(wheel).extractall(site)
    (info,) = site.glob("*.dist-info")
    (command,) = Distribution.at(info).entry_points.select(group="console_scripts")
    assert (command.name, command.value) == ("resnet-repro", "resnet_repro.cli.main:main")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    listed = subprocess.run(
        [sys.executable, "-m", "resnet_repro", "status", "experiment=quickstart"],
        cwd=elsewhere,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "ResNet-32-seed0" in listed.stdout
    assert not list(elsewhere.iterdir())


def test_the_source_distribution_holds_all_that_its_tests_read(built):
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    listed = ["git", "ls-files", "resnet_repro", "conf", "scripts", "tests", "results/published"]
    tracked = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=False)
    if tracked.returncode:
        pytest.skip("no checkout: only git knows which files belong to it")
    wanted = {name for name in tracked.stdout.splitlines() if (ROOT / name).is_file()}
    assert wanted | {"README.md", "pyproject.toml", "PKG-INFO", ".gitignore"} <= names
    assert not [name for name in names if name.startswith(("conf/local/", "data/", "results/runs"))]
