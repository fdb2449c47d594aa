"""Records of detectors: tests with mAP, recall and localisation errors, and curves of losses."""

import pytest

from resnet_repro.engine.log import Log
from resnet_repro.judge.measures import MEASURES
from resnet_repro.records import Record
from resnet_repro.records.curves import CURVES_FILE, read_curves, write_curves
from resnet_repro.records.errors import DamagedError
from resnet_repro.records.results import load_results, write_records
from tests.support.detection import score
from tests.support.plans import plan
from tests.support.results import SESSION, result

KEY = "boxes 240"


@pytest.fixture
def made(tmp_path):
    return plan("detection_quickstart", f"results={tmp_path}")


def recorded(made, *tests):
    """Write the record of a run as its training does; return its result.

    An epoch has 300 photographs, 150 mini-batches; 64 regions of each photograph are classified.
    """
    row = next(row for row in made.rows if row.name == "ResNet-18")
    run = row.run(0)
    record = Record(made.results / "runs" / run.id)
    record.folder.mkdir(parents=True)
    record.add_session({**SESSION, "num_train": 300})
    with Log(run, record, 0, 0.0) as log:
        for number, test in enumerate(tests, start=1):
            log.train(100 * number, 25600 / number, 3200 * (4 - number), 200 * 64, 0.1)
            log.test(100 * number, KEY, test)
    record.add_evaluation(KEY, **tests[-1], weights="ab")
    record.append("finished", 1000, seconds=9.0, weights="ab")
    (found,) = load_results(made)["ResNet-18"]
    return found


def test_a_detectors_record_gives_curves_of_loss_and_map(made, heard):
    found = recorded(made, score(10.0, 4.5), score(20.0, 9.0), score(41.5, 21.2))
    assert found.loss_curve == [(100, 2.0), (200, 1.0), (300, 0.6667)]
    assert found.test_curve == [(100, 4.5), (200, 9.0), (300, 21.2)]
    assert found.train_curve == [(100, 75.0), (200, 50.0), (300, 25.0)]
    assert found.train_error == 37.5  # of the last two, as one is less than an epoch
    assert "iteration 300 of 1000, test mAP 21.20 %" in heard.text
    path = write_records(made, {"ResNet-18": [found]})
    (again,) = load_results(made)["ResNet-18"]
    assert '"loss_curve": [[100, 2.0]' in path.read_text()
    assert again.evaluations[KEY]["per_class"]["sofa"]["map"] is None


def test_proposals_have_a_recall(made):
    counts = {"num_images": 10, "num_objects": 40, "num_found": 30, "num_found_70": 10}
    found = recorded(made, counts)
    assert found.test_curve == [(100, 75.0)]
    assert MEASURES["recall"].read(found, KEY) == 75.0


def test_localisation_has_errors(made):
    counts = {"num_images": 50, "num_errors_loc_gt": 4, "num_errors_loc_top5": 7}
    found = recorded(made, counts)
    assert MEASURES["loc_gt"].read(found, KEY) == 8.0
    assert MEASURES["loc_top5"].read(found, KEY) == 14.0
    assert MEASURES["loc_gt"].lower_is_better


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"map": 101.0}, "map is 101.0"),
        ({"per_class": {"person": {"map": -1.0}}}, "per_class is an object"),
        ({"per_class": {"person": 3.0}}, "per_class is an object"),
        ({"num_images": 0}, "num_images is 0"),
        ({"num_found": 48}, "num_found is 48, of 47"),
    ],
)
def test_what_no_test_can_give_is_not_recorded(tmp_path, change, message):
    record = Record(tmp_path)
    with pytest.raises(ValueError, match=message):
        record.add_evaluation(KEY, **{**score(41.5, 21.2), **change})
    record.add_evaluation(KEY, **score(41.5, 21.2), weights="ab")


def test_records_of_classifiers_have_no_curve_of_losses(tmp_path):
    made = plan("quickstart", f"results={tmp_path}")
    row = next(row for row in made.rows if row.name == "ResNet-8")
    assert "loss_curve" not in write_records(made, {"ResNet-8": [result(row)]}).read_text()


def test_curves_of_another_test_stay_and_damage_is_named(tmp_path):
    write_curves(tmp_path, "boxes 600", {"person": [1.0] * 101})
    write_curves(tmp_path, "boxes 600 refined", {"person": [0.5] * 101})
    assert read_curves(tmp_path, "boxes 600") == {"person": [1.0] * 101}
    assert read_curves(tmp_path / "nothing", "boxes 600") == {}
    (tmp_path / CURVES_FILE).write_text('{"boxes 600": {"person": [2]}}')
    with pytest.raises(DamagedError, match=r"precision\.json is damaged"):
        read_curves(tmp_path, "boxes 600")
