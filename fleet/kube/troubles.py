"""What a connection's failure means: aiohttp, TLS and proxy exceptions to our errors, said as people read them."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl

import aiohttp
from aiohttp_socks import ProxyConnectionError, ProxyError, ProxyTimeoutError

from fleet.errors import AnswerInvalid, CertificateUntrusted, ClusterError, ClusterTimeout, ClusterUnreachable
from fleet.kube.answers import Asked, printable
from fleet.kube.limits import KubeLimits
from fleet.kube.wire import ConnectionBroken

# X.509 verification results of OpenSSL (x509_vfy.h).
_CERTIFICATE_WORDS = {
    9: ("its certificate is not valid yet", "see the clocks of both machines"),
    10: ("its certificate has expired", "renew the API server's certificate"),
    62: ("its certificate is for another host name", "set tls-server-name, or correct the address"),
    64: ("its certificate is for another address", "set tls-server-name, or correct the address"),
}
_UNTRUSTED = ("its certificate is not signed by the expected authority", "see which server answers; else renew the CA")
_WORDS = {
    errno.ECONNREFUSED: "refuses connections",
    errno.EHOSTUNREACH: "has no route",
    errno.ENETUNREACH: "has no route",
    errno.ECONNRESET: "resets the connection",
    errno.ETIMEDOUT: "does not answer",
}


def error_of_connection(
    error: BaseException, asked: Asked, place: str, limits: KubeLimits, *, write: bool
) -> ClusterError:
    """The error for a call that got no answer. write: the text says that it may have landed nevertheless (R20)."""
    landed = "; the write may have landed: read before repeating it" if write else ""
    if isinstance(error, ConnectionBroken) or type(error) is aiohttp.ClientOSError:
        error = _first_cause(error)
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return _untrusted(error.certificate_error, place, asked)
        case ssl.SSLCertVerificationError():
            return _untrusted(error, place, asked)
        case ProxyError() | ProxyConnectionError() | ProxyTimeoutError():
            return _unreachable(f"{place} cannot be reached through its proxy", asked, _proxy_words(error))
        case aiohttp.ClientConnectorDNSError():
            return _unreachable(f"{place} has no address", asked, _os_words(error.os_error))
        case aiohttp.ConnectionTimeoutError():
            return _unreachable(f"{place} does not answer", asked, f"no connection within {limits.connect_seconds:g} s")
        case aiohttp.ClientConnectorError():
            words = _WORDS.get(error.os_error.errno or 0, "cannot be reached")
            return _unreachable(f"{place} {words}", asked, _os_words(error.os_error))
        case aiohttp.SocketTimeoutError():
            return ClusterTimeout(
                f"cannot {asked.what}",
                where=asked.where,
                why=f"{place} was silent for {limits.idle_seconds:g} s{landed}",
                next_step="it is tried again",
            )
        case aiohttp.ClientPayloadError():
            return AnswerInvalid(
                f"cannot {asked.what}",
                where=asked.where,
                why=f"the answer broke off{landed}",
                next_step="it is tried again",
            )
        case aiohttp.ClientResponseError():
            return AnswerInvalid(
                f"cannot {asked.what}",
                where=asked.where,
                why=f"{place} does not speak HTTP as expected{landed}",
                next_step="see what answers at this address",
            )
        case socket.gaierror():
            return _unreachable(f"{place} or its proxy has no address", asked, _os_words(error))
        case _:
            why = f"{printable(str(error), 200) or type(error).__name__}{landed}"
            return _unreachable(f"{place} closed the connection without an answer", asked, why)


CONNECTION_ERRORS = (
    aiohttp.ClientError,
    ConnectionBroken,
    ProxyError,
    ProxyConnectionError,
    ProxyTimeoutError,
    OSError,
)


def deadline_passed(asked: Asked, seconds: float, *, write: bool) -> ClusterTimeout:
    """The error for a call that was not over at its deadline."""
    landed = "; the write may have landed: read before repeating it" if write else ""
    return ClusterTimeout(
        f"cannot {asked.what}",
        where=asked.where,
        why=f"no whole answer within {seconds:g} s{landed}",
        next_step="it is tried again",
    )


def _first_cause(error: BaseException) -> BaseException:
    """What lies under the wrappings: TLS errors behind a proxy arrive as plain broken connections."""
    while isinstance(cause := error.__cause__, OSError | aiohttp.ClientError):
        error = cause
    return error


def _unreachable(what: str, asked: Asked, why: str) -> ClusterUnreachable:
    return ClusterUnreachable(what, where=asked.where, why=why, next_step="it is tried again")


def _untrusted(error: BaseException, place: str, asked: Asked) -> CertificateUntrusted:
    code = error.verify_code if isinstance(error, ssl.SSLCertVerificationError) else 0
    words, next_step = _CERTIFICATE_WORDS.get(code, _UNTRUSTED)
    detail = error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else ""
    return CertificateUntrusted(
        f"{place} is not trusted: {words}", where=asked.where, why=printable(detail, 200), next_step=next_step
    )


def _os_words(error: OSError) -> str:
    return printable(error.strerror or str(error) or type(error).__name__, 200)


def _proxy_words(error: BaseException) -> str:
    if isinstance(error, ProxyTimeoutError | asyncio.TimeoutError):
        return "the proxy does not answer; a direct connection is not tried (R30)"
    said = (error.strerror if isinstance(error, OSError) else "") or str(error)
    return f"{printable(said, 200)}; a direct connection is not tried (R30)"
