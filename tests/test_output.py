"""What is written: nothing half-written is ever left, and output that goes nowhere is no traceback."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fishergeo.cli import main
from fishergeo.report import output


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interruption_leaves_nothing(tmp_path, number, code):
    process = subprocess.Popen(
        [sys.executable, "-m", "fishergeo", "report", "-o", "out"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    time.sleep(3)
    assert process.poll() is None
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    # CPython ends itself by SIGINT where it was interrupted in code made from text; a shell shows 130 for that too
    assert process.returncode in {code, -signal.SIGINT if number == signal.SIGINT else code}
    assert out == "" and list(tmp_path.iterdir()) == []
    assert err == ("fishergeo: interrupted\n" if number == signal.SIGINT else "")


def _report(folder):
    folder.mkdir()
    (folder / "index.html").write_text("old")
    (folder / output.RESULTS).write_text('{"generator": "fishergeo 0", "files": ["index.html", "results.json"]}')


def _interrupted(manager, name=""):
    with manager as work:
        (work / name).write_text("half")
        raise KeyboardInterrupt


def test_a_report_is_replaced_whole_or_not_at_all(tmp_path):
    target = tmp_path / "report"
    _report(target)
    with pytest.raises(KeyboardInterrupt):
        _interrupted(output.folder(target), "index.html")
    assert (target / "index.html").read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["report"]
    with output.folder(target) as work:
        (work / "index.html").write_text("new")
    assert {p.name: p.read_text() for p in target.iterdir()} == {"index.html": "new"}
    assert [p.name for p in tmp_path.iterdir()] == ["report"]


def test_a_report_with_other_files_is_left_alone(tmp_path):
    target = tmp_path / "report"
    _report(target)
    (target / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"holds 'notes.txt', which no report wrote"), output.folder(target):
        pytest.fail("must not start")
    assert (target / "notes.txt").read_text() == "mine"


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    target = tmp_path / "F.csv"
    target.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        _interrupted(output.file(target))
    assert target.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["F.csv"]
    with output.file(target) as work:
        work.write_text("new")
    assert target.read_text() == "new" and [p.name for p in tmp_path.iterdir()] == ["F.csv"]


def test_a_target_that_is_no_regular_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "F.csv")
    with pytest.raises(ValueError, match=r"F\.csv is not a regular file: give a file name"):
        output.check_file(tmp_path / "F.csv", (".csv",))


def test_output_that_cannot_be_written(monkeypatch, capsys):
    with open("/dev/full", "w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(["table", "--paper"]) == 2
    monkeypatch.undo()
    assert capsys.readouterr().err == (
        "fishergeo: error: the output: no space left on device; free space there, or write elsewhere\n"
    )


def test_output_that_nobody_reads(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["table", "--paper"]) == 0
    monkeypatch.undo()
    assert capsys.readouterr().err == ""


def test_output_in_an_encoding_without_the_marks(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    assert main(["table", "--paper"]) == 0
    marks = raw.getvalue().decode("ascii").splitlines()[-1].split()[2:]
    assert marks == [r"\u2713", r"\u2713", r"\xb7", r"\u2713", r"\xb7", r"\u2713"]
