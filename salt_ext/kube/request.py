"""Sends one request to a Kubernetes API server and turns every failure into an error."""

from __future__ import annotations

import ssl
from typing import TypeVar
from urllib.parse import urlencode

import msgspec
import urllib3
from urllib3.exceptions import HTTPError, ProtocolError, ProxyError, ReadTimeoutError, SSLError

from salt_ext.kube import wire
from salt_ext.kube.errors import Expired, RequestFailed, Unauthorized, UnexpectedResponse
from salt_ext.kube.http_response import HttpResponse
from salt_ext.kube.line_stream import read_chunks
from salt_ext.kube.session import Session

_CONNECT_TIMEOUT = 10.0
"""Seconds to open a connection."""
_READ_TIMEOUT = 30.0
"""Seconds without a byte of a response that should arrive at once."""
_MAX_BODY_BYTES = 256 * 1024 * 1024
_MAX_ERROR_BYTES = 64 * 1024
_MAX_RETRY_AFTER = 300.0

_WRONG_HOST_NAME = (62, 64)
"""OpenSSL's codes for a certificate of another host name or IP address."""

_T = TypeVar("_T")


class ApiClient:
    """
    Requests over one session.

    ``name`` is the request's name in errors, such as ``LIST nodes``.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def get(self, path: str, query: dict[str, str], name: str) -> bytearray:
        """Return the body of the response to a GET; raises :class:`RequestFailed`."""
        return self.read_body(self.send(path, query, name), name)

    def read_body(self, response: HttpResponse, name: str) -> bytearray:
        """Return the body of a response and release its connection for the next request."""
        body = bytearray()
        try:
            # urllib3's own read with a limit copies every byte twice.
            for chunk in read_chunks(response):
                body += chunk
                if len(body) > _MAX_BODY_BYTES:
                    raise UnexpectedResponse(name, f"answered more than {_MAX_BODY_BYTES} bytes")
        except (HTTPError, OSError) as exc:
            raise RequestFailed(name, describe(exc)) from exc
        else:
            response.release_conn()
            return body
        finally:
            response.close()

    def send(
        self,
        path: str,
        query: dict[str, str],
        name: str,
        *,
        read_timeout: float | None = None,
        body: bytes | None = None,
    ) -> HttpResponse:
        """
        Send a GET, or a POST with a ``body``, and return the response with its body unread.

        Raises :class:`RequestFailed` for every status but 200 and 201.
        """
        timeout = urllib3.Timeout(
            connect=_CONNECT_TIMEOUT, read=_READ_TIMEOUT if read_timeout is None else read_timeout
        )
        target = f"{path}?{urlencode(query)}" if query else path
        try:
            response = self._session.send(target, timeout, body)
        except (HTTPError, OSError) as exc:
            raise RequestFailed(name, f"{self._session.host}: {describe(exc)}") from exc
        if response.status in (200, 201):
            return response
        try:
            content = response.read(_MAX_ERROR_BYTES)
        except (HTTPError, OSError):
            content = b""
        finally:
            response.close()
        error = error_of_status(
            name, response.status, content, response.headers.get("Retry-After", "")
        )
        if response.status == 401:
            source = self._session.last_credential.source
            raise Unauthorized(name, f"{error.reason}; credentials from {source}")
        raise error


def decode(decoder: msgspec.json.Decoder[_T], body: bytearray, name: str, kind: str) -> _T:
    """Decode a body; raises :class:`UnexpectedResponse` when it is not of the ``kind``."""
    try:
        return decoder.decode(body)
    except msgspec.MsgspecError as exc:
        raise UnexpectedResponse(
            name, f"answered {len(body)} bytes that cannot be read as a {kind}: {exc}"
        ) from exc


def error_of_status(
    name: str, code: int, body: bytes | msgspec.Raw, retry_after: str
) -> RequestFailed:
    """Return the error for an HTTP status, or for the Status object of an ERROR event."""
    try:
        status = wire.status.decode(body)
    except msgspec.MsgspecError:
        status = wire.Status()
    reason = f"{code} {status.reason} {status.message}".strip()[:300]
    if code == 410 or status.reason in ("Expired", "Gone"):
        return Expired(name, reason)
    if code in (401, 403):
        return Unauthorized(name, reason)
    seconds = float(retry_after) if retry_after.isdigit() else 0.0
    return RequestFailed(name, reason, retry_after=min(seconds, _MAX_RETRY_AFTER))


def describe(exc: Exception) -> str:
    """Return an error of the transport in plain words; urllib3's own name Python objects."""
    inner: BaseException = exc
    while isinstance(inner, HTTPError) and (inner.__cause__ or inner.__context__):
        inner = inner.__cause__ or inner.__context__ or inner
    if isinstance(inner, ssl.SSLCertVerificationError):
        if inner.verify_code in _WRONG_HOST_NAME:
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
        return f"the proxy failed ({getattr(inner, 'strerror', None) or inner})"
    if isinstance(inner, OSError) and inner.strerror:
        return inner.strerror
    if isinstance(inner, TimeoutError) or isinstance(exc, ReadTimeoutError):
        return "request timed out"
    if isinstance(exc, (ProtocolError, ValueError)):
        # http.client describes a stream that ends inside a chunk by hexadecimal numbers.
        return "the connection closed in the middle of a response"
    return str(inner) or type(inner).__name__
