"""The judge finds what there is to find: it would be of no use otherwise."""

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2

from tests.abuse.case import SERVICE, Answer, Case
from tests.abuse.judge import Judge
from tests.abuse.tally import Tally

CANARY = "canary-of-a-test"


def answer(
    code: str, message: str = "no", *, reason: str = "REASON", domain: str = "providerd", body: bytes = b""
) -> Answer:
    box = AnyMessage()
    box.Pack(error_details_pb2.ErrorInfo(reason=reason, domain=domain))
    return Answer(code, message, status_pb2.Status(message=message, details=[box]).SerializeToString(), body)


def problems(given: Answer, **more: object) -> list[str]:
    fields = {"name": "x", "rpc": f"{SERVICE}X", "codes": frozenset({"NOT_FOUND"}), **more}
    return Judge(Tally(), [CANARY], ["some_table"]).verdict("a kind", Case(**fields), given)


def test_a_right_answer_is_right() -> None:
    assert not problems(answer("NOT_FOUND"))
    assert not problems(Answer("NOT_FOUND"), grpc_itself=frozenset({"NOT_FOUND"}))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (answer("OK"), "answered OK"),
        (answer("INTERNAL"), "answered INTERNAL"),
        (Answer("NOT_FOUND"), "without a reason"),
        (answer("NOT_FOUND", domain="other"), "without a reason"),
        (answer("NOT_FOUND", f"no {CANARY}"), CANARY),
        (answer("NOT_FOUND", reason=CANARY), CANARY),
        (answer("NOT_FOUND", body=CANARY.encode()), CANARY),
        (answer("NOT_FOUND", "relation some_table"), "some_table"),
        (answer("NOT_FOUND", "asyncpg said so"), "asyncpg"),
        (answer("NOT_FOUND", 'File "/x/service.py", line 3'), ".py"),
        (answer("NOT_FOUND", "SELECT a FROM b"), "SELECT a"),
        (answer("NOT_FOUND", "no presented-token"), "presented-token"),
    ],
)
def test_a_wrong_answer_is_wrong(given: Answer, said: str) -> None:
    found = problems(given, metadata=(("authorization", "Bearer presented-token"),))
    assert any(said in each for each in found)


def test_what_the_caller_said_is_no_news_to_it() -> None:
    assert not problems(answer("NOT_FOUND", "no SELECT a"), request=b"SELECT a")


def test_another_reason_is_wrong_where_one_is_stated() -> None:
    assert problems(answer("NOT_FOUND"), reasons=frozenset({"ANOTHER"}))
    assert not problems(answer("NOT_FOUND"), reasons=frozenset({"REASON"}))


def test_the_report_counts() -> None:
    tally = Tally()
    assert tally.report() == []
    tally.tried("b", 1_000, wrongly_accepted=1)
    tally.tried("a", 5)
    tally.searched("somewhere", 0)
    tally.searched("somewhere", 2)
    other = Tally()
    other.add(tally.counts())
    assert other.report() == tally.report()
    lines = [line.split() for line in tally.report()]
    assert lines[1:4] == [["a", "5", "0"], ["b", "1,000", "1"], ["all", "1,005", "1"]]
    assert lines[5:] == [["somewhere", "2"], ["all", "2"]]
