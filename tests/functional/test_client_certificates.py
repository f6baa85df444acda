"""Client certificates, on the emulator and on the real API server."""

from __future__ import annotations

import base64
import shutil
import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from kubernetes.config import kube_config

from lab.kubernetes import certificates, open_backend
from lab.kubernetes.real_backend import unavailable
from salt_ext.kube.errors import BadCredentials, RequestFailed, Unauthorized
from salt_ext.kube.session import Session
from tests.functional.kube_access import ask, kubeconfig, plugin


@pytest.fixture(
    scope="module", params=["emulator", pytest.param("real", marks=pytest.mark.kube_real)]
)
def backend(request, tmp_path_factory):
    if request.param == "real" and (reason := unavailable()):
        pytest.skip(reason)
    with open_backend(request.param, tmp_path_factory.mktemp("kube")) as found:
        yield found


@pytest.fixture
def emulator(tmp_path_factory):
    with open_backend("emulator", tmp_path_factory.mktemp("emulator")) as found:
        yield found


def inline(cert: Path, key: Path) -> dict[str, str]:
    return {
        "client-certificate-data": base64.b64encode(cert.read_bytes()).decode(),
        "client-key-data": base64.b64encode(key.read_bytes()).decode(),
    }


def put(backend, user: str, folder: Path) -> dict[str, str]:
    """Place a user's certificate as ``me.crt`` and ``me.key``, as a rotation does."""
    made = backend.client_certificate(user, folder)
    for file, name in zip(made, ("me.crt", "me.key"), strict=True):
        file.rename(folder / name)
    return {"client-certificate": "me.crt", "client-key": "me.key"}


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_certificate_in_the_kubeconfig(backend, tmp_path):
    user = inline(*backend.client_certificate("reader", tmp_path))
    assert ask(Session(kubeconfig(tmp_path, backend, user)))


def test_certificate_in_files_beside_the_kubeconfig(backend, tmp_path):
    assert ask(Session(kubeconfig(tmp_path, backend, put(backend, "reader", tmp_path))))


def test_rotated_certificate_is_picked_up_on_a_new_connection(backend, tmp_path):
    session = Session(kubeconfig(tmp_path, backend, put(backend, "nobody", tmp_path)))
    with pytest.raises(Unauthorized, match=r'403 .*User "nobody"'):
        ask(session)
    put(backend, "reader", tmp_path)
    assert ask(session)
    put(backend, "nobody", tmp_path)
    # The open connection was made with the previous certificate.
    with pytest.raises(Unauthorized, match=r'403 .*User "nobody"'):
        ask(session)


def test_certificate_of_a_plugin(backend, tmp_path):
    cert, key = backend.client_certificate("reader", tmp_path)
    body = f"""
    say(clientCertificateData=open({str(cert)!r}).read(), clientKeyData=open({str(key)!r}).read(),
        expirationTimestamp="2020-01-01T00:00:00Z")
    """
    session = Session(kubeconfig(tmp_path, backend, plugin(tmp_path, body)))
    assert ask(session)
    backend.client_certificate("nobody", tmp_path)
    shutil.move(tmp_path / "nobody.crt", cert)
    shutil.move(tmp_path / "nobody.key", key)
    with pytest.raises(Unauthorized, match=r'403 .*User "nobody"'):
        ask(session)


def test_certificate_of_another_ca_is_refused(backend, tmp_path):
    other = certificates.provide(tmp_path / "certs", "127.0.0.1")
    user = inline(*certificates.issue(other, "reader", "lab:readers", tmp_path))
    session = Session(kubeconfig(tmp_path, backend, user))
    with pytest.raises(RequestFailed) as caught:
        ask(session)
    # The real server answers in HTTP, the emulator ends the connection.
    if backend.name == "real":
        assert isinstance(caught.value, Unauthorized)
        assert "credentials from" in str(caught.value)
        assert "client certificate of user 'me'" in str(caught.value)
    else:
        assert not isinstance(caught.value, Unauthorized)


def test_certificate_that_tls_refused_is_read_again(emulator, tmp_path):
    other = certificates.provide(tmp_path / "certs", "127.0.0.1")
    marks = tmp_path / "marks"
    cert, key = certificates.issue(other, "reader", "lab:readers", tmp_path)
    body = f"""
    open({str(marks)!r}, "a").write("x")
    say(clientCertificateData=open({str(cert)!r}).read(), clientKeyData=open({str(key)!r}).read())
    """
    session = Session(kubeconfig(tmp_path, emulator, plugin(tmp_path, body)))
    with pytest.raises(RequestFailed):
        ask(session)
    emulator.client_certificate("reader", tmp_path)
    assert ask(session)
    assert marks.read_text() == "xx"


def test_key_of_another_certificate_is_an_error(emulator, tmp_path):
    cert, _ = emulator.client_certificate("reader", tmp_path)
    _, key = emulator.client_certificate("nobody", tmp_path)
    session = Session(kubeconfig(tmp_path, emulator, inline(cert, key)))
    with pytest.raises(
        BadCredentials, match="client key does not belong to the client certificate"
    ):
        ask(session)


def test_encrypted_key_is_an_error_and_no_password_is_asked_for(emulator, tmp_path):
    cert, key = emulator.client_certificate("reader", tmp_path)
    plain = serialization.load_pem_private_key(key.read_bytes(), None)
    key.write_bytes(
        plain.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"sesame"),
        )
    )
    session = Session(kubeconfig(tmp_path, emulator, inline(cert, key)))
    with pytest.raises(BadCredentials, match="the client key is encrypted"):
        ask(session)


def test_nothing_is_written_and_no_file_stays_open(emulator, tmp_path, monkeypatch):
    user = inline(*emulator.client_certificate("reader", tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    access = kubeconfig(tmp_path, emulator, user)
    ask(Session(access))
    before, temp_files = open_files(), dict(kube_config._temp_files)
    for _ in range(20):
        session = Session(access)
        ask(session)
        session.reset()
    # Other code opens files in this process too; a leak would be one for each session.
    assert open_files() < before + 10
    assert list((tmp_path / "temporary").iterdir()) == []
    assert kube_config._temp_files == temp_files


def test_sessions_side_by_side_show_their_own_certificates(emulator, tmp_path):
    sessions = {}
    for user in ("reader", "admin"):
        folder = tmp_path / user
        folder.mkdir()
        shown = inline(*emulator.client_certificate(user, folder))
        sessions[user] = Session(kubeconfig(folder, emulator, shown))
    emulator.control.forget_requests()
    threads = [
        threading.Thread(target=lambda one=one: [ask(one) for _ in range(10)])
        for one in sessions.values()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    users = [request.user for request in emulator.control.requests()]
    assert sorted(set(users)) == ["admin", "reader"]
    assert users.count("admin") == users.count("reader") == 10
