"""From a photograph to detections."""

from copy import deepcopy
from itertools import count

import pytest
import torch
from torchvision.ops import box_iou

from resnet_repro.detection import suppression
from resnet_repro.detection.boxes import REGION_STD, clip, decode
from resnet_repro.detection.detect import best_boxes, detect
from resnet_repro.detection.pyramid import nearest_scales
from resnet_repro.detection.suppression import suppress
from resnet_repro.errors import UserError
from resnet_repro.settings.evaluation import EvaluationConfig
from tests.support.detectors import (
    BOXES,
    CLASSES,
    HEIGHT,
    WIDTH,
    fit,
    of_first_image,
    photograph,
    picture,
    pyramid,
    settings,
    small_detector,
)
from tests.support.training import GPU

SIZES = [112, 128, 144]
HAND = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [40, 40, 50, 50]])


def evaluation(**changes):
    return EvaluationConfig(protocol="boxes", **{"sizes": [HEIGHT], "num_proposals": 20, **changes})


def suppressed(scores, boxes, **changes):
    rule = {"threshold": 0.0, "overlap": 0.3, "most": None, "voting": False}
    return suppress(scores, boxes, **(rule | changes))


def equal(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def plain_suppression(scores, boxes, threshold, overlap):
    """Return rows (box, score, class) that are kept, by falling score, one pair at a time."""
    found = []
    for number in range(scores.shape[1]):
        kept = []
        for row in scores[:, number].sort(descending=True, stable=True).indices.tolist():
            box = boxes[row, number]
            ious = [box_iou(box[None], other[None]).item() for other in kept]
            if scores[row, number] > threshold and all(iou <= overlap for iou in ious):
                kept.append(box)
                found.append((box.tolist(), scores[row, number].item(), number))
    return sorted(found, key=lambda row: -row[1])


def test_suppression_is_that_of_each_class_alone():
    """Also far from the origin, where offsets between classes would round the boxes."""
    draw = torch.Generator().manual_seed(0)
    corners = torch.rand(40, 6, 2, generator=draw) * 60 + 1000
    boxes = torch.cat([corners, corners + 20 + 40 * torch.rand(40, 6, 2, generator=draw)], dim=2)
    scores = torch.rand(40, 6, generator=draw)
    found = suppressed(scores, boxes, threshold=0.2)
    rows = zip(found.boxes.tolist(), found.scores.tolist(), found.classes.tolist(), strict=True)
    plain = plain_suppression(scores, boxes, 0.2, 0.3)
    assert list(rows) == plain and 30 < len(plain) < 200
    best = suppressed(scores, boxes, threshold=0.2, most=7)
    assert equal(best, (each[:7] for each in found))


@pytest.mark.parametrize(("overlap", "width"), [(0.5, 5.0), (0.7, 7.0)])
def test_an_overlap_of_exactly_the_limit_does_not_suppress(overlap, width):
    boxes = torch.tensor([[[0, 0, 10, 10]], [[0, 0, width, 10]]])
    scores = torch.tensor([[0.9], [0.8]])
    assert len(suppressed(scores, boxes, overlap=overlap).scores) == 2
    assert len(suppressed(scores, boxes, overlap=overlap - 0.01).scores) == 1


def test_suppressed_boxes_vote_on_the_place_and_not_on_the_score():
    """By hand: (0.9 * 0 + 0.6 * 1) / 1.5 = 0.4. Boxes of another class have no vote."""
    scores = torch.tensor([[0.9, 0.0], [0.6, 0.7], [0.8, 0.0]])
    found = suppressed(scores, HAND[:, None].repeat(1, 2, 1), voting=True)
    torch.testing.assert_close(found.boxes[0], torch.tensor([0.4, 0, 10.4, 10]))
    assert torch.equal(found.boxes[1:], HAND[[2, 1]])
    torch.testing.assert_close(found.scores, torch.tensor([0.9, 0.8, 0.7]))
    assert found.classes.tolist() == [0, 0, 1]


def test_boxes_at_the_threshold_and_those_without_area_are_no_detections():
    boxes = torch.tensor([[0.0, 0, 10, 10], [500, 0, 500, 20], [60, 60, 70, 70]])[:, None]
    found = suppressed(torch.tensor([[0.5], [0.9], [0.25]]), boxes, threshold=0.25)
    assert found.boxes.tolist() == [[0, 0, 10, 10]]
    nan = suppressed(torch.full((3, 1), torch.nan), boxes)
    assert nan.boxes.shape == (0, 4) and nan.scores.shape == nan.classes.shape == (0,)


def test_a_region_is_pooled_at_the_two_scales_nearest_to_224_pixels():
    """By hand: sides of 600, 224, 112, 100 and 0 pixels of a photograph at scales .25 to 2."""
    sides = torch.tensor([600.0, 224, 112, 100, 0])
    regions = torch.stack([sides * 0, sides * 0, sides, sides], dim=1)
    found = nearest_scales(regions, [0.25, 0.5, 1.0, 2.0])
    # 600: its area is 22,500 at .25 and 90,000 at .5, for 50,176
    assert found.tolist() == [[0, 1], [2, 1], [3, 2], [3, 2], [0, 1]]


class Recorder:
    """A detector of known answers: one list of probabilities and boxes a look."""

    def __init__(self, regions, *answers):
        self._regions, self._answers, self._looks = regions, answers, count()
        self.seen = []

    def regions(self, number):
        return self._regions[:number]

    def classify(self, regions):
        self.seen.append(regions)
        return self._answers[next(self._looks)]


def test_refinement_looks_again_at_the_box_of_the_best_class_and_lets_both_looks_vote():
    there = torch.tensor([[2.0, 2, 12, 12]])
    first = torch.tensor([[0.2, 0.6]]), torch.stack([HAND[2], HAND[1]])[None]
    second = torch.tensor([[0.1, 0.9]]), torch.stack([HAND[2], HAND[0]])[None]
    member = Recorder(there, first, second)
    found = detect([member], evaluation(refine=True))
    assert torch.equal(torch.cat(member.seen), torch.cat([there, HAND[1:2]]))
    torch.testing.assert_close(found.boxes, torch.tensor([[0.4, 0, 10.4, 10], [40, 40, 50, 50]]))
    torch.testing.assert_close(found.scores, torch.tensor([0.9, 0.2]))
    assert found.classes.tolist() == [1, 0]


def test_refinement_per_class_looks_at_the_boxes_of_a_class_for_this_class_alone():
    """By hand, of two regions and two classes; a box of class 1 has no area."""
    there = HAND[[0, 2]]
    nothing = torch.tensor([7.0, 7, 7, 9])
    first = (
        torch.tensor([[0.2, 0.6], [0.5, 0.1]]),
        torch.stack([torch.stack([HAND[0], HAND[2]]), torch.stack([HAND[2], nothing])]),
    )
    of_0 = torch.tensor([[0.3, 0.99], [0.7, 0.99]]), torch.stack([HAND[[1, 1]], HAND[[2, 2]]])
    of_1 = torch.tensor([[0.99, 0.4]]), HAND[[0, 0]][None]
    member = Recorder(there, first, of_0, of_1)
    found = detect([member], evaluation(refine=True, refine_per_class=True))
    assert torch.equal(torch.cat(member.seen), torch.cat([there, HAND[[0, 2]], HAND[2:]]))
    # Class 0: (0.3 * 1 + 0.2 * 0) / 0.5 = 0.6 to the right. Class 1: two places, a look each.
    torch.testing.assert_close(found.scores, torch.tensor([0.7, 0.6, 0.4, 0.3]))
    assert found.classes.tolist() == [0, 1, 1, 0]
    shifted = torch.tensor([0.6, 0, 10.6, 10])
    torch.testing.assert_close(found.boxes, torch.stack([HAND[2], HAND[2], HAND[0], shifted]))


def test_a_box_without_area_is_not_looked_at_again():
    boxes = torch.tensor([[[0.0, 0, 5, 5], [9, 9, 9, 12]], [[1, 1, 3, 3], [4, 4, 6, 6]]])
    assert best_boxes(torch.tensor([[0.1, 0.9], [0.7, 0.2]]), boxes).tolist() == [[1, 1, 3, 3]]


def test_an_ensemble_averages_over_the_proposals_of_all_members():
    one, two = HAND[:1], HAND[2:]
    of_one = torch.tensor([[0.9], [0.1]]), torch.stack([HAND[0], HAND[2]])[:, None]
    of_two = torch.tensor([[0.5], [0.7]]), torch.stack([HAND[1], HAND[2]])[:, None]
    members = [Recorder(one, of_one), Recorder(two, of_two)]
    found = detect(members, evaluation())
    assert all(torch.equal(member.seen[0], torch.cat([one, two])) for member in members)
    torch.testing.assert_close(found.scores, torch.tensor([0.7, 0.4]))
    torch.testing.assert_close(found.boxes, torch.tensor([[0.5, 0, 10.5, 10], [40, 40, 50, 50]]))


def one_by_one(detector, regions, sizes):
    """Return probabilities and boxes of regions, each alone, at two of the sizes if several."""
    image, found = photograph(picture()), []

    def at(size):
        scale = size / HEIGHT
        return scale, detector.body(image.image_at(size, round(WIDTH * scale))[None])

    whole = detector.pooled(at(HEIGHT)[1], torch.tensor([[0.0, 0, 0, WIDTH, HEIGHT]]))
    for region in regions:
        area = (region[2] - region[0]) * (region[3] - region[1])
        best = sorted(sizes, key=lambda size: abs(area * (size / HEIGHT) ** 2 - 224**2))
        vectors = []
        for scale, maps in map(at, best[:2]):
            vectors.append(detector.pooled(maps, of_first_image(region[None] * scale))[0])
        vector = torch.stack(vectors).amax(dim=0)[None]
        logits, deltas = detector.classify(vector, whole, torch.tensor([0]))
        boxes = decode(region, deltas[0, 1:] * torch.tensor(REGION_STD))
        found.append((logits[0].softmax(dim=0)[1:], clip(boxes, HEIGHT, WIDTH)))
    return tuple(torch.stack(each) for each in zip(*found, strict=True))


@torch.inference_mode()
@pytest.mark.parametrize("sizes", [[160], [128, 256, 512, 1024]])
def test_regions_are_classified_as_one_by_one(sizes):
    """Each at the maximum of its two scales, together with the photograph at that of training."""
    config = settings(context=True)
    detector = small_detector(config)
    torch.nn.init.normal_(detector.deltas.weight, std=0.05)
    torch.nn.init.normal_(detector.scores.weight, std=0.1)
    regions = torch.cat([BOXES, torch.tensor([[0.0, 0, WIDTH, HEIGHT], [90, 50, 110, 75]])])
    found = pyramid(detector, config, sizes).classify(regions)
    expected = one_by_one(detector, regions, sizes)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    assert found[0].std() > 0.05


def test_proposals_are_in_pixels_of_the_photograph_and_others_may_be_given():
    config = settings(min_size=60.0)
    detector = small_detector(config)
    # Resized to 128 x 201: the factor of its sides differs from that of its boxes.
    image = torch.randn(3, 401, 629, generator=torch.Generator().manual_seed(0))
    seen = pyramid(detector, config, image=image)
    boxes, scores = seen.propose(None, 100)
    sides = boxes[:, 2:] - boxes[:, :2]
    assert boxes.shape == (100, 4) and boxes.min() == 0
    assert 60 - 1e-3 <= sides.min() < 100, "60 resized pixels are 188"
    assert boxes[:, 2].max() == 629 and boxes[:, 3].max() == 401
    assert torch.equal(scores, scores.sort(descending=True).values)
    assert torch.equal(seen.regions(10), seen.propose(6000, 10)[0])
    assert torch.equal(pyramid(detector, config, given=BOXES).regions(2), BOXES[:2])


@pytest.mark.parametrize("sizes", [[HEIGHT], SIZES])
def test_a_photograph_without_proposals_has_no_detections(sizes):
    config = settings(context=True)
    none = pyramid(small_detector(config), config, sizes, given=torch.empty(0, 4))
    found = detect([none], evaluation(refine=True, refine_per_class=True))
    assert found.boxes.shape == (0, 4) and found.scores.shape == found.classes.shape == (0,)


@pytest.fixture(scope="module")
def fitted():
    """Return a detector trained on the picture alone; 150 iterations, as fewer are not enough."""
    config = settings(context=True, sampled_anchors=64)
    detector = small_detector(config)
    fit(detector, config, iterations=150, lr=0.02)
    return detector, config


@pytest.mark.parametrize("refine", [False, True])
@pytest.mark.parametrize("sizes", [[HEIGHT], SIZES])
def test_the_objects_of_the_photograph_that_was_learned_are_found_first(fitted, sizes, refine):
    """AP is 1 for each class: its best detections are its objects. Twice they are the same."""
    test = evaluation(sizes=sizes, refine=refine)
    found = detect([pyramid(*fitted, sizes)], test)
    for number in range(3):
        objects = BOXES[number == CLASSES]
        best = found.boxes[found.classes == number][: len(objects)]
        hits = box_iou(best, objects) >= 0.5
        assert hits.any(dim=0).all(), f"class {number}: {best.round().tolist()}"
    assert equal(found, detect([pyramid(*fitted, sizes)], test))


def test_detections_are_fp32_whatever_the_precision_of_the_network(fitted):
    test = evaluation(refine=True)
    expected = detect([pyramid(*fitted, given=BOXES)], test)
    with torch.autocast("cpu", torch.bfloat16):
        found = detect([pyramid(*fitted, given=BOXES)], test)
    assert found.boxes.dtype == found.scores.dtype == torch.float32
    torch.testing.assert_close(found.boxes[:2], expected.boxes[:2], rtol=0, atol=5)
    assert not equal(found, expected)


@pytest.mark.gpu
@GPU
def test_a_gpu_detects_what_a_cpu_does(fitted):
    detector, config = fitted
    test = evaluation(sizes=SIZES, refine=True, threshold=0.5)
    expected = detect([pyramid(detector, config, SIZES)], test)
    on_gpu = deepcopy(detector).cuda()
    found = detect([pyramid(on_gpu, config, SIZES, image=picture().cuda())], test)
    torch.testing.assert_close(tuple(each.cpu() for each in found), expected, rtol=0.01, atol=0.5)


def test_an_ensemble_of_one_detector_twice_is_that_detector(fitted):
    alone = detect([pyramid(*fitted, given=BOXES)], evaluation(refine=True))
    twice = detect(
        [pyramid(*fitted, given=BOXES), pyramid(*fitted, given=BOXES[:0])], evaluation(refine=True)
    )
    assert equal(alone, twice) and len(alone.scores) >= len(BOXES)


def test_operators_that_do_not_work_are_named_before_the_training(monkeypatch):
    def no_kernel(*_):
        raise NotImplementedError("Could not run 'torchvision::nms' with arguments from CUDA\nmore")

    suppression.check_operators(torch.device("cpu"))
    monkeypatch.setattr(suppression, "nms", no_kernel)
    with pytest.raises(UserError, match=r"on cpu \(Could not run .* from CUDA\): install"):
        suppression.check_operators(torch.device("cpu"))


@pytest.mark.parametrize("name", ["nms", "roi_pool"])
def test_operators_that_compute_something_else_than_a_cpus_are_not_used(monkeypatch, name):
    """Built for another GPU, they have left the first box, or the first row, in silence."""
    works, calls = getattr(suppression, name), []

    def wrong(*args):
        calls.append(name)
        found = works(*args)
        return found[1:] if len(calls) == 1 else found  # on the device, before the CPU

    monkeypatch.setattr(suppression, name, wrong)
    with pytest.raises(UserError, match="compute something wrong on cpu: install the torchvision"):
        suppression.check_operators(torch.device("cpu"))
