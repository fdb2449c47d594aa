"""Networks that runs trained, in a program of one's own."""

import pytest
import torch

from resnet_repro.data import load_data
from resnet_repro.engine.trained import load_network
from resnet_repro.errors import UserError
from resnet_repro.plan import Run
from resnet_repro.records.errors import DamagedError
from tests.support.training import of, train


def test_a_loaded_network_makes_the_errors_of_the_record(config, tmp_path, monkeypatch):
    folder = tmp_path / f"a ResNet-seed{config.seed}-{Run('ResNet-8', config).digest}"
    events = train(config, folder)
    monkeypatch.chdir(folder)
    images = load_data(config.data).test
    for where in (folder, ".", str(folder)):
        model, inputs = load_network(where)
        with torch.no_grad():
            wrong = model(inputs.normalise(images.pixels)).argmax(dim=1) != images.labels
        assert of(events, "test")[-1]["num_errors"] == int(wrong.sum())
    (folder / "last.pt").write_bytes(b"damaged")
    with pytest.raises(DamagedError, match="can be used"):
        load_network(folder)
    (folder / "last.pt").unlink()
    with pytest.raises(UserError, match=r"has no weights: copy last\.pt back"):
        load_network(folder)


def test_what_is_no_classifiers_run_is_refused(config, tmp_path):
    with pytest.raises(UserError, match="is not the folder of a run"):
        load_network(tmp_path)
    (tmp_path / "config.yaml").write_text("detector: {step: regions}")
    with pytest.raises(UserError, match="is of a detector"):
        load_network(tmp_path)
