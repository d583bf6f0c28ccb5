"""Status and body to one error: the class decides what happens next, so it must be the right one."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis.strategies import binary, booleans, integers, none, sampled_from, text

from fleet.errors import (
    AdmissionDenied,
    AlreadyExists,
    AnswerInvalid,
    ClusterError,
    ClusterTimeout,
    Conflict,
    Expired,
    Forbidden,
    ImmutableField,
    KindNotServed,
    NotChecked,
    NotFound,
    ObjectInvalid,
    ServerFailed,
    TooManyRequests,
    Unauthorized,
)
from fleet.kube.answers import Asked, Reply, document_of, error_of, is_absent, printable, warnings_of

ASKED = Asked("apply Deployment shop/web", "eu-1")


def status(code: int, reason: str = "", message: str = "", **details: Any) -> Reply:
    document = {"kind": "Status", "code": code, "reason": reason, "message": message, "details": details}
    return Reply(code, "application/json", None, (), orjson.dumps(document))


IMMUTABLE = {
    "reason": "FieldValueInvalid",
    "field": "spec.selector",
    "message": "Invalid value: {}: field is immutable",
}
DEPLOYED = 'deployments.apps "web" is forbidden: User "jo" cannot patch resource "deployments"'


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (status(400, "BadRequest", "unknown field"), ObjectInvalid),
        (status(400, "BadRequest", 'admission webhook "a.b" denied the request: no'), AdmissionDenied),
        (status(400, "BadRequest", 'admission webhook "a.b" does not support dry run'), NotChecked),
        (status(401, "Unauthorized", "Unauthorized"), Unauthorized),
        (status(403, "Forbidden", DEPLOYED, name="web"), Forbidden),
        (status(403, "Forbidden", 'pods "p" is forbidden: exceeded quota: q'), AdmissionDenied),
        (status(403, "Forbidden", 'pods "p" is forbidden: violates PodSecurity "restricted"'), AdmissionDenied),
        (status(403, "Forbidden", 'admission webhook "a.b" denied the request: no'), AdmissionDenied),
        (status(404, "NotFound", 'namespaces "shop" not found', name="shop"), NotFound),
        (status(404, "NotFound", "the server could not find the requested resource"), KindNotServed),
        (status(405, "MethodNotAllowed", "no"), ObjectInvalid),
        (status(409, "AlreadyExists", "there"), AlreadyExists),
        (status(409, "Conflict", "modified"), Conflict),
        (status(410, "Expired", "old"), Expired),
        (status(413, "RequestEntityTooLarge", "big"), ObjectInvalid),
        (status(422, "Invalid", "bad", causes=[{"field": "spec", "message": "Required value"}]), ObjectInvalid),
        (status(422, "Invalid", "bad", causes=[IMMUTABLE]), ImmutableField),
        (status(422, "Invalid", "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no"), AdmissionDenied),
        (status(429, "TooManyRequests", "slow"), TooManyRequests),
        (status(500, "InternalError", "failed calling webhook"), ServerFailed),
        (status(500, "", "failed to create typed patch object (a/b): .x: field not declared in schema"), ObjectInvalid),
        (status(503, "ServiceUnavailable", "starting"), ServerFailed),
        (status(504, "Timeout", "request did not complete"), ClusterTimeout),
        (Reply(503, "text/html", 5.0, (), b"<html>"), TooManyRequests),
        (Reply(503, "text/html", None, (), b"<html>"), ServerFailed),
        (Reply(401, "text/plain", None, (), b"no"), Unauthorized),
        (Reply(404, "text/plain", None, (), b"404 page not found\n"), KindNotServed),
        (Reply(404, "text/html", None, (), b"<html>404 page not found"), AnswerInvalid),
        (Reply(403, "application/json", None, (), b'{"error": "sso"}'), AnswerInvalid),
        (Reply(301, "", None, (), b""), AnswerInvalid),
    ],
)
def test_each_answer_has_its_class(reply: Reply, kind: type[ClusterError]) -> None:
    assert type(error_of(reply, ASKED)) is kind


ROLE = '{"APIGroup":"rbac.authorization.k8s.io","Kind":"ClusterRole","Name":"edit"}'
STATEFUL = "updates to statefulset spec for fields other than 'replicas' and 'template' are forbidden"
CLAIM = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
POD = "pod updates may not change fields other than `spec.containers[*].image`"


@pytest.mark.parametrize(
    "messages",
    [
        ['Invalid value: {"matchLabels":{"app":"y"}}: field is immutable'],
        ["Forbidden: field is immutable when `immutable` is set", 'Invalid value: "a": field is immutable'],
        [f"Invalid value: {ROLE}: cannot change roleRef"],
        ['Invalid value: ["None"]: may not change once set'],
        [f'Forbidden: {CLAIM}\n- "StorageClassName": "x",\n+ "StorageClassName": "y",\n'],
        ['Forbidden: spec.persistentvolumesource is immutable after creation\n- "Path": "/a",\n+ "Path": "/b",\n'],
        [f'Forbidden: {POD}\n- "Hostname": "x",\n+ "Hostname": "y",\n'],
        ["Forbidden: pod updates may not add or remove containers"],
        ["Forbidden: may not be changed in an update.", 'Invalid value: "Never": field is immutable'],
        [f"Forbidden: {STATEFUL}"],
    ],
)
def test_what_the_server_never_changes_in_place_is_told_from_what_is_invalid(messages: list[str]) -> None:
    causes = [{"field": "spec", "message": message} for message in messages]
    assert type(error_of(status(422, "Invalid", "bad", causes=causes), ASKED)) is ImmutableField
    # To make it anew would only take the old one away.
    besides = {"field": "spec", "message": "Invalid value: -1: must be greater than or equal to 0"}
    assert type(error_of(status(422, "Invalid", "bad", causes=[*causes, besides]), ASKED)) is ObjectInvalid


@pytest.mark.parametrize(
    "message",
    [
        "Invalid value: -1: must be greater than or equal to 0",
        'Invalid value: {"app":"x"}: `selector` does not match template `labels`',
        'Invalid value: "10.97.206.68": expected an IPv6 value as indicated by `ipFamilies[0]`',
        'Invalid value: "why: cannot change roleRef": must be no more than 3 characters',
        'Invalid value: "Forbidden: spec is immutable after creation": a lowercase RFC 1123 label must consist of',
        "Forbidden: field can not be less than status.capacity",
        "Required value",
    ],
)
def test_what_is_invalid_is_not_made_anew(message: str) -> None:
    causes = [{"field": "spec", "message": message}]
    assert type(error_of(status(422, "Invalid", "bad", causes=causes), ASKED)) is ObjectInvalid


def test_a_conflict_names_the_fields_and_their_managers() -> None:
    causes = [
        {"reason": "FieldManagerConflict", "field": ".spec.replicas", "message": 'conflict with "hpa" using apps/v1'},
        {"reason": "FieldManagerConflict", "field": ".spec.paused", "message": 'conflict with "kubectl-edit"'},
    ]
    error = error_of(status(409, "Conflict", "Apply failed", causes=causes), ASKED)
    assert error.why == ".spec.replicas: owned by hpa; .spec.paused: owned by kubectl-edit"


@given(
    code=integers(200, 599),
    content_type=sampled_from(["application/json", "text/html", "text/plain", ""]),
    body=binary(max_size=200) | sampled_from([b"{}", b"[]", b'{"kind":"Status"}', b'{"kind":"Status","details":[]}']),
    after=none() | integers(0, 100).map(float),
    secret=booleans(),
)
def test_any_answer_at_all_gives_one_error_with_its_four_parts(
    code: int, content_type: str, body: bytes, after: float | None, secret: bool
) -> None:
    error = error_of(Reply(code, content_type, after, (), body), Asked("apply Secret shop/db", "eu-1", secret))
    assert error.what
    assert error.where == "eu-1"
    assert error.why
    assert error.next_step


@given(body=binary(min_size=1, max_size=60), code=sampled_from([200, 400, 403, 404, 409, 422, 500, 502]))
def test_nothing_of_a_secret_s_answer_is_repeated(body: bytes, code: int) -> None:
    seeded = "tOpSeCrEt"
    asked = Asked("apply Secret shop/db", "eu-1", secret=True)
    causes = [{"field": "data.x", "reason": "FieldValueInvalid", "message": f"Invalid value: {seeded}"}]
    replies = (
        Reply(code, "text/plain", None, (), body + seeded.encode()),
        status(code, "Invalid", f"bad {seeded}", causes=causes),
    )
    for reply in replies:
        if code in (404,) and reply.content_type == "application/json":
            continue  # "secrets NAME not found" holds no value
        assert seeded not in str(error_of(reply, asked))


def test_a_missing_right_on_secrets_is_named_all_the_same() -> None:
    said = (
        'secrets "db" is forbidden: User "jo" cannot patch resource "secrets" in API group "" in the namespace "shop"'
    )
    error = error_of(status(403, "Forbidden", said), Asked("apply Secret shop/db", "eu-1", secret=True))
    assert type(error) is Forbidden
    assert error.why == 'User "jo" cannot patch resource "secrets" in API group "" in the namespace "shop"'


@given(body=binary(max_size=60))
def test_a_document_is_a_whole_json_object_or_an_error(body: bytes) -> None:
    try:
        parsed = orjson.loads(body)
    except ValueError:
        parsed = None
    reply = Reply(200, "application/json", None, (), body)
    if isinstance(parsed, dict) and parsed:
        assert document_of(reply, ASKED) == parsed
    else:
        with pytest.raises(AnswerInvalid):
            document_of(reply, ASKED)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b"{}"),
        ("text/html", b'{"kind": "Pod"}'),
        ("", b'{"kind": "Pod"}'),
        ("application/yaml", b"a: b"),
    ],
)
def test_an_empty_document_and_json_by_another_name_are_no_answer(kind: str, body: bytes) -> None:
    with pytest.raises(AnswerInvalid):
        document_of(Reply(200, kind, None, (), body), ASKED)


def test_absence_is_said_by_the_object_s_own_404_alone() -> None:
    assert is_absent(status(404, "NotFound", "", name="web"), "web")
    assert not is_absent(status(404, "NotFound", "", name="shop", kind="namespaces"), "web")
    assert not is_absent(status(404, "NotFound", ""), "web")
    assert not is_absent(status(403, "Forbidden", "", name="web"), "web")
    assert not is_absent(Reply(404, "text/html", None, (), b""), "web")


@pytest.mark.parametrize(
    ("header", "texts"),
    [
        ('299 - "one"', ("one",)),
        (
            '299 - "one", 299 agent "two \\"quoted\\", still" "Wed, 21 Oct 2026 07:28:00 GMT"',
            ("one", 'two "quoted", still'),
        ),
        ('199 - "miscellaneous"', ()),
        ("299 - unquoted", ()),
        ('299 - "never ends', ()),
        ("", ()),
    ],
)
def test_warning_headers_are_read_as_rfc_7234_says(header: str, texts: tuple[str, ...]) -> None:
    assert warnings_of([header], secret=False) == texts


@given(text())
def test_any_warning_header_is_read_without_an_exception(header: str) -> None:
    assert all(warning.isprintable() for warning in warnings_of([f'299 - "{header}"'], secret=False))


@given(text(), integers(1, 50))
def test_foreign_text_is_cut_and_cannot_steer_a_terminal(foreign: str, limit: int) -> None:
    shown = printable(foreign, limit)
    assert shown.isprintable()
    assert len(shown) <= limit + 1
