"""The package as it is installed: with its configs, and run from any folder."""

import os
import subprocess
import sys
import zipfile

from conftest import ROOT


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

    site = tmp_path / "site"
    subprocess.run([*pip, "install", "-q", "--no-deps", "--target", site, wheel], check=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    listed = subprocess.run(
        [sys.executable, site / "bin" / "resnet-repro"],
        cwd=elsewhere,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "cifar_depth" in listed.stdout
    assert not list(elsewhere.iterdir())
