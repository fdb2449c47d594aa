"""`verify`: tables and networks that are as they should be, or it is said where not."""

import re

from resnet_repro.records import Record
from resnet_repro.records.archive import RECORDS_FILE
from resnet_repro.report.check_tables import check_table
from resnet_repro.report.write import write_outputs
from tests.support.results import SESSION


def test_a_table_is_what_its_records_give_or_it_is_said_where_not(trained, run_cli, tmp_path):
    outcome = run_cli("verify", "results")
    assert (outcome.code, outcome.out) == (
        0, f"{trained.relative_to(tmp_path)}: matches its records\n"
    )  # fmt: skip
    table = trained / "table.md"
    right = table.read_text()
    number = re.search(r"\d+\.\d\d", right.split("ResNet-8 ", 1)[1])[0]
    table.write_text(right.replace(number, "0.10"))
    (trained / "table.csv").unlink()
    outcome = run_cli("verify", str(trained))
    assert outcome.code == 1
    assert re.search(r"table.md differs from line \d+ on", outcome.out)
    assert "table.csv is missing" in outcome.out


def test_a_table_that_cannot_be_read_is_named_and_the_others_are_checked(
    trained, run_cli, tmp_path
):
    other = tmp_path / "results/another/records.json"
    other.parent.mkdir()
    other.write_text((trained / "records.json").read_text().replace("quickstart", "another"))
    (trained / "table.csv").write_bytes("é".encode("latin-1"))
    outcome = run_cli("verify", "results")
    assert outcome.code == 1
    assert "not checked: results/another/records.json holds records of another" in outcome.err
    assert "table.csv differs from line 1 on" in outcome.out


def test_a_run_that_goes_on_makes_no_table_wrong(made):
    """It is in the table that is shown, and in the files once it has ended."""
    run = next(run for run in made.runs if run.row == "ResNet-44")
    record = Record(made.results / "runs" / run.id)
    record.folder.mkdir(parents=True)
    record.add_session({**SESSION, "threads": 1, "data": "0123456789abcdef"})
    record.append("train", 16000, num_errors=750, num_images=50000, loss=0.1, lr=0.1,
                  images_per_second=50.0)  # fmt: skip
    record.note_saved(16000)
    table, _ = write_outputs(made)
    (line,) = (line for line in table.lines if line.name == "ResNet-44")
    assert 0 < line.progress < 1
    assert check_table(made, made.folder / RECORDS_FILE).right
