"""Layer responses."""

import json
import shutil

import pytest
import torch

from resnet_repro.data import load_data, make_feed
from resnet_repro.engine.responses import layer_responses
from resnet_repro.models import build_model
from resnet_repro.report.pictures import registry as plots
from tests.support.runs import ON_SYNTHETIC, changed


def test_responses_are_the_spread_of_each_3x3_layer_after_batch_norm(config):
    """Against the layers computed one after the other."""
    config = changed(config, model={"depth": 14, "shortcut": "B"})
    torch.manual_seed(0)
    model = build_model(config.model).eval()
    feed = make_feed(load_data(config.data), config, torch.device("cpu"))
    batches = [views[:, 0] for _, views in feed.test(config.evaluation)]
    with torch.no_grad(), layer_responses(model) as responses:
        for images in batches:
            model(images)
    x, expected = torch.cat(batches), []
    with torch.no_grad():
        x = model.stem.bn.normalised(model.stem.conv(x))
        expected.append(x.std(correction=0))
        x = x.relu()
        for block in model.blocks():
            f = block.residual
            y = f.bn1.normalised(f.conv1(x))
            z = f.bn2.normalised(f.conv2(y.relu()))
            expected += [y.std(correction=0), z.std(correction=0)]
            x = (z + block.shortcut(x)).relu()
    assert len(responses) == 13
    torch.testing.assert_close(torch.tensor([r.std() for r in responses]), torch.stack(expected))


@pytest.mark.pictures
def test_layer_responses_of_networks_that_another_table_trained(run_cli, tmp_path, monkeypatch):
    """`cifar_responses` measures what is there, trains what is not, and renders without both."""
    monkeypatch.setattr(plots, "PICTURES", {})  # but for that of the responses
    settings = ON_SYNTHETIC
    assert run_cli("experiment=cifar_plain", "row=plain-20", *settings).code == 0
    outcome = run_cli("experiment=cifar_responses", "row=[plain-20,ResNet-20]", *settings)
    assert outcome.code == 0, outcome.err
    assert "2 runs, 1 to train, 1 more to test" in outcome.out
    pictures = list((tmp_path / "results").rglob("responses.png"))
    assert len(pictures) == 1
    records = json.loads((pictures[0].parent / "records.json").read_text())
    stds = [run["evaluations"]["responses"]["std"] for run in records["runs"]]
    assert [len(each) for each in stds] == [19, 19]
    assert min(map(min, stds)) > 0
    before = pictures[0].with_suffix(".svg").read_bytes()
    shutil.rmtree(tmp_path / "results/runs")
    assert run_cli("table", "experiment=cifar_responses", *settings).code == 0
    assert pictures[0].with_suffix(".svg").read_bytes() == before
