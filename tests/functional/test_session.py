"""Each kind of access that an operator can configure, over real HTTPS."""

from __future__ import annotations

import base64
import json
import logging
import os
import re
import shutil
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from packaging.requirements import Requirement

from lab.kubernetes import open_backend
from lab.kubernetes.emulator import actions
from salt_ext.core.config.access import ClusterAccess
from salt_ext.core.errors import NoSecret
from salt_ext.kube import connection, request
from salt_ext.kube.api import NodesApi
from salt_ext.kube.errors import BadCredentials, RequestFailed, Unauthorized, UnexpectedResponse
from salt_ext.kube.session import Session
from tests.functional.kube_access import Proxy, ask, kubeconfig


@pytest.fixture(scope="module")
def backend(tmp_path_factory):
    with open_backend("emulator", tmp_path_factory.mktemp("kube")) as found:
        yield found


@pytest.fixture(autouse=True)
def seen(backend, monkeypatch):
    """Users of the requests that the API server received in this test."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    backend.control.clear()
    backend.control.forget_requests()
    return lambda: [asked.user for asked in backend.control.requests()]


@pytest.fixture
def proxy(backend):
    parts = urlsplit(backend.endpoint.url)
    found = Proxy((parts.hostname, parts.port))
    yield found
    found.close()


def refusal(access: ClusterAccess, **options) -> str:
    """Return the error of an access that is refused before anything is sent."""
    with pytest.raises(BadCredentials) as caught:
        ask(Session(access, **options))
    return str(caught.value)


def by_server(backend, **options) -> ClusterAccess:
    given = {
        "server": backend.endpoint.url,
        "ca_file": str(backend.endpoint.ca_file),
        "token_file": str(backend.endpoint.tokens["reader"]),
    }
    return ClusterAccess(**{**given, **options})


def test_url_with_ca_and_token_file(backend, seen):
    ask(Session(by_server(backend)))
    assert seen() == ["reader"]


def test_token_in_a_kubeconfig(backend, tmp_path, seen):
    ask(Session(kubeconfig(tmp_path, backend, {"token": backend.endpoint.token("reader")})))
    assert seen() == ["reader"]


def test_paths_in_a_kubeconfig_are_relative_to_its_folder(backend, tmp_path, seen):
    shutil.copy(backend.endpoint.tokens["reader"], tmp_path / "token")
    shutil.copy(backend.endpoint.ca_file, tmp_path / "ca.crt")
    access = kubeconfig(
        tmp_path,
        backend,
        {"tokenFile": "token"},
        cluster={"certificate-authority-data": None, "certificate-authority": "ca.crt"},
    )
    ask(Session(access))
    assert seen() == ["reader"]


def test_the_context_of_the_configuration_wins_over_the_current_one(backend, tmp_path, seen):
    access = kubeconfig(tmp_path, backend, {"token": backend.endpoint.token("nobody")})
    path = tmp_path / "kubeconfig"
    config = json.loads(path.read_text())
    config["contexts"].append({"name": "there", "context": {"cluster": "lab", "user": "you"}})
    config["users"].append({"name": "you", "user": {"token": backend.endpoint.token("reader")}})
    path.write_text(json.dumps(config))
    ask(Session(ClusterAccess(kubeconfig=access.kubeconfig, context="there")))
    assert seen() == ["reader"]
    message = refusal(ClusterAccess(kubeconfig=access.kubeconfig, context="nowhere"))
    assert message == f"{path}: has no context 'nowhere' (available: here, there)"


@pytest.mark.parametrize("key", ["token_file", "tokenFile"])
def test_a_rotated_token_file_is_picked_up(backend, tmp_path, seen, key):
    token = tmp_path / "token"
    shutil.copy(backend.endpoint.tokens["nobody"], token)
    if key == "token_file":
        session = Session(by_server(backend, token_file=str(token)))
    else:
        session = Session(kubeconfig(tmp_path, backend, {"tokenFile": "token"}))
    with pytest.raises(Unauthorized, match="403"):
        ask(session)
    shutil.copy(backend.endpoint.tokens["reader"], token)
    ask(session)
    shutil.copy(backend.endpoint.tokens["admin"], tmp_path / "new")
    (tmp_path / "new").rename(token)
    ask(session)
    assert seen() == ["nobody", "reader", "admin"]


def test_a_replaced_kubeconfig_is_read_again(backend, tmp_path, seen):
    session = Session(kubeconfig(tmp_path, backend, {"token": backend.endpoint.token("admin")}))
    ask(session)
    kubeconfig(tmp_path, backend, {"token": backend.endpoint.token("reader")})
    ask(session)
    assert seen() == ["admin", "reader"]


def test_a_replaced_ca_is_read_again(backend, tmp_path, seen):
    authority = tmp_path / "ca.crt"
    shutil.copy(backend.folder / "certs" / "client-ca.crt", authority)
    session = Session(by_server(backend, ca_file=str(authority)))
    with pytest.raises(RequestFailed, match=r"does not match the CA .*; check ca_file"):
        ask(session)
    shutil.copy(backend.endpoint.ca_file, authority)
    ask(session)
    assert seen() == ["reader"]


def test_a_pod_uses_its_service_account(backend, tmp_path, seen, monkeypatch):
    parts = urlsplit(backend.endpoint.url)
    shutil.copy(backend.endpoint.ca_file, tmp_path / "ca.crt")
    shutil.copy(backend.endpoint.tokens["reader"], tmp_path / "token")
    monkeypatch.setattr(connection, "SERVICE_ACCOUNT", str(tmp_path))
    access = ClusterAccess(in_cluster=True)
    assert "in_cluster works only inside a pod" in refusal(access)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", parts.hostname)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(parts.port))
    session = Session(access)
    ask(session)
    shutil.copy(backend.endpoint.tokens["admin"], tmp_path / "token")
    ask(session)
    assert seen() == ["reader", "admin"]


def test_a_pod_in_an_ipv6_cluster(tmp_path, monkeypatch, backend):
    shutil.copy(backend.endpoint.ca_file, tmp_path / "ca.crt")
    monkeypatch.setattr(connection, "SERVICE_ACCOUNT", str(tmp_path))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    found = connection.load(ClusterAccess(in_cluster=True), connection.TrackedFiles(), str)
    assert found.host == "https://[fd00::1]:443"


def test_a_secret_is_looked_up_once_and_again_after_it_was_refused(backend, seen):
    asked = []

    def secret(uri):
        asked.append(uri)
        return backend.endpoint.token("reader") + "\n"

    access = by_server(backend, token_file=None, token="sdb://vault/k8s")
    session = Session(access, secret)
    ask(session)
    ask(session)
    assert asked == ["sdb://vault/k8s"]
    backend.control.on(do=actions.respond(401))
    with pytest.raises(Unauthorized, match="credentials from sdb://vault/k8s"):
        ask(session)
    ask(session)
    assert len(asked) == 2
    assert seen() == ["reader"] * 4


def test_a_missing_secret_is_an_error(backend, seen):
    def secret(uri):
        raise NoSecret(uri, "the vault is sealed")

    access = by_server(backend, token_file=None, token="sdb://vault/k8s")
    assert refusal(access, secret_lookup=secret) == "sdb://vault/k8s: the vault is sealed"
    assert refusal(access, secret_lookup=lambda _: " \n") == "sdb://vault/k8s: token is empty"
    assert "no Salt configuration is loaded" in refusal(access)
    assert seen() == []


def test_a_proxy_carries_every_request(backend, tmp_path, proxy, seen):
    # DNS cannot resolve this name: only the proxy can have connected.
    access = kubeconfig(
        tmp_path,
        backend,
        {"token": backend.endpoint.token("reader")},
        cluster={
            "server": "https://api.invalid:6443",
            "tls-server-name": "kubernetes",
            "proxy-url": proxy.url,
        },
    )
    ask(Session(access))
    assert seen() == ["reader"]
    assert proxy.requests[0].startswith(b"CONNECT api.invalid:6443 HTTP/1.")
    assert backend.endpoint.token("reader").encode() not in b"".join(proxy.requests)


def test_a_proxy_gets_the_login_of_its_url(backend, tmp_path, proxy, seen):
    url = proxy.url.replace("//", "//someone:p%40ss@")
    user = {"token": backend.endpoint.token("reader")}
    ask(Session(kubeconfig(tmp_path, backend, user, cluster={"proxy-url": url})))
    login = base64.b64encode(b"someone:p@ss")
    assert b"Basic " + login in proxy.requests[0]


def test_a_proxy_is_used_whatever_no_proxy_says(backend, tmp_path, proxy, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    user = {"token": backend.endpoint.token("reader")}
    ask(Session(kubeconfig(tmp_path, backend, user, cluster={"proxy-url": proxy.url})))
    assert proxy.requests


def test_a_proxy_that_does_not_listen_is_named(backend, tmp_path, proxy):
    user = {"token": backend.endpoint.token("reader")}
    url = proxy.url.replace("//", "//someone:secret-of-proxy@")
    access = kubeconfig(tmp_path, backend, user, cluster={"proxy-url": url})
    proxy.close()
    with pytest.raises(RequestFailed, match=r"the proxy failed \(Connection refused\)") as caught:
        ask(Session(access))
    assert "secret-of-proxy" not in str(caught.value)


@pytest.mark.parametrize("url", ["ftp://proxy", "proxy:8080", "http://", "http://a:b:c@[::1"])
def test_a_proxy_url_is_checked(backend, tmp_path, url):
    user = {"token": backend.endpoint.token("reader")}
    message = refusal(kubeconfig(tmp_path, backend, user, cluster={"proxy-url": url}))
    assert message.startswith(f"{tmp_path}/kubeconfig: proxy-url of cluster 'lab' must be")


def test_tls_server_name_is_the_name_that_is_verified(backend, tmp_path, seen):
    user = {"token": backend.endpoint.token("reader")}
    ask(Session(kubeconfig(tmp_path, backend, user, cluster={"tls-server-name": "kubernetes"})))
    assert seen() == ["reader"]
    other = kubeconfig(tmp_path, backend, user, cluster={"tls-server-name": "other.example"})
    with pytest.raises(RequestFailed, match=r"is for another name .*'other.example'.*tls-server"):
        ask(Session(other))
    assert seen() == ["reader"]


def test_a_server_of_another_ca_is_not_asked(backend, seen):
    authority = str(backend.folder / "certs" / "client-ca.crt")
    with pytest.raises(RequestFailed, match=r"certificate does not match the CA .*; check ca_file"):
        ask(Session(by_server(backend, ca_file=authority)))
    assert seen() == []


def test_without_a_ca_the_systems_are_trusted_and_no_others(backend, tmp_path, seen, monkeypatch):
    user = {"token": backend.endpoint.token("reader")}
    cluster = {"certificate-authority-data": None}
    access = kubeconfig(tmp_path, backend, user, cluster=cluster)
    with pytest.raises(RequestFailed, match="does not match the CA"):
        ask(Session(access))
    assert seen() == []
    monkeypatch.setenv("SSL_CERT_FILE", str(backend.endpoint.ca_file))
    ask(Session(access))
    assert seen() == ["reader"]


def test_with_a_ca_the_systems_are_not_trusted(backend, seen, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(backend.endpoint.ca_file))
    authority = str(backend.folder / "certs" / "client-ca.crt")
    with pytest.raises(RequestFailed, match="does not match the CA"):
        ask(Session(by_server(backend, ca_file=authority)))
    assert seen() == []


def test_a_kubeconfig_alone_does_not_turn_verification_off(backend, tmp_path, seen):
    user = {"token": backend.endpoint.token("reader")}
    cluster = {"insecure-skip-tls-verify": True, "tls-server-name": "other.example"}
    access = kubeconfig(tmp_path, backend, user, cluster=cluster)
    assert "set insecure_skip_tls_verify: true" in refusal(access)
    assert access.warnings == ()
    allowed = ClusterAccess(kubeconfig=access.kubeconfig, insecure_skip_tls_verify=True)
    with pytest.warns(match="Unverified HTTPS request"):
        ask(Session(allowed))
    assert seen() == ["reader"]
    assert "is not verified" in allowed.warnings[0]


def test_verification_can_be_turned_off_for_a_url(backend, seen):
    access = by_server(backend, ca_file=None, insecure_skip_tls_verify=True)
    with pytest.warns(match="Unverified HTTPS request"):
        ask(Session(access))
    assert seen() == ["reader"]


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080", None, "https://me:secret@127.0.0.1"])
def test_only_https_without_a_password_in_it_is_asked(backend, tmp_path, url):
    user = {"token": backend.endpoint.token("reader")}
    message = refusal(kubeconfig(tmp_path, backend, user, cluster={"server": url}))
    assert "server of cluster 'lab' must be an https:// URL" in message
    assert "secret" not in message


@pytest.mark.parametrize(
    "user", [None, {}, {"token": ""}, {"username": "me"}], ids=["no user", "empty", "token", "name"]
)
def test_nothing_is_sent_without_credentials(backend, tmp_path, seen, user):
    access = kubeconfig(tmp_path, backend, user)
    if user is None:
        path = tmp_path / "kubeconfig"
        path.write_text(path.read_text().replace('"user": "me"', '"user": ""'))
    assert "no credentials: user" in refusal(access)
    assert seen() == []


@pytest.mark.parametrize(
    ("user", "message"),
    [
        ({"auth-provider": {"name": "oidc", "config": {}}}, "auth-provider 'oidc'.*use exec"),
        ({"token": "t", "as": "root"}, "uses impersonation"),
        ({"token": "t", "as-groups": ["system:masters"]}, "uses impersonation"),
        ({"token": 12345}, r"Expected `str \| null`, got `int` - at `\$.users\[0\].user.token`"),
        ({"token": "a b"}, "token of user 'me': not a valid token"),
        ({"tokenFile": "none"}, r"/none: No such file or directory \(tokenFile of "),
        ({"client-certificate-data": "%"}, "client-certificate-data is not valid base64"),
        ({"client-certificate": "here"}, r"/here: No such file or directory \(client-cert"),
        ({"client-key-data": "YQ=="}, "has a client-key without a client-certificate"),
    ],
)
def test_an_unsupported_part_of_a_kubeconfig_is_named(backend, tmp_path, seen, user, message):
    access = kubeconfig(tmp_path, backend, user)
    with pytest.raises(BadCredentials, match=message) as caught:
        ask(Session(access))
    assert str(caught.value).startswith(str(tmp_path))
    assert seen() == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "file is empty"),
        (
            "users: [{name: a, user: {token: sesame}}, {",
            "not a valid kubeconfig: YAML syntax error (line 1)",
        ),
        ("token: &sesame [*sesame]", "has no current-context; set context (available: none)"),
        ("- sesame", "Expected `object`, got `array`"),
        ("sesame: !!python/object:x {}", "not a valid kubeconfig: YAML syntax error (line 1)"),
        ("\0sesame", "not a valid kubeconfig: YAML syntax error"),
        ("clusters: {a: {server: sesame}}", r"Expected `array \| null`, got `object`"),
        ("current-context: x", "has no context 'x' (available: none)"),
        (
            "{current-context: x, contexts: [{name: x, context: {cluster: c, user: u}}]}",
            "context 'x' refers to cluster 'c', which this kubeconfig does not define",
        ),
        (
            (
                "{current-context: x, contexts: [{name: x, context: {cluster: c, user: u}}], "
                "clusters: [{name: c, cluster: {server: 'https://192.0.2.1'}}]}"
            ),
            "context 'x' refers to user 'u', which this kubeconfig does not define",
        ),
    ],
)
def test_an_invalid_kubeconfig_is_described_without_its_text(tmp_path, text, message):
    path = tmp_path / "kubeconfig"
    path.write_text(text)
    found = refusal(ClusterAccess(kubeconfig=str(path)))
    assert found.startswith(f"{path}: ")
    assert message.replace("\\", "") in found
    assert "sesame" not in found


def test_missing_files_are_named(backend, tmp_path, seen):
    none = str(tmp_path / "none")
    assert (
        refusal(ClusterAccess(kubeconfig=none)) == f"{none}: No such file or directory (kubeconfig)"
    )
    for key in ("ca_file", "token_file"):
        message = refusal(by_server(backend, **{key: none}))
        assert message == f"{none}: No such file or directory ({key})"
    (tmp_path / "text").write_text("no certificate")
    message = refusal(by_server(backend, ca_file=str(tmp_path / "text")))
    assert message == f"{tmp_path}/text: contains no PEM certificate"
    assert seen() == []


def test_a_session_recovers_when_a_missing_file_is_back(backend, tmp_path):
    token = tmp_path / "token"
    shutil.copy(backend.endpoint.tokens["reader"], token)
    session = Session(by_server(backend, token_file=str(token)))
    ask(session)
    token.rename(tmp_path / "away")
    with pytest.raises(BadCredentials, match="token: No such file or directory"):
        ask(session)
    (tmp_path / "away").rename(token)
    ask(session)


def test_a_password_is_sent_as_http_basic_authentication(backend, tmp_path):
    access = kubeconfig(tmp_path, backend, {"username": "me", "password": "open sesame"})
    found = connection.load(access, connection.TrackedFiles(), str).credential_source()
    assert found.authorization == "Basic " + base64.b64encode(b"me:open sesame").decode()
    assert "sesame" not in repr(found)
    assert found.authorization not in repr(found)


def test_a_token_with_a_line_break_is_refused_and_not_quoted(backend, tmp_path, seen):
    token = tmp_path / "token"
    token.write_text("open\r\nsesame: 1\n")
    message = refusal(by_server(backend, token_file=str(token)))
    assert message.startswith(f"{token}: not a valid token")
    assert "sesame" not in message
    assert seen() == []


def test_a_refused_token_is_named_by_its_file(backend, tmp_path):
    token = tmp_path / "token"
    token.write_text("sesame")
    with pytest.raises(Unauthorized, match=f"401 .*; credentials from {token}") as caught:
        ask(Session(by_server(backend, token_file=str(token))))
    assert "sesame" not in str(caught.value)


def test_an_answer_that_never_ends_is_not_read_into_memory(backend, monkeypatch):
    api = NodesApi(Session(by_server(backend)))
    whole = api.list_page(500, "")
    monkeypatch.setattr(request, "_MAX_BODY_BYTES", 10)
    with pytest.raises(UnexpectedResponse, match="answered more than 10 bytes"):
        api.list_page(500, "")
    monkeypatch.undo()
    assert api.list_page(500, "") == whole


def test_two_clusters_are_never_asked_with_each_others_credentials(tmp_path_factory, backend):
    with open_backend("emulator", tmp_path_factory.mktemp("other")) as other:
        both = [(backend, "reader"), (other, "admin")]
        sessions = [
            Session(
                kubeconfig(
                    tmp_path_factory.mktemp("access"), one, {"token": one.endpoint.token(user)}
                )
            )
            for one, user in both
        ]
        identities = {ask(session) for _ in range(3) for session in sessions}
        assert len(identities) == 2
        assert {asked.user for asked in backend.control.requests()} == {"reader"}
        assert {asked.user for asked in other.control.requests()} == {"admin"}


def test_no_secret_gets_into_a_log(backend, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    token = tmp_path / "token"
    shutil.copy(backend.endpoint.tokens["reader"], token)
    password = {"username": "me", "password": "open-sesame"}
    for access in (
        by_server(backend, token_file=str(token)),
        kubeconfig(tmp_path, backend, {"token": backend.endpoint.token("reader")}),
    ):
        session = Session(access)
        ask(session)
        backend.control.on(do=actions.respond(401))
        with pytest.raises(Unauthorized) as caught:
            ask(session)
        assert backend.endpoint.token("reader") not in f"{caught.value!r} {session.__dict__}"
    with pytest.raises(Unauthorized):
        ask(Session(kubeconfig(tmp_path, backend, password)))
    for secret in (backend.endpoint.token("reader"), "sesame", base64_of("me:open-sesame")):
        assert secret not in caplog.text


def base64_of(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_the_client_that_sends_no_token_is_not_installed():
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    (wanted,) = [Requirement(line) for line in re.findall(r'"(kubernetes[><=!~][^"]*)"', project)]
    assert not wanted.specifier.contains("36.0.0")
    assert wanted.specifier.contains("36.0.1")
