"""The forward-only work of a run: tests, proposals, batch-norm statistics.

The unit is one training image's forward pass.
"""

from resnet_repro.cost.sizes import measure
from resnet_repro.plan import Run
from resnet_repro.settings.data import DataConfig
from resnet_repro.settings.evaluation import EvaluationConfig
from resnet_repro.settings.run import RunConfig

TEST_COST = 1 / 3  # time of a test image relative to a training image: no backward pass
NUM_TEST = {"cifar10": 10_000, "cifar100": 10_000}
IMAGENET_TEST = 50  # test images of each class
# Of sets with boxes.
NUM_PHOTOGRAPHS = {
    "VOC2007/trainval": 5011,
    "VOC2007/train": 2501,
    "VOC2007/val": 2510,
    "VOC2007/test": 4952,
    "VOC2012/trainval": 11_540,
    "VOC2012/train": 5717,
    "VOC2012/val": 5823,
    "train2014": 82_783,
    "val2014": 40_504,
    "train2017": 118_287,
    "val2017": 5000,
    "ilsvrc_det train": 456_567,  # more than are trained on: those without boxes count too
    "ilsvrc_det val": 20_121,
    "ilsvrc_det val1": 10_061,
    "ilsvrc_det val2": 10_060,
    "ilsvrc_loc train": 544_546,
    "ilsvrc_loc val": 48_238,
}
BOX_BYTES = 16
ASPECT = 4 / 3  # the longer side of most photographs over the shorter one


def num_test_images(data: DataConfig) -> int:
    """Return the number of test images; 0 if it is unknown without reading them."""
    if data.num_validation:
        return data.num_validation
    if data.generate:
        return data.generate.num_test
    if data.boxes:
        return _num_photographs(data, data.boxes.test)
    return IMAGENET_TEST * data.num_classes if data.is_streamed else NUM_TEST.get(data.name, 0)


def _num_photographs(data: DataConfig, sets: list[str]) -> int:
    known = NUM_PHOTOGRAPHS
    return sum(known.get(name, known.get(f"{data.name} {name}", 0)) for name in sets)


def _views(evaluation: EvaluationConfig) -> float:
    """Return a photograph's views in a test; whole images count as crops of the same area.

    A size is that of the shorter side.
    """
    if evaluation.protocol == "multi_scale":
        return sum(ASPECT * (size / evaluation.crop) ** 2 for size in evaluation.sizes)
    return 10.0 if evaluation.protocol == "ten_crop" else 1.0


def quick_test(config: RunConfig) -> float:
    """Return the work of a test while training."""
    number = num_test_images(config.data)
    return number * _per_photograph(config, config.quick_test()) if config.data.boxes else number


def last_test(config: RunConfig) -> float:
    """Return the work of the final test, if its protocol differs from that while training."""
    return 0 if config.evaluation.key == config.quick_test().key else protocol_test(config)


def protocol_test(config: RunConfig) -> float:
    """Return the work of a test by the run's protocol."""
    evaluation = config.evaluation
    if config.data.boxes:
        return num_test_images(config.data) * _per_photograph(config, evaluation)
    views = _views(evaluation)
    if evaluation.flip and evaluation.protocol != "ten_crop":
        views *= 2
    averaged = evaluation.batch_norm_images if evaluation.batch_norm == "reestimated" else 0
    return views * num_test_images(config.data) + averaged


def _per_photograph(config: RunConfig, test: EvaluationConfig) -> float:
    """Return the work of a detector's test of a photograph."""
    if config.detector.localises:
        return _localised(config, test) / measure(config).multiply_adds
    from resnet_repro.detection.complexity import work  # imports torchvision

    parts, step, size = work(config), config.detector.step, config.data.image_size
    if step == "proposals":
        return (parts.body + parts.proposer) / measure(config).multiply_adds
    # Context and a detector's own proposals need the map at the scale of training.
    needed = {*test.sizes, *([size] if config.detector.context or step == "joint" else [])}
    total = sum(parts.body * (each / size) ** 2 for each in needed)
    total += parts.proposer if step == "joint" else 0
    # Box refinement classifies again, and several scales pool each region at two of them.
    more = config.data.num_classes if test.refine_per_class else 1
    times = (1 + more if test.refine else 1) * (2 if len(test.sizes) > 1 else 1)
    total += times * test.num_proposals * parts.region
    return total / measure(config).multiply_adds


def _localised(config: RunConfig, test: EvaluationConfig) -> float:
    """Return the multiply-adds of a test of localisation for a photograph.

    The classifier that names classes in the final test is as large as the network itself.
    """
    from resnet_repro.detection.localisation.complexity import measure_view
    from resnet_repro.models.complexity import measure as measure_classifier

    views, one = _views(test), measure_view(config).multiply_adds
    total = one * (views if config.detector.step == "localisation" else test.num_proposals)
    is_last = test.key != config.quick_test().key
    return total + is_last * views * measure_classifier(config).multiply_adds


def preparation(run: Run) -> float:
    """Return the work of a detector's run before its first iteration.

    Proposals for the training and test sets, if nobody made them, and the statistics of the batch
    norm of the classifier that it starts from, if that has any.
    """
    config, total = run.config, 0.0
    if not config.detector.is_used:
        return 0
    assert config.data.boxes is not None
    number = _num_photographs(config.data, config.data.boxes.train) + num_test_images(config.data)
    if config.detector.step == "regions":
        from resnet_repro.detection.complexity import work

        parts = work(run.needs[-1].config)
        total += number * (parts.body + parts.proposer)
    elif config.detector.step == "localisation_regions":
        from resnet_repro.detection.localisation.complexity import measure_view

        one = measure_view(run.needs[-1].config).multiply_adds
        tested = num_test_images(config.data)
        total += (number - tested) * _views(config.training_proposals()) * one
        total += tested * _views(config.evaluation) * one
    if run.needs and not run.needs[0].config.detector.is_used:
        first = measure(run.needs[0].config)
        if first.params > first.params_without_bn:
            total += config.detector.batch_norm_images * first.multiply_adds
    return total / measure(config).multiply_adds


def proposal_bytes(config: RunConfig) -> int:
    """Return the size of the files of proposals that a run needs."""
    if not config.detector.takes_proposals:
        return 0
    assert config.data.boxes is not None
    number = _num_photographs(config.data, config.data.boxes.train)
    trained = number * config.detector.num_proposals
    tested = num_test_images(config.data) * config.evaluation.num_proposals
    return BOX_BYTES * (trained + tested)
