"""What an API server's answer means: status and body to one of our errors, or to a document.

Pure. Texts of the server are cut, made printable (R40), and left out for Secrets, whose values they may repeat
(R32): of those only field names and reasons remain.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from fleet.core.documents import Document, documents_at, mapping_at, number_at, parse_document, text_at
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
from fleet.kube.levels import read_document
from fleet.values import dataclass

_LONGEST_TEXT = 1000
_WARNING = re.compile(r'\s*299\s+\S+\s+"((?:[^"\\]|\\.)*)"(?:\s+"[^"]*")?\s*(?:,|\Z)')
# What the server says of updates alone. Short words count only where they end: before them may stand any value.
_IMMUTABLE = re.compile(
    r"field is immutable|may not be (?:changed|updated)|updates to .* are forbidden|cannot be changed"
    r"|: (?:cannot change roleRef|may not change once set)\Z"
    r"|\AForbidden: (?:\S+ is immutable after creation|pod updates may not )"
)
_DENIED = re.compile(
    r"admission webhook \S+ denied|ValidatingAdmissionPolicy|does not support dry run|violates PodSecurity"
)
# The authorizer's own words and nothing around them: an admission webhook answers 403 too, with any text.
_MISSING_RIGHT = re.compile(
    r'User "[^"\s]{1,200}" cannot [a-z]+ resource "[a-z./-]+"'
    r'(?: in API group "[a-z0-9.-]*")?(?: in the namespace "[a-z0-9-]+")?'
)
_ESCALATION = "is attempting to grant RBAC permissions not currently held"  # the words of the RBAC registry
_NO_DRY_RUN = "not support dry run"  # the API server's own words, and those of webhooks that decide it themselves
# A field that the kind does not have, or of another type: answered with 500, though it is the object's fault.
_UNTYPED = "failed to create typed patch object"
_CONFLICTING = re.compile(r'conflict with "([^"]*)"')


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer: status, content type (lower case, without parameters), Retry-After, Warning headers, body."""

    status: int
    content_type: str
    retry_after: float | None
    warnings: tuple[str, ...]
    body: bytes
    date: str = ""  # the Date header: the server's clock


@dataclass(frozen=True, slots=True)
class Asked:
    """What a call was about, for messages: "apply ConfigMap shop/web", on which cluster. secret: R32 applies."""

    what: str
    where: str
    secret: bool = False


def printable(text: str, limit: int = _LONGEST_TEXT) -> str:
    """Foreign text for a terminal or page: control characters replaced, cut to a limit."""
    cut = text if len(text) <= limit else f"{text[:limit]}…"
    return "".join(c if c.isprintable() else " " for c in cut)


def document_of(reply: Reply, asked: Asked, *, outer: int = 0) -> Document:
    """The JSON object of a good answer; AnswerInvalid for anything else, an empty one included (R5).

    outer: as `levels.read_document`, which folds what is nested too deeply.
    """
    if not reply.content_type.endswith("json"):
        raise _invalid(asked, f"the answer is {reply.content_type or 'of no type'}, not JSON: {_glimpse(reply, asked)}")
    try:
        document = read_document(reply.body, outer)
    except ValueError:
        raise _invalid(asked, f"{len(reply.body)} bytes that are no whole JSON document") from None
    if not document:
        raise _invalid(asked, "an empty document")
    return document


def warnings_of(headers: Iterable[str], *, secret: bool) -> tuple[str, ...]:
    """The texts of Warning headers (RFC 7234 5.5, code 299 as Kubernetes sends them)."""
    texts = [
        printable(re.sub(r"\\(.)", r"\1", match.group(1)))
        for header in headers
        for match in _WARNING.finditer(header[: 16 * _LONGEST_TEXT])
    ]
    if secret and texts:
        return ("the server warns about this Secret (its text is withheld)",)
    return tuple(texts[:20])


def is_absent(reply: Reply, name: str) -> bool:
    """Whether a 404 says that this very object is not there; not its path, kind or namespace (R5)."""
    if reply.status != 404 or not reply.content_type.endswith("json"):
        return False
    try:
        status = parse_document(reply.body)
    except ValueError:
        return False
    return text_at(status, "reason") == "NotFound" and text_at(status, "details", "name") == name


def error_of(reply: Reply, asked: Asked) -> ClusterError:
    """The error for an answer that is no success; causes and field names in `why`."""
    error = _error_of(reply, asked)
    if isinstance(error, TooManyRequests):
        error.retry_after = reply.retry_after
    return error


def _error_of(reply: Reply, asked: Asked) -> ClusterError:
    if 300 <= reply.status < 400:
        return AnswerInvalid(
            f"cannot {asked.what}",
            where=asked.where,
            why=f"status {reply.status} points elsewhere; redirects are not followed (R31)",
            next_step="let the credential name the API server itself",
        )
    status = _status_of(reply)
    if status is None:
        return _error_of_foreign(reply, asked)
    kind, next_step = _classify(reply, status)
    return kind(f"cannot {asked.what}", where=asked.where, why=_why(reply, status, asked), next_step=next_step)


def error_of_event(status: Document, asked: Asked) -> ClusterError:
    """The error for the Status in an ERROR event of a watch."""
    reply = Reply(number_at(status, "code", default=500), "application/json", None, (), b"")
    kind, next_step = _classify(reply, status)
    return kind(f"cannot {asked.what}", where=asked.where, why=_why(reply, status, asked), next_step=next_step)


def _status_of(reply: Reply) -> Document | None:
    if not reply.content_type.endswith("json"):
        return None
    try:
        document = parse_document(reply.body)
    except ValueError:
        return None
    return document if document.get("kind") == "Status" else None


def _error_of_foreign(reply: Reply, asked: Asked) -> ClusterError:
    """Errors that come from something in front of the API server, or from a path that it does not have."""
    glimpse = f"status {reply.status}, {_glimpse(reply, asked)}"
    if reply.status == 401:
        return _error(Unauthorized, asked, glimpse, "give this cluster a new credential")
    if reply.status in (429, 503) and reply.retry_after is not None:
        return _error(TooManyRequests, asked, glimpse, "it goes on by itself")
    if reply.status >= 500:
        return _error(ServerFailed, asked, glimpse, "see what stands in front of the API server")
    if reply.status == 404 and reply.content_type == "text/plain" and b"404 page not found" in reply.body[:100]:
        return _error(KindNotServed, asked, "the API server has no such path", "see whether the CRD is installed")
    return _invalid(asked, f"{glimpse}: this is no answer of an API server")


def _classify(reply: Reply, status: Document) -> tuple[type[ClusterError], str]:
    """Error class and next step for a Status. The code decides; reason and message only refine it."""
    kind, next_step = _class_of(reply, status)
    if kind is AdmissionDenied and _NO_DRY_RUN in text_at(status, "message"):
        return NotChecked, "the apply itself will tell"
    return kind, next_step


def _class_of(reply: Reply, status: Document) -> tuple[type[ClusterError], str]:
    reason, message = text_at(status, "reason"), text_at(status, "message")
    match reply.status:
        case 401:
            return Unauthorized, "give this cluster a new credential"
        case 403:
            # Only the authorizer speaks of users; everything else with 403 is a decision about the object.
            if ("cannot " in message and 'User "' in message) or _ESCALATION in message:
                return Forbidden, "fleet cluster grant gives the missing right"
            return AdmissionDenied, "see the policy that is named"
        case 404:
            if not text_at(status, "details", "name"):
                return KindNotServed, "see whether the CRD is installed"
            return NotFound, "see whether what is named exists"
        case 409:
            return (
                (AlreadyExists, "read it first") if reason == "AlreadyExists" else (Conflict, "read it and try again")
            )
        case 410:
            return Expired, "list again"
        case 400 | 422 | 413:
            if _DENIED.search(message):
                return AdmissionDenied, "see the policy that is named"
            causes = _causes(status)
            # All of them: what is wrong besides would be refused when the object is made anew, and the old one gone.
            if reply.status == 422 and causes and all(_IMMUTABLE.search(text_at(c, "message")) for c in causes):
                return ImmutableField, "rename the object, or let it be replaced: fleet.internal/replace: enabled"
            return ObjectInvalid, "correct the object in Git"
        case 429:
            return TooManyRequests, "it goes on by itself"
        case 503 if reply.retry_after is not None:
            return TooManyRequests, "it goes on by itself"
        case 504:
            return ClusterTimeout, "it is tried again"
        case 500 if message.startswith(_UNTYPED):
            return ObjectInvalid, "correct the object in Git"
        case code if code >= 500:
            return ServerFailed, "it is tried again"
        case _:
            return ObjectInvalid, "correct the object in Git"


def _why(reply: Reply, status: Document, asked: Asked) -> str:
    causes = [
        ": ".join(part for part in (text_at(cause, "field"), _cause_text(cause, asked)) if part)
        for cause in _causes(status)
    ]
    if asked.secret and (missing := _MISSING_RIGHT.search(text_at(status, "message"))):
        return printable(missing.group())
    if asked.secret and reply.status not in (401, 404, 410):
        # The message may repeat values of the Secret; field names and reasons never do.
        named = "; ".join(dict.fromkeys(printable(cause, 200) for cause in causes if cause))
        return f"{text_at(status, 'reason') or reply.status}{f': {named}' if named else ''} (text withheld: a Secret)"
    if reply.status == 409 and causes:
        return printable("; ".join(causes))
    if _ESCALATION in text_at(status, "message"):
        told = text_at(status, "message").partition(":\n")[0]
        return printable(f"escalate on this role, or for a binding bind on what it refers to, is missing: {told}")
    return printable(text_at(status, "message") or "; ".join(causes) or f"status {reply.status}")


def _cause_text(cause: Document, asked: Asked) -> str:
    if asked.secret:
        return text_at(cause, "reason")
    message = text_at(cause, "message")
    conflict = _CONFLICTING.search(message)
    return f"owned by {conflict.group(1)}" if conflict else message


def _causes(status: Document) -> list[Document]:
    return documents_at(mapping_at(status, "details"), "causes")


def _glimpse(reply: Reply, asked: Asked) -> str:
    """What a foreign answer looks like; of a Secret nothing but its size."""
    if reply.content_type == "text/html" or reply.body[:200].lstrip().lower().startswith((b"<!doctype", b"<html")):
        title = re.search(rb"<title[^>]*>(.*?)</title>", reply.body[:4000], re.IGNORECASE | re.DOTALL)
        named = f" {printable(title.group(1).decode('utf-8', 'replace').strip(), 80)!r}" if title else ""
        return f"an HTML page{named}"
    if asked.secret or not reply.body:
        return f"{len(reply.body)} bytes"
    return repr(printable(reply.body[:200].decode("utf-8", "replace").strip(), 120))


def _error(kind: type[ClusterError], asked: Asked, why: str, next_step: str) -> ClusterError:
    return kind(f"cannot {asked.what}", where=asked.where, why=why, next_step=next_step)


def _invalid(asked: Asked, why: str) -> AnswerInvalid:
    return AnswerInvalid(
        f"cannot {asked.what}",
        where=asked.where,
        why=why,
        next_step="see what answers at this address: a proxy, a login page, another server",
    )
