"""Training of detectors: what moves and what stays, and what a step starts from."""

import hashlib
import shutil
from dataclasses import replace

import pytest
import torch
import torchvision

from resnet_repro.data import Inputs
from resnet_repro.data.decode import read_image
from resnet_repro.detection.feed import Sample, SceneFeed
from resnet_repro.detection.pyramid import Photograph
from resnet_repro.detection.scenes import load_scenes
from resnet_repro.detection.targets import learned, region_targets
from resnet_repro.distributed.group import SINGLE_PROCESS, Group
from resnet_repro.engine.detection import restore
from resnet_repro.engine.detection import step as step_of_detectors
from resnet_repro.engine.detection.restore import load_start, new_detector
from resnet_repro.engine.detection.step import DetectorLoss, DetectorStep
from resnet_repro.engine.execution import choose_execution
from resnet_repro.engine.optim import build_optimizer
from resnet_repro.engine.restore import restore_classifier
from resnet_repro.errors import UserError
from resnet_repro.models import build_model
from resnet_repro.plan import Run
from resnet_repro.records import Record
from tests.support.detection_runs import (
    chain,
    classifier,
    equal_names,
    settings,
    train,
    weights,
    with_fields,
    write_squares,
)
from tests.support.training import CPU, EAGER, GPU

GREY = Inputs(torch.full((3, 1, 1), 0.45), torch.full((3, 1, 1), 0.2))


def test_frozen_layers_and_batch_norm_keep_all_bits_in_20_steps(squares):
    config = settings(squares)
    torch.manual_seed(0)
    detector = new_detector(config).train()
    before = {name: tensor.clone() for name, tensor in detector.state_dict().items()}
    feed = SceneFeed(load_scenes(config.data), config, SINGLE_PROCESS, CPU, GREY)
    optimizer = build_optimizer(detector, config.recipe)
    step = DetectorStep(detector, optimizer, config, EAGER, SINGLE_PROCESS, None, 16)
    for batch in feed.batches(0, 20):
        totals = step(*feed.to_inputs(*batch))
        assert totals.isfinite().all()
    kept = equal_names(before, detector.state_dict())
    trained = {name for name, weight in detector.named_parameters() if weight.requires_grad}
    assert kept == before.keys() - trained
    assert {"stem.conv.weight", "stages.0.0.residual.conv1.weight"} <= kept
    assert not any("bn" in name for name in trained)


@pytest.mark.parametrize(
    ("step", "context"),
    [("proposals", False), *((step, c) for step in ("regions", "joint") for c in (False, True))],
)
def test_all_that_is_trained_has_a_gradient_for_any_photograph(squares, step, context):
    """Also one too small for any anchor, as processes wait for each other's gradients."""
    config = settings(squares, step, detector={"context": context}, data={"image_size": 8})
    detector = new_detector(config).train()
    none = torch.zeros(0, 4)
    loss = DetectorLoss(detector, config, EAGER, lambda sample: none)
    photograph = Photograph(9, 8, lambda height, width: torch.randn(3, height, width))
    box = torch.tensor([[1.0, 1, 6, 7]])
    value, share = loss(0, Sample(0, photograph, False, box, torch.tensor([1])))
    value.backward()
    for name, weight in detector.named_parameters():
        assert (weight.grad is not None) == weight.requires_grad, name
    assert value.isfinite()
    assert 0 <= share <= 1


def test_far_from_labelled_objects_there_is_no_background_if_others_may_not_be_labelled(
    squares, monkeypatch
):
    """Overlaps with the only object: none, 0.2, and its own box."""
    sampled = []

    def spy(*args):
        sampled.append(region_targets(*args))
        return sampled[-1]

    monkeypatch.setattr(step_of_detectors, "region_targets", spy)
    config = settings(squares, "regions", data={"image_size": 64})
    box, far, near = torch.tensor([[0, 0, 20.0, 20], [40, 40, 60, 60], [0, 0, 4, 20]])
    loss = DetectorLoss(
        new_detector(config).train(), config, EAGER, lambda sample: torch.stack([far, near])
    )
    photograph = Photograph(64, 64, lambda height, width: torch.randn(3, height, width))
    for exhaustive, background in ((True, [far, near]), (False, [near])):
        loss(0, Sample(0, photograph, False, box[None], torch.tensor([1]), exhaustive))
        chosen = sampled.pop()
        found = chosen.boxes[chosen.labels == 0].tolist()
        assert sorted(found) == sorted(each.tolist() for each in background)


def test_all_objects_of_the_one_photograph_that_is_learned_are_found_first(tmp_path):
    """AP 1 after 100 steps on it."""
    write_squares(tmp_path / "set")
    name = "000005"  # of three objects, of both classes
    for part in ("trainval", "test"):
        (tmp_path / f"set/ImageSets/Main/{part}.txt").write_text(f"{name}\n")
    run = Run("one", settings(
        tmp_path / "set",
        recipe={"iterations": 100, "lr_drops": [75], "lr": 0.04, "batch_size": 1, "flip": False},
        evaluation={"every": 1000},
    ))  # fmt: skip
    run = replace(run, needs=(classifier(),))
    train(run.needs[0], tmp_path)
    folder = train(run, tmp_path)
    test = Record(folder).evaluations()[run.config.evaluation.key]
    assert (test["voc12"], test["num_objects"]) == (100, 3)


def test_a_set_of_one_class_is_learned_and_tested(squares, tmp_path):
    shutil.copytree(squares, tmp_path / "set")
    for file in (tmp_path / "set").rglob("*.xml"):
        file.write_text(file.read_text().replace(">blue<", ">red<"))
    one = {"num_classes": 1}
    few = {"iterations": 2, "lr_drops": []}
    config = settings(tmp_path / "set", model=one, data=one, recipe=few)
    run = Run("net", config)
    test = Record(train(run, tmp_path)).evaluations()[config.evaluation.key]
    assert test["per_class"].keys() == {"red"}


def test_steps_with_a_fixed_body_share_it_to_the_last_bit(squares, whole, copied):
    """The 4-step training of arXiv:1506.01497: proposals again, and regions again."""
    first = chain(squares)["regions"]
    results = copied(*first.needs, first)
    fixed = {"detector": {"frozen": "body", "step": "proposals"}}
    proposals = with_fields(replace(first, row="proposals2", needs=(first,)), **fixed)
    fixed["detector"]["step"] = "regions"
    regions = with_fields(replace(first, row="regions2", needs=(first, proposals)), **fixed)
    made = [weights(train(run, results)) for run in (proposals, regions)]
    before = weights(whole / "runs" / first.id)
    body = {
        name for name in before if name.startswith(("stem.", "stages.0", "stages.1", "stages.2"))
    }
    assert len(body) > 20
    for after in made:
        assert body <= equal_names(before, after)
    moved = [before.keys() - equal_names(before, after) for after in made]
    assert {name.split(".")[0] for name in moved[0]} == {"proposer"}
    assert {name.split(".")[0] for name in moved[1]} == {"stages", "scores", "deltas"}


def test_the_classifiers_batch_norm_may_have_the_means_over_training_images(squares, copied):
    """Images that the classifier was trained on, in its precision; the run's own is kept."""
    first = chain(squares)["classification"]
    results = copied(first)
    run = Run("net", settings(squares, detector={"batch_norm_images": 32}), (first,))
    torch.backends.cudnn.benchmark = False
    start = new_detector(run.config)
    load_start(start, run, results, SINGLE_PROCESS)
    assert not torch.backends.cudnn.benchmark
    plain = new_detector(run.config)
    load_start(plain, with_fields(run, detector={"batch_norm_images": 0}), results, SINGLE_PROCESS)
    ours, theirs = start.state_dict(), plain.state_dict()
    changed = {name for name in ours if not torch.equal(ours[name], theirs[name])}
    classes = ("proposer", "scores", "deltas")  # newly drawn
    averages = {name for name in changed if not name.startswith(classes)}
    assert averages == {n for n in ours if n.endswith(("running_mean", "running_var"))}
    model, _, feed = restore_classifier(first, results / "runs" / first.id, SINGLE_PROCESS)
    sums = [model.stem.conv(images).mean(dim=(0, 2, 3)) for images, _ in feed.train(0, 2)]
    mean = torch.stack(sums).mean(dim=0)
    torch.testing.assert_close(ours["stem.bn.running_mean"], mean, atol=1e-5, rtol=1e-4)


def test_a_classifiers_data_are_not_needed_where_its_averages_are_taken(
    squares, copied, monkeypatch
):
    first = chain(squares)["classification"]
    monkeypatch.setattr(restore, "restore_classifier", pytest.fail)
    run = Run("net", settings(squares), (first,))
    load_start(new_detector(run.config), run, copied(first), SINGLE_PROCESS)


def file_of(tmp_path, network, drop=""):
    """Write the weights of a network of torchvision's; return the file."""
    torch.manual_seed(0)
    state = {n: t for n, t in network().state_dict().items() if not drop or drop not in n}
    torch.save(state, tmp_path / "weights.pth")
    return tmp_path / "weights.pth"


def weights_of(file):
    """Return a detector's settings that it starts from a file."""
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return {"weights": str(file), "weights_sha256": digest}


def test_a_detector_starts_from_a_file_of_torchvisions(squares, tmp_path):
    """Older ones have no counters of batch norm."""
    file = file_of(tmp_path, torchvision.models.resnet18, drop="num_batches_tracked")
    config = settings(squares, model={"width": 64}, detector=weights_of(file))
    detector = new_detector(config)
    inputs = load_start(detector, Run("net", config), tmp_path, SINGLE_PROCESS)
    state = torch.load(file)
    torch.testing.assert_close(detector.stem.conv.weight, state["conv1.weight"])
    torch.testing.assert_close(
        detector.state_dict()["stages.3.1.residual.bn2.weight"], state["layer4.1.bn2.weight"]
    )
    assert inputs.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])


def test_a_file_of_another_network_is_refused_in_a_line(squares, tmp_path):
    file = file_of(tmp_path, torchvision.models.resnet34)
    config = settings(squares, model={"width": 64, "depth": 50}, detector=weights_of(file))
    with pytest.raises(UserError, match=r"weights.pth does not fit the detector: it has model.d"):
        load_start(new_detector(config), Run("net", config), tmp_path, SINGLE_PROCESS)
    # A narrower one's layers have other shapes.
    config = settings(squares, model={"depth": 34}, detector=weights_of(file))
    with pytest.raises(UserError, match=r"weights.pth does not fit the detector: it has no stem"):
        load_start(new_detector(config), Run("net", config), tmp_path, SINGLE_PROCESS)
    torch.save({}, file)
    with pytest.raises(UserError, match=r"weights.pth is another file than was planned"):
        load_start(new_detector(config), Run("net", config), tmp_path, SINGLE_PROCESS)


def test_a_resnet_of_resnexts_table_starts_from_torchvisions_resnet(squares, tmp_path):
    """Its rows write a ResNet as 1x64d."""
    file = file_of(tmp_path, torchvision.models.resnet50)
    model = {"width": 64, "depth": 50, "cardinality": "1x64d", "stride_in": "3x3"}
    config = settings(squares, model=model, detector=weights_of(file))
    detector = new_detector(config)
    load_start(detector, Run("net", config), tmp_path, SINGLE_PROCESS)
    torch.testing.assert_close(detector.stem.conv.weight, torch.load(file)["conv1.weight"])
    config = settings(squares, model={**model, "cardinality": "32x4d"}, detector=weights_of(file))
    with pytest.raises(UserError, match=r"it has model.cardinality=None, and the run 32x4d"):
        load_start(new_detector(config), Run("net", config), tmp_path, SINGLE_PROCESS)


def test_torchvisions_bottlenecks_have_another_stride(squares, tmp_path):
    """Their weights have the shapes of the paper's, whose stride is in the first 1x1."""
    file = file_of(tmp_path, torchvision.models.resnet50)
    config = settings(squares, model={"width": 64, "depth": 50}, detector=weights_of(file))
    with pytest.raises(UserError, match=r"it has model.stride_in=3x3, and the run 1x1"):
        load_start(new_detector(config), Run("net", config), tmp_path, SINGLE_PROCESS)


def test_a_deeper_network_of_the_same_shapes_is_refused(squares, tmp_path, monkeypatch):
    deeper = build_model(settings(squares, model={"depth": 34}).model).state_dict()
    config = settings(squares)
    first = Run("first", settings(squares, model={"depth": 34}))
    monkeypatch.setattr(restore, "load_final", lambda network, *_: network.load_state_dict(
        {n: deeper.get(n, t) for n, t in network.state_dict().items()}))  # fmt: skip
    with pytest.raises(UserError, match=r"has more blocks, such as that of stages\.0\.2"):
        load_start(new_detector(config), Run("net", config, (first,)), tmp_path, SINGLE_PROCESS)


@pytest.mark.gpu
@GPU
@pytest.mark.parametrize("step", ["proposals", "regions"])
def test_steps_on_a_gpu_end_with_the_weights_of_a_cpu(squares, step):
    """In fp32; what is sampled does not hang on the network's own numbers."""
    found = []
    for device in ("cpu", "cuda"):
        config = settings(squares, step, compute={"device": device})
        how = choose_execution(config)
        torch.manual_seed(0)
        detector = how.prepare(new_detector(config).train())
        feed = SceneFeed(load_scenes(config.data), config, SINGLE_PROCESS, how.device, GREY)
        given = torch.rand(40, 2, generator=torch.Generator().manual_seed(0)) * 40
        boxes = torch.cat([given, given + 20], dim=1).to(how.device)
        optimizer = build_optimizer(detector, config.recipe)
        train_on = DetectorStep(
            detector, optimizer, config, how, SINGLE_PROCESS, lambda _, boxes=boxes: boxes, 16
        )
        for batch in feed.batches(0, 5):
            train_on(*feed.to_inputs(*batch))
        found.append({name: each.cpu() for name, each in detector.state_dict().items()})
    for name, expected in found[0].items():
        torch.testing.assert_close(found[1][name].contiguous(), expected, atol=1e-3, rtol=1e-2)


def test_objects_are_mirrored_with_their_photographs(squares):
    """The pixels in an object's box are those of the photograph's own, from right to left."""
    config = settings(squares)
    data = load_scenes(config.data)
    feed = SceneFeed(data, config, SINGLE_PROCESS, CPU, GREY)
    seen = set()
    for sample in (each for _, batch in feed.batches(0, 6) for each in batch):
        scene, here = data.train[sample.index], sample.photograph
        plain = feed.photograph(read_image(scene.path)).image_at(scene.height, scene.width)
        image = here.image_at(here.height, here.width)
        own, _ = learned(scene.boxes, scene.classes, scene.ignored)
        assert len(own) == len(sample.boxes) > 0
        for box, theirs in zip(sample.boxes.long().tolist(), own.long().tolist(), strict=True):
            found = image[:, box[1] : box[3], box[0] : box[2]]
            expected = plain[:, theirs[1] : theirs[3], theirs[0] : theirs[2]]
            assert torch.equal(found, expected.flip(-1) if sample.mirrored else expected)
            assert found.shape[1:].numel() > 50
        seen.add(sample.mirrored)
    assert seen == {False, True}


def test_what_is_sampled_does_not_depend_on_the_number_of_processes(squares):
    config = settings(squares, recipe={"batch_size": 4})
    data = load_scenes(config.data)

    def samples(group):
        feed = SceneFeed(data, config, group, CPU, GREY)
        return [
            [(iteration, each.index, each.mirrored, each.boxes.tolist()) for each in batch]
            for iteration, batch in feed.batches(3, 9)
        ]

    one, two = samples(SINGLE_PROCESS), [samples(Group(rank, 2)) for rank in range(2)]
    assert one == [[*first, *second] for first, second in zip(*two, strict=True)]
    assert len({mirrored for batch in one for _, _, mirrored, _ in batch}) == 2
