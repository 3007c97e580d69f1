"""How two ways to the same server compare."""

from tests.conformance.verdicts import Verdict, differences, failures, summary, table


def verdicts(**of: str) -> dict[str, Verdict]:
    """By case (``c1`` for 1), as ``message/close``; what is FAILED has not passed."""
    return {
        case: Verdict(case=case, message=message, close=close, passed=message != "FAILED", reason="No echo.")
        for case, (message, _, close) in ((name[1:], text.partition("/")) for name, text in of.items())
    }


DIRECTLY = verdicts(c1="OK/OK", c2="OK/OK", c3="FAILED/FAILED", c4="FAILED/WRONG CODE", c5="OK/OK")
THROUGH = verdicts(c1="OK/OK", c2="NON-STRICT/OK", c3="FAILED/FAILED", c4="OK/OK", c6="OK/OK")


def test_differences() -> None:
    """What differs is told in order, and a case without a verdict through the gateway is a regression."""
    found = differences(DIRECTLY, THROUGH)
    assert [(each.case, str(each.through), each.is_regression) for each in found] == [
        ("2", "NON-STRICT", False),
        ("4", "OK", False),
        ("5", "NO VERDICT", True),
    ]


def test_regression() -> None:
    """What fails through the gateway alone is a regression; what fails both ways is none."""
    assert [each.case for each in differences(THROUGH, DIRECTLY) if each.is_regression] == ["4", "6"]
    assert [verdict.case for verdict in failures(DIRECTLY)] == ["3", "4"]


def test_table() -> None:
    """The table names both verdicts, and marks a regression with the judge's reason."""
    assert list(table([])) == []
    lines = list(table(differences(THROUGH, DIRECTLY)))
    assert "! 4        OK          FAILED, close WRONG CODE: No echo." in lines
    assert "  2        NON-STRICT  OK" in lines


def test_summary() -> None:
    """A summary counts every verdict."""
    assert summary(THROUGH) == "5 cases: 3 OK, 1 NON-STRICT, 1 FAILED"
