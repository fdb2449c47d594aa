"""Test protocols, one image at a time."""

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from torch import nn

from resnet_repro.data import make_feed, stream
from resnet_repro.data.images import DataSet, Images
from resnet_repro.data.inputs import Inputs
from resnet_repro.distributed.group import Group
from resnet_repro.engine import evaluate
from resnet_repro.engine.classification import count_errors
from resnet_repro.engine.evaluate import Classifier, predict, reestimated
from resnet_repro.engine.signals import Stop
from resnet_repro.errors import StoppedRun, UserError
from resnet_repro.models import build_model
from resnet_repro.settings.evaluation import EvaluationConfig
from tests.support.photos import feed_of
from tests.support.protocols import ONE, TEN, VIEWS, slowly
from tests.support.runs import changed
from tests.support.training import EAGER


def test_every_image_is_counted_once(config):
    class Brightest(nn.Module):
        def forward(self, x):
            return x.mean(dim=(2, 3))

    pixels = torch.randint(256, (103, 3, 4, 4), dtype=torch.uint8)
    labels = pixels.float().mean(dim=(2, 3)).argmax(dim=1)
    labels[[5, 50, 102]] = (labels[[5, 50, 102]] + 1) % 3
    images, inputs = Images(pixels, labels), Inputs(torch.zeros(3, 1, 1))
    data = DataSet(images, images, ("r", "g", "b"))
    feed = make_feed(data, config, torch.device("cpu"), inputs=inputs)
    classifier = evaluate.Classifier(Brightest(), EAGER)
    counts = evaluate.evaluate_model(classifier, feed, EvaluationConfig(batch_size=20))
    assert counts == {"num_errors": 3, "num_images": 103}


def test_a_process_without_images_has_no_scores(config):
    """Of more processes than test images."""
    pixels = torch.randint(256, (3, 3, 4, 4), dtype=torch.uint8)
    images, inputs = Images(pixels, torch.zeros(3, dtype=torch.int64)), Inputs(torch.zeros(3, 1, 1))
    data = DataSet(images, images, ("r", "g", "b"))
    config, group = changed(config, recipe={"bn_batch": None}), Group(rank=3, size=4)
    feed = make_feed(data, config, torch.device("cpu"), group, inputs)
    assert not len(feed.test_labels)
    assert predict(Classifier(nn.Flatten(), EAGER), feed, EvaluationConfig()).shape == (0, 1)


@pytest.fixture
def network(settings):
    """Return a small network that finds the images different."""
    torch.manual_seed(0)
    feed, model = feed_of(settings), build_model(settings.model)
    views = torch.cat([views[:, 0] for _, views in feed.test(ONE)])
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        model.train()(views)
        logits = model.eval()(views)
        model.fc.weight.mul_(2 / logits.std(dim=0).mean())
        model.fc.bias.sub_(model(views).mean(dim=0))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.1
    return model


@torch.no_grad()
@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("workers", [0, 2])
def test_a_protocol_is_what_it_says_one_image_at_a_time(settings, network, name, workers):
    evaluation, views_of = VIEWS[name]
    settings = replace(settings, compute=replace(settings.compute, workers=workers))
    feed = feed_of(settings)
    scores = predict(Classifier(network, EAGER), feed, evaluation)
    expected = slowly(network, settings, feed.inputs, views_of)
    assert expected.std(dim=0).min() > 0.01
    torch.testing.assert_close(scores / scores.sum(dim=1, keepdim=True), expected)
    wrong = (expected.argmax(dim=1) != feed.test_labels).sum()
    assert count_errors(scores, feed.test_labels) == {"num_errors": int(wrong), "num_images": 12}


def test_several_processes_test_each_image_once(settings, network):
    whole = feed_of(settings)
    scores = predict(Classifier(network, EAGER), whole, TEN)
    for size in (2, 5):  # 12 images: not the same number each
        recipe = replace(settings.recipe, bn_batch=None, batch_size=20)
        config = replace(settings, recipe=recipe)
        for rank in range(size):
            feed = feed_of(config, group=Group(rank, size), inputs=whole.inputs)
            torch.testing.assert_close(
                predict(Classifier(network, EAGER), feed, TEN), scores[rank::size]
            )


def test_the_five_best_count():
    scores = torch.eye(8) + torch.arange(8.0) / 100
    labels = torch.tensor([0, 1, 0, 0, 7, 7, 6, 0])  # of 5 best: the own class, then 7, 6, 5, 4
    ranked = [scores[i].argsort(descending=True).tolist() for i in range(8)]
    first = sum(labels[i] != ranked[i][0] for i in range(8))
    five = sum(int(labels[i]) not in ranked[i][:5] for i in range(8))
    assert count_errors(scores, labels) == {
        "num_errors": first,
        "num_errors_top5": five,
        "num_images": 8,
    }
    assert (int(first), five) == (5, 3)
    with pytest.raises(UserError, match="none of the test images can be read"):
        count_errors(torch.full((8, 8), -1.0), labels)


def test_photographs_of_several_sizes_are_read_a_few_at_a_time(settings, monkeypatch):
    """Each of these is as large as 8 crops."""
    several = replace(settings.evaluation, protocol="multi_scale", sizes=[40, 80], batch_size=20)
    feed, asked = feed_of(settings), []
    monkeypatch.setattr(
        stream, "load", lambda _, parts, *__, **___: asked.extend(parts) or (i for i in ())
    )
    assert not list(feed.test(several))
    assert [len(part) for part in asked] == [2] * 6


def test_an_unreadable_test_image_is_left_out_of_the_count(settings, network, tmp_path):
    (tmp_path / "set" / "val" / "n00000001" / "2.JPEG").write_bytes(b"")
    with pytest.raises(UserError, match=r"2\.JPEG cannot be read"):
        predict(Classifier(network, EAGER), feed_of(settings), TEN)
    feed = feed_of(replace(settings, data=replace(settings.data, skip_unreadable=True)))
    scores = predict(Classifier(network, EAGER), feed, TEN)
    assert count_errors(scores, feed.test_labels)["num_images"] == 11


def test_a_test_is_stopped_in_all_processes_or_in_none(settings, network):
    """One that is done would wait for the counts of one that was stopped."""

    class Pair(Group):
        def all_reduce_any(self, *flags):
            return [others or flag for flag in flags]

    for others, own in ((True, False), (False, True), (False, False)):
        stop = Stop()
        stop.came = own
        group = Pair(0, 2)
        expected = pytest.raises(StoppedRun, match="stopped during a test")
        with expected if others or own else nullcontext():
            predict(Classifier(network, EAGER), feed_of(settings), ONE, stop, group)


def test_reestimated_averages_are_the_mean_over_the_groups(settings, network):
    feed = feed_of(settings)
    batches = list(feed.train(0, 3))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    first = network.stem
    groups = [part for images, _ in batches for part in images.split(8)]
    outputs = [first.conv(group) for group in groups]
    mean = torch.stack([out.mean(dim=(0, 2, 3)) for out in outputs]).mean(dim=0)
    var = torch.stack([out.var(dim=(0, 2, 3)) for out in outputs]).mean(dim=0)
    with torch.no_grad(), reestimated(network, batches, 8, EAGER):
        torch.testing.assert_close(first.bn.running_mean, mean)
        torch.testing.assert_close(first.bn.running_var, var)
        assert not network.training
    after = network.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert first.bn.momentum == 0.1
    stop = Stop()
    stop.came = True
    with (
        pytest.raises(StoppedRun, match="re-estimated"),
        reestimated(network, batches, 8, EAGER, stop=stop),
    ):
        pass
    assert all(torch.equal(after[name], value) for name, value in before.items())
