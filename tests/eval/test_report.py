"""The report as a file and as tables, and the commit it names."""

import io
import json
import subprocess

import pytest
from rich.console import Console

from eval.benchmark import evaluate
from eval.report import CHECKOUT, code_commit, display_path, make_report, print_report, write_report


def git(folder, *arguments):
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    return subprocess.run(
        ["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def repository(tmp_path):
    git(tmp_path, "init")
    (tmp_path / "code.py").write_text("1\n")
    git(tmp_path, "add", "code.py")
    git(tmp_path, "commit", "-m", "one")
    return tmp_path


def test_the_commit_is_that_of_the_checkout(repository):
    assert code_commit(repository) == git(repository, "rev-parse", "HEAD")


def test_changed_code_is_called_dirty_and_a_new_report_is_not(repository):
    (repository / "report.json").write_text("{}")
    assert not code_commit(repository).endswith("+dirty")
    (repository / "code.py").write_text("2\n")
    assert code_commit(repository) == git(repository, "rev-parse", "HEAD") + "+dirty"


def test_the_commit_is_unknown_outside_a_repository_and_in_a_folder_of_another(repository, tmp_path_factory):
    assert code_commit(tmp_path_factory.mktemp("plain")) == "unknown"
    (repository / "unpacked").mkdir()
    assert code_commit(repository / "unpacked") == "unknown"


def test_paths_inside_the_checkout_are_shown_relative_and_others_as_they_are(tmp_path, monkeypatch):
    monkeypatch.chdir(CHECKOUT / "eval")
    assert display_path(CHECKOUT / "models" / "tiny") == display_path("../models/tiny") == "models/tiny"
    assert display_path(tmp_path) == str(tmp_path)


def test_a_report_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "report.json"
    write_report({"model": "a", "results": []}, path)
    with pytest.raises(ValueError, match="JSON"):
        write_report({"model": float("nan")}, path)
    assert json.loads(path.read_text()) == {"model": "a", "results": []}


def printed(report, width=80) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_report(report, console)
    return console.file.getvalue()


def test_the_tables_show_model_baselines_and_kinds(toy):
    results = [evaluate(toy.predictor, toy.validation_set, mode) for mode in ("teacher_forced", "generated")]
    report = make_report("models/toy", results)
    assert set(report) == {"model", "commit", "results"}
    text = printed(report)
    lines = [line.split() for line in text.splitlines()]
    assert "models/toy" in text
    assert "toy|val  3 pictures, 5 questions" in text
    # gIoU 0.5, cIoU 12/46, P@k 2/5; everything: 1.8/5 and 36/100, no IoU above 1/2.
    generated, no_target = [line for line in lines if line[:1] == ["generated"]]
    assert no_target[1:] == ["1", "1.000", "0.750", "1.000", "0.000"]
    assert generated[1] == "0.500"
    assert generated[3:] == ["0.261", "0.400", "0.400", "0.400"]
    (everything,) = [line for line in lines if line[:1] == ["everything"]]
    assert everything[1:] == ["0.360", "0.360", "0.000", "0.000", "0.000"]
    (relation,) = [line for line in lines if line[:1] == ["relation"]]
    assert relation == ["relation", "1", "0.500", "0.500"]
    assert "generated: 1 answers hold no mask" in text


def test_a_baseline_that_is_not_known_is_a_dash_and_no_kinds_make_no_table(toy):
    toy.validation_set.train = []
    for sample in toy.validation_set.samples:
        sample.types = ("",) * len(sample.types)
    text = printed(make_report("m", [evaluate(toy.predictor, toy.validation_set, "generated")]))
    (mean_mask,) = [line for line in text.splitlines() if "mean training mask" in line]
    assert "-" in mean_mask.split()
    assert "0." not in mean_mask
    assert "kind of question" not in text
