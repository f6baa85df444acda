"""The preflight of an API server; emulator and real server answer alike."""

from __future__ import annotations

import base64
import datetime as dt
import json
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from lab.kubernetes import open_backend
from lab.kubernetes.real_backend import unavailable
from salt_ext.core.config.access import ClusterAccess
from salt_ext.kube import preflight as preflight_module
from salt_ext.kube.credential import Credential, bearer
from salt_ext.kube.credential_lifetime import CredentialLifetime, lifetime_of
from salt_ext.kube.errors import Unauthorized
from salt_ext.kube.preflight import CLUSTER_ADMIN, REQUIRED, preflight
from tests.functional.kube_access import kubeconfig, plugin

DAY = 86_400.0
LIST, WATCH, IDENTITY = REQUIRED


@pytest.fixture(
    scope="module", params=["emulator", pytest.param("real", marks=pytest.mark.kube_real)]
)
def backend(request, tmp_path_factory):
    if request.param == "real" and (reason := unavailable()):
        pytest.skip(reason)
    with open_backend(request.param, tmp_path_factory.mktemp("kube")) as found:
        yield found


def access(backend, user: str = "reader") -> ClusterAccess:
    return ClusterAccess(
        server=backend.endpoint.url,
        ca_file=str(backend.endpoint.ca_file),
        token_file=str(backend.endpoint.tokens[user]),
    )


@pytest.mark.parametrize(
    ("user", "permissions"),
    [
        ("reader", {LIST: True, WATCH: True, IDENTITY: True, CLUSTER_ADMIN: False}),
        ("nobody", {LIST: False, WATCH: False, IDENTITY: False, CLUSTER_ADMIN: False}),
        ("admin", {LIST: True, WATCH: True, IDENTITY: True, CLUSTER_ADMIN: True}),
    ],
)
def test_permissions_of_each_user(backend, user, permissions):
    info = preflight(access(backend, user))
    assert info.permissions == permissions
    assert info.server == backend.endpoint.url
    assert info.version.startswith("v1.")
    assert info.credential_source == str(backend.endpoint.tokens[user])
    assert info.clock_skew is not None
    assert abs(info.clock_skew) < 5


def test_a_single_missing_verb_is_reported(backend):
    if backend.name != "real":
        pytest.skip("the emulator's rights come as a whole")
    api = "/apis/rbac.authorization.k8s.io/v1"
    client = backend.client("admin")
    role = {
        "metadata": {"name": "only-list"},
        "rules": [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]}],
    }
    binding = {
        "metadata": {"name": "only-list"},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": "only-list",
        },
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "nobody"}],
    }
    assert client.request("POST", f"{api}/clusterroles", role).status == 201
    assert client.request("POST", f"{api}/clusterrolebindings", binding).status == 201
    deadline = time.monotonic() + 60
    while not (permissions := preflight(access(backend, "nobody")).permissions)[LIST]:
        assert time.monotonic() < deadline
    assert permissions == {LIST: True, WATCH: False, IDENTITY: False, CLUSTER_ADMIN: False}
    client.request("DELETE", f"{api}/clusterrolebindings/only-list")
    client.close()


def test_a_refused_credential_is_unauthorized(backend, tmp_path):
    wrong = tmp_path / "token"
    wrong.write_text("wrong")
    with pytest.raises(Unauthorized, match="401"):
        preflight(ClusterAccess(**{**_fields(access(backend)), "token_file": str(wrong)}))


def _fields(one: ClusterAccess) -> dict:
    return {"server": one.server, "ca_file": one.ca_file, "token_file": one.token_file}


def test_a_clock_that_is_wrong_is_measured(backend, monkeypatch):
    real = time.time
    monkeypatch.setattr(preflight_module.time, "time", lambda: real() + 300)
    skew = preflight(access(backend)).clock_skew
    assert skew is not None
    assert -310 < skew < -290


def test_the_credential_of_a_plugin_has_no_lifetime(backend, tmp_path):
    token = backend.endpoint.token("reader")
    user = plugin(tmp_path, f"say(token={token!r})")
    assert preflight(kubeconfig(tmp_path, backend, user)).credential_lifetime is None


# When a credential expires


def token(**claims: object) -> Credential:
    parts = [{"alg": "none"}, claims, {}]
    text = ".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts
    )
    return bearer(text, "a file")


def certificate(begins: dt.datetime, ends: dt.datetime) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "me")])
    return (
        x509.CertificateBuilder(name, name, key.public_key(), 1, begins, ends)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )


def test_a_token_states_its_expiry():
    assert lifetime_of(token(iat=100, exp=200)) == CredentialLifetime(100, 200)
    assert lifetime_of(token(exp=200)) == CredentialLifetime(0, 200)


@pytest.mark.parametrize("text", ["opaque", "a.b", "a.!.c", "a.e30.c", "a.bm8.c", "....."])
def test_an_opaque_token_states_no_expiry(text):
    assert lifetime_of(bearer(text, "a file")) is None


def test_a_client_certificate_states_its_expiry():
    begins = dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc)
    pem = certificate(begins, begins + dt.timedelta(days=365))
    found = lifetime_of(Credential(certificate=pem))
    assert found == CredentialLifetime(begins.timestamp(), begins.timestamp() + 365 * DAY)
    assert lifetime_of(Credential(certificate=b"no certificate")) is None
    assert lifetime_of(Credential()) is None


def test_a_credential_that_is_rotated_in_time_does_not_expire_soon():
    hour = CredentialLifetime(0.0001, 3600)
    # A kubelet replaces its pods' tokens when a fifth of their life is left.
    assert not hour.expires_soon(3600 * 0.85)
    assert hour.expires_soon(3600 * 0.95)
    year = CredentialLifetime(0.0001, 365 * DAY)
    assert not year.expires_soon(300 * DAY)
    assert year.expires_soon(340 * DAY)
    assert year.expires_soon(400 * DAY)
    unknown = CredentialLifetime(0, 365 * DAY)
    assert not unknown.expires_soon(350 * DAY)
    assert unknown.expires_soon(352 * DAY)
