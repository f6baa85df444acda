"""What an API server is asked before anybody relies on it; each back end answers alike."""

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
from salt_ext.kube import preflight as probing
from salt_ext.kube.credential import Credential, bearer
from salt_ext.kube.credential_lifetime import CredentialLifetime, lifetime
from salt_ext.kube.errors import Unauthorized
from salt_ext.kube.preflight import EVERYTHING, NEEDED, preflight
from tests.functional.ways import kubeconfig, plugin

DAY = 86_400.0
LIST, WATCH, IDENTITY = NEEDED


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
    ("user", "may"),
    [
        ("reader", {LIST: True, WATCH: True, IDENTITY: True, EVERYTHING: False}),
        ("nobody", {LIST: False, WATCH: False, IDENTITY: False, EVERYTHING: False}),
        ("admin", {LIST: True, WATCH: True, IDENTITY: True, EVERYTHING: True}),
    ],
)
def test_it_knows_what_each_user_may(backend, user, may):
    found = preflight(access(backend, user))
    assert found.may == may
    assert found.server == backend.endpoint.url
    assert found.version.startswith("v1.")
    assert found.asked_with == str(backend.endpoint.tokens[user])
    assert found.skew is not None
    assert abs(found.skew) < 5


def test_a_single_verb_that_is_missing_is_known(backend):
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
    while not (found := preflight(access(backend, "nobody")).may)[LIST]:
        assert time.monotonic() < deadline
    assert found == {LIST: True, WATCH: False, IDENTITY: False, EVERYTHING: False}
    client.request("DELETE", f"{api}/clusterrolebindings/only-list")
    client.close()


def test_who_is_not_let_in_is_told_apart(backend, tmp_path):
    wrong = tmp_path / "token"
    wrong.write_text("wrong")
    with pytest.raises(Unauthorized, match="401"):
        preflight(ClusterAccess(**{**_fields(access(backend)), "token_file": str(wrong)}))


def _fields(one: ClusterAccess) -> dict:
    return {"server": one.server, "ca_file": one.ca_file, "token_file": one.token_file}


def test_a_clock_that_is_wrong_is_measured(backend, monkeypatch):
    real = time.time
    monkeypatch.setattr(probing.time, "time", lambda: real() + 300)
    skew = preflight(access(backend)).skew
    assert skew is not None
    assert -310 < skew < -290


def test_what_a_plugin_gives_has_no_end_that_matters(backend, tmp_path):
    token = backend.endpoint.token("reader")
    user = plugin(tmp_path, f"say(token={token!r})")
    assert preflight(kubeconfig(tmp_path, backend, user)).lifetime is None


# When a credential ends


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


def test_a_token_tells_when_it_ends():
    assert lifetime(token(iat=100, exp=200)) == CredentialLifetime(100, 200)
    assert lifetime(token(exp=200)) == CredentialLifetime(0, 200)


@pytest.mark.parametrize("text", ["opaque", "a.b", "a.!.c", "a.e30.c", "a.bm8.c", "....."])
def test_a_token_that_tells_nothing_has_no_end(text):
    assert lifetime(bearer(text, "a file")) is None


def test_a_client_certificate_tells_when_it_ends():
    begins = dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc)
    pem = certificate(begins, begins + dt.timedelta(days=365))
    found = lifetime(Credential(certificate=pem))
    assert found == CredentialLifetime(begins.timestamp(), begins.timestamp() + 365 * DAY)
    assert lifetime(Credential(certificate=b"no certificate")) is None
    assert lifetime(Credential()) is None


def test_what_is_rotated_in_time_is_not_nearly_over():
    hour = CredentialLifetime(0.0001, 3600)
    # A kubelet replaces its pods' tokens when a fifth of their life is left.
    assert not hour.nearly_over(3600 * 0.85)
    assert hour.nearly_over(3600 * 0.95)
    year = CredentialLifetime(0.0001, 365 * DAY)
    assert not year.nearly_over(300 * DAY)
    assert year.nearly_over(340 * DAY)
    assert year.nearly_over(400 * DAY)
    unknown = CredentialLifetime(0, 365 * DAY)
    assert not unknown.nearly_over(350 * DAY)
    assert unknown.nearly_over(352 * DAY)
