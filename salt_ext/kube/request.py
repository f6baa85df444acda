"""One request to a Kubernetes API server, and everything that it can end in, in words."""

from __future__ import annotations

import ssl
from typing import Any
from urllib.parse import urlencode

import msgspec
import urllib3
from urllib3.exceptions import HTTPError, ProtocolError, ProxyError, ReadTimeoutError, SSLError

from salt_ext.kube import wire
from salt_ext.kube.errors import Expired, RequestFailed, Unauthorized, UnexpectedResponse
from salt_ext.kube.line_stream import pieces
from salt_ext.kube.session import Session

_CONNECT = 10.0
"""Seconds to open a connection."""
_READ = 30.0
"""Seconds without a byte of an answer that should come at once."""
_LARGEST_ANSWER = 256 * 1024 * 1024

_OTHER_NAME = (62, 64)
"""OpenSSL's numbers for a certificate of another host name or IP address."""


class Requests:
    """Requests over one session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def get(self, path: str, query: dict[str, str], what: str) -> bytearray:
        """Return the body of the answer to a GET."""
        return self.read(self.open(path, query, what), what)

    def read(self, response: Any, what: str) -> bytearray:
        """Return the body of an answer, and let its connection be used again."""
        body = bytearray()
        try:
            # urllib3's own read with a limit copies everything twice.
            for piece in pieces(response):
                body += piece
                if len(body) > _LARGEST_ANSWER:
                    raise UnexpectedResponse(what, f"answered more than {_LARGEST_ANSWER} bytes")
        except (HTTPError, OSError) as exc:
            raise RequestFailed(what, reason(exc)) from exc
        else:
            response.release_conn()
            return body
        finally:
            response.close()

    def open(
        self,
        path: str,
        query: dict[str, str],
        what: str,
        *,
        read: float | None = None,
        body: bytes | None = None,
    ) -> Any:
        """Return the answer to a GET, or to a POST of a body, unread; raises what it failed of."""
        timeout = urllib3.Timeout(connect=_CONNECT, read=_READ if read is None else read)
        whole = f"{path}?{urlencode(query)}" if query else path
        try:
            response = self._session.open(whole, timeout, body)
        except (HTTPError, OSError) as exc:
            raise RequestFailed(what, f"{self._session.host}: {reason(exc)}") from exc
        if response.status in (200, 201):
            return response
        try:
            told = response.read(64 * 1024)
        except (HTTPError, OSError):
            told = b""
        finally:
            response.close()
        failed = refused(what, response.status, told, response.headers.get("Retry-After", ""))
        if response.status == 401:
            failed = Unauthorized(what, f"{failed.why}; asked with {self._session.asked_with}")
        raise failed


def decoded(decoder: msgspec.json.Decoder[Any], body: bytearray, what: str, kind: str) -> Any:
    """Return what a body holds; :class:`UnexpectedResponse` when that is something else."""
    try:
        return decoder.decode(body)
    except msgspec.MsgspecError as exc:
        raise UnexpectedResponse(
            what, f"answered {len(body)} bytes that are no {kind}: {exc}"
        ) from exc


def refused(what: str, code: int, body: bytes | msgspec.Raw, retry_after: str) -> RequestFailed:
    """Return the error that an answer with another status than was hoped for means."""
    try:
        status = wire.status.decode(body)
    except msgspec.MsgspecError:
        status = wire.Status()
    why = f"{code} {status.reason} {status.message}".strip()[:300]
    if code == 410 or status.reason in ("Expired", "Gone"):
        return Expired(what, why)
    if code in (401, 403):
        return Unauthorized(what, why)
    wait = float(retry_after) if retry_after.isdigit() else 0.0
    return RequestFailed(what, why, retry_after=min(wait, 300.0))


def reason(exc: Exception) -> str:
    """Return what went wrong in words, without an address of an object in them."""
    inner: BaseException = exc
    while isinstance(inner, HTTPError) and (inner.__cause__ or inner.__context__):
        inner = inner.__cause__ or inner.__context__ or inner
    if isinstance(inner, ssl.SSLCertVerificationError):
        if inner.verify_code in _OTHER_NAME:
            return (
                f"the server's certificate is for another name ({inner.verify_message}); "
                "check server, or tls-server-name in the kubeconfig"
            )
        return (
            f"the server's certificate does not match the CA ({inner.verify_message}); "
            "check ca_file, or certificate-authority in the kubeconfig"
        )
    if isinstance(exc, SSLError) or isinstance(inner, ssl.SSLError):
        return f"TLS failed ({inner})"
    if isinstance(exc, ProxyError):
        return f"the proxy fails ({getattr(inner, 'strerror', None) or inner})"
    if isinstance(inner, OSError) and inner.strerror:
        return inner.strerror
    if isinstance(inner, TimeoutError) or isinstance(exc, ReadTimeoutError):
        return "no answer in time"
    if isinstance(exc, (ProtocolError, ValueError)):
        # http.client's own words for a stream that was cut in a chunk are about numbers in hex.
        return "the connection ended in the middle of an answer"
    return str(inner) or type(inner).__name__
