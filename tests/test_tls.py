"""From files to a context, and what is said of each mistake; and TLS on a loop that runs already."""

from __future__ import annotations

import asyncio
import datetime
import json
import os
import ssl
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256K1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from japronto import Application, Limits, Request, Response, TLSConfig, tls
from japronto.cli import parse, stray_variables, tls_config
from japronto.config import ServerConfig
from japronto.errors import StartError, UsageError
from japronto.tls_protocol import TLS, WRITE_BYTES, TLSProtocol

AUTHORITY = trustme.CA()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of all kinds, with the names that the tests go by."""
    directory = tmp_path_factory.mktemp("files")

    def write(name: str, blob: trustme.Blob) -> None:
        blob.write_to_path(str(directory / name))

    own, other = AUTHORITY.issue_cert("localhost"), AUTHORITY.issue_cert("localhost")
    write("both", own.private_key_and_cert_chain_pem)
    write("certificate", own.cert_chain_pems[0])
    write("key", own.private_key_pem)
    write("other", other.private_key_pem)
    write("ca", AUTHORITY.cert_pem)
    for name, after, before in (("expired", 2019, 2020), ("early", 2900, 2901)):
        write(name, AUTHORITY.issue_cert("localhost", not_before=datetime.datetime(after, 1, 1),  # noqa: DTZ001
                                         not_after=datetime.datetime(before, 1, 1),  # noqa: DTZ001
                                         ).private_key_and_cert_chain_pem)
    key = load_pem_private_key(own.private_key_pem.bytes(), None)
    for name, form in (("encrypted", PrivateFormat.PKCS8), ("encrypted-1", PrivateFormat.TraditionalOpenSSL)):
        (directory / name).write_bytes(
            key.private_bytes(Encoding.PEM, form, BestAvailableEncryption(b"secret")))
    (directory / "encrypted-2").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption("gäheim".encode())))
    (directory / "password").write_text("secret\r\nmore\n")
    (directory / "password-2").write_text("gäheim\n")
    (directory / "odd").write_bytes(of_an_odd_kind())
    (directory / "trusted").write_bytes(own.cert_chain_pems[0].bytes().replace(b" CERT", b" TRUSTED CERT"))
    os.mkfifo(directory / "pipe")
    (directory / "wrong").write_text("sesame")
    (directory / "der").write_bytes(ssl.PEM_cert_to_DER_cert(own.cert_chain_pems[0].bytes().decode()))
    return directory


def of_an_odd_kind() -> bytes:
    """A certificate and its key on a curve that TLS clients do not offer."""
    key, name = generate_private_key(SECP256K1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "odd")])
    today = datetime.datetime.now(datetime.UTC)
    certificate = (x509.CertificateBuilder(name, name, key.public_key(), 1, today, today.replace(year=2900))
                   .sign(key, SHA256()))
    return certificate.public_bytes(Encoding.PEM) + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8,
                                                                      NoEncryption())


def config(files: Path, **options: str) -> TLSConfig:
    paths = ("certificate", "key", "key_password_file", "client_ca")
    return TLSConfig(**{name: str(files / value) if name in paths else value
                        for name, value in options.items()})  # type: ignore[arg-type]


@pytest.mark.parametrize(("options", "mode"), [
    ({"certificate": "both"}, ssl.CERT_NONE),
    ({"certificate": "certificate", "key": "key"}, ssl.CERT_NONE),
    ({"certificate": "certificate", "key": "encrypted", "key_password_file": "password"}, ssl.CERT_NONE),
    ({"certificate": "certificate", "key": "encrypted-1", "key_password": "secret"}, ssl.CERT_NONE),
    ({"certificate": "certificate", "key": "encrypted-2", "key_password": "gäheim"}, ssl.CERT_NONE),
    ({"certificate": "certificate", "key": "encrypted-2", "key_password_file": "password-2"}, ssl.CERT_NONE),
    ({"certificate": "both", "client_ca": "ca"}, ssl.CERT_REQUIRED),
    ({"certificate": "both", "client_ca": "ca", "client_verify": "optional"}, ssl.CERT_OPTIONAL),
    ({"certificate": "both", "client_ca": "ca", "client_verify": "none"}, ssl.CERT_NONE),
    ({"certificate": "both", "min_version": "1.3", "ciphers": "ECDHE+AESGCM"}, ssl.CERT_NONE),
], ids=str)
def test_files_that_are_right(files: Path, options: dict[str, str], mode: ssl.VerifyMode) -> None:
    context = tls.context(config(files, **options))
    assert context.verify_mode is mode
    wanted = "TLSv1_" + options.get("min_version", "1.2")[-1]
    assert context.minimum_version.name == wanted
    assert context.options & ssl.OP_NO_COMPRESSION
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.options & ssl.OP_CIPHER_SERVER_PREFERENCE
    assert not context.options & ssl.OP_NO_TICKET


@pytest.mark.parametrize(("options", "said"), [
    ({"certificate": "missing"}, "the certificate {}/missing cannot be read: No such file or directory; "),
    ({"certificate": "."}, "the certificate {} cannot be read: Is a directory; "),
    ({"certificate": "both", "key": "missing"}, "the key {}/missing cannot be read: No such file"),
    ({"certificate": "der", "key": "key"}, "the certificate {}/der is not in PEM, or is "),
    ({"certificate": "trusted"}, "the certificate {}/trusted is in a form that OpenSSL alone reads "),
    ({"certificate": "pipe"}, "the certificate {}/pipe is a pipe or a device; name a regular file"),
    ({"certificate": "odd"}, "the certificate {}/odd is of a kind that clients do not speak (no "),
    ({"certificate": "certificate"}, "there is no private key in {}/certificate; name its own PEM file "),
    ({"certificate": "certificate", "key": "ca"}, "there is no private key in {}/ca; name a PEM file "),
    ({"certificate": "certificate", "key": "other"}, "the key {}/other does not belong to the certificate "),
    ({"certificate": "certificate", "key": "encrypted"}, "the key {}/encrypted is encrypted; name a "),
    ({"certificate": "certificate", "key": "encrypted", "key_password_file": "missing"},
     "the password of the key, {}/missing cannot be read: "),
    ({"certificate": "certificate", "key": "encrypted", "key_password_file": "wrong"},
     "the password of the key {}/encrypted is wrong, or the key is damaged; give the right one"),
    ({"certificate": "certificate", "key": "encrypted-1", "key_password_file": "wrong"},
     "the password of the key {}/encrypted-1 is wrong, "),
    ({"certificate": "expired"}, "the certificate {}/expired has expired; renew it"),
    ({"certificate": "early"}, "the certificate {}/early is not valid yet; wait, or set the clock "),
    ({"certificate": "both", "client_ca": "key"}, "there are no certificates of authorities in {}/key; "),
    ({"certificate": "both", "client_ca": "missing"}, "the authorities of clients, {}/missing cannot be "),
], ids=str)
def test_what_is_wrong_with_files(files: Path, options: dict[str, str], said: str) -> None:
    with pytest.raises(StartError) as raised:
        tls.context(config(files, **options))
    assert str(raised.value).startswith(said.format(files))
    assert "; " in str(raised.value)


@pytest.mark.parametrize(("options", "said"), [
    ({"client_verify": "maybe"}, "client_verify must be none, optional or required; it is 'maybe'"),
    ({"client_verify": "required"}, "certificates of clients cannot be verified without their authorities; "),
    ({"min_version": "1.1"}, "min_version must be 1.2 or 1.3; it is '1.1'"),
    ({"key_password": "a", "key_password_file": "b"}, "there are two passwords for the key; leave out "),
])
def test_what_makes_no_sense(options: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError) as raised:
        TLSConfig(certificate="c", **options)  # type: ignore[arg-type]
    assert str(raised.value).startswith(said)


def test_ciphers_that_there_are_not(files: Path) -> None:
    with pytest.raises(UsageError, match=r"such as ECDHE\+AESGCM; it is 'NONE'$"):
        tls.context(config(files, certificate="both", ciphers="NONE"))


def test_a_password_does_not_show() -> None:
    assert "sesame" not in repr(TLSConfig(certificate="c", key_password="sesame"))


# The command line.

def test_options() -> None:
    settings = parse(["--tls-certificate", "c", "--tls-key", "k", "--tls-client-ca", "a",
                      "--tls-client-verify", "optional", "--tls-min-version", "1.3", "--tls-ciphers", "x",
                      "app:app"], {})
    assert tls_config(settings, {"JAPRONTO_TLS_KEY_PASSWORD": "sesame"}) == TLSConfig(
        certificate="c", key="k", client_ca="a", client_verify="optional", min_version="1.3", ciphers="x",
        key_password="sesame")
    assert tls_config(parse(["app:app"], {}), {}) is None
    assert stray_variables({"JAPRONTO_TLS_KEY_PASSWORD": "sesame"}) == []


@pytest.mark.parametrize(("arguments", "said"), [
    (["--tls-key", "k"], "--tls-key means nothing without --tls-certificate; give that too"),
    (["--tls-min-version", "1.1"], "--tls-min-version must be 1.2 or 1.3; it is '1.1'"),
    (["--ssl-certfile", "c"], "there is no option --ssl-certfile; use --tls-certificate"),
    (["--ssl-ca-certs=a"], "there is no option --ssl-ca-certs; use --tls-client-ca"),
])
def test_wrong_options(arguments: list[str], said: str) -> None:
    with pytest.raises(UsageError) as raised:
        tls_config(parse([*arguments, "app:app"], {}), {})
    assert str(raised.value) == said


# On a loop that runs already.

def client_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


async def ask(port: int | None, octets: bytes = b"GET / HTTP/1.0\r\n\r\n") -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client_context(),
                                                   server_hostname="localhost")
    writer.write(octets)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


def run(app: Application, given: Any, check: Callable[[Any], Any]) -> None:
    async def main() -> None:
        async with await app.start_server(port=0, tls=given) as server:
            await check(server)

    asyncio.run(main())


def test_a_context_of_the_program(files: Path) -> None:
    app, own = Application(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own.load_cert_chain(files / "both")

    @app.get("/")
    def hello(request: Request) -> Response:
        tell = request.transport.get_extra_info
        return Response(json=[request.scheme, tell("sslcontext") is own, tell("cipher")[1],
                              tell("compression"), tell("peercert"), tell("peername")[0], tell("nothing", 7)])

    async def check(server: Any) -> None:
        assert server.address == f"https://127.0.0.1:{server.port}"
        _, _, content = (await ask(server.port)).partition(b"\r\n\r\n")
        assert json.loads(content) == ["https", True, "TLSv1.3", None, None, "127.0.0.1", 7]
        with pytest.raises(UsageError, match="no certificate to read anew"):
            server.reload_tls()

    run(app, own, check)


def test_a_context_for_clients_is_refused() -> None:
    with pytest.raises(UsageError, match="the SSLContext is for clients"):
        run(Application(), ssl.create_default_context(), lambda server: asyncio.sleep(0))


def test_reload(files: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "own"
    path.write_bytes((files / "both").read_bytes())

    async def check(server: Any) -> None:
        before = server.worker.tls.context
        assert server.reload_tls() is True
        kept = server.worker.tls.context
        assert kept is not before
        path.write_bytes((files / "certificate").read_bytes() + (files / "other").read_bytes())
        assert server.reload_tls() is False
        assert server.worker.tls.context is kept
        assert b"404" in await ask(server.port)

    run(Application(), TLSConfig(certificate=str(path)), check)
    assert f"The certificate stays as it was: the key {path} does not belong to" in caplog.text


class Greeting(asyncio.Protocol):
    """A protocol of the program's own, told of connections whose handshake is over: it may speak first."""

    def __init__(self, app: Application) -> None:
        pass

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert transport.get_extra_info("ssl_object") is not None
        self.transport: Any = transport
        transport.writelines([b"wel", b"", b"come ", memoryview(b"x" * 1_000_000)])  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def eof_received(self) -> None:
        return None  # The transport closes then.


def test_a_protocol_of_the_program(files: Path) -> None:
    async def check(server: Any) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=client_context(),
                                                       server_hostname="localhost")
        assert await reader.readexactly(8 + 1_000_000) == b"welcome " + b"x" * 1_000_000
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        writer.close()
        await writer.wait_closed()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert await reader.read() == b""
        writer.close()

    run(Application(protocol_factory=Greeting), TLSConfig(certificate=str(files / "both")), check)


@pytest.mark.parametrize("unsent", [1, 1 << 20])
def test_a_large_answer_is_encrypted_as_the_client_takes_it(files: Path, unsent: int) -> None:
    content = bytes(range(256)) * (8 << 12)
    app = Application(limits=Limits(unsent_bytes=unsent))
    app.add_route("/", lambda request: Response(body=content))

    async def check(server: Any) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=client_context(),
                                                       server_hostname="localhost", limit=1024)
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        (protocol,) = server.worker.protocols
        assert protocol.connection.blocked
        assert protocol.transport.get_write_buffer_size() > len(content) // 4
        assert protocol.transport._below.get_write_buffer_size() < 3 * WRITE_BYTES
        assert await reader.read() == content
        writer.close()
        await writer.wait_closed()

    run(app, TLSConfig(certificate=str(files / "both")), check)


@pytest.mark.parametrize("closes", [True, False])
def test_the_end_behind_a_large_answer(files: Path, caplog: pytest.LogCaptureFixture, closes: bool) -> None:
    """It comes as the transport below has sent the rest, when asyncio's must not be closed at once."""
    content = b"x" * 10_000_000

    class Ending(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            transport.write(content)
            if closes:
                transport.close()
            else:
                transport.write_eof()

    async def check(server: Any) -> None:
        for _ in range(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=client_context(),
                                                           server_hostname="localhost")
            assert await reader.read() == content
            writer.close()
            await writer.wait_closed()

    run(Application(protocol_factory=lambda app: Ending()), TLSConfig(certificate=str(files / "both")), check)
    assert caplog.messages == []


class Gone:
    """A transport of uvloop whose write finds that the client is gone, by which it closes."""

    def __init__(self) -> None:
        self.closing = False

    def write(self, data: bytes) -> None:
        self.closing = True

    def is_closing(self) -> bool:
        return self.closing

    def write_eof(self) -> None:
        raise RuntimeError("the handler is closed")

    def set_write_buffer_limits(self, high: int) -> None:
        pass


def test_the_end_for_a_client_that_is_gone(files: Path) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files / "both")
    worker = SimpleNamespace(loop=SimpleNamespace(time=lambda: 0.0))
    protocol = TLSProtocol(TLS(cast("Any", worker), context), asyncio.Protocol())
    protocol.connection_made(cast("Any", Gone()))
    incoming, outgoing = protocol._incoming, protocol._outgoing
    client = client_context().wrap_bio(outgoing, incoming, server_hostname="localhost")
    protocol._ssl = context.wrap_bio(incoming, outgoing, server_side=True)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    with pytest.raises(ssl.SSLWantReadError):
        protocol._ssl.do_handshake()
    client.do_handshake()
    protocol._ssl.do_handshake()
    protocol._shaking = False
    protocol.write_eof()
    assert protocol.is_closing()


def test_what_waits_for_a_client_does_not_look_like_progress(files: Path) -> None:
    """TLS makes more octets of an answer, which the client has not taken, either."""
    app = Application()
    app.add_route("/", lambda request: Response(body=b"x" * 50_000))
    app.add_route("/small", lambda request: Response(text="small"))

    async def check(server: Any) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=client_context(),
                                                  server_hostname="localhost", limit=1024)
        (protocol,) = server.worker.protocols
        while not protocol.transport.get_write_buffer_size():  # till the kernel is full
            writer.write(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            await asyncio.sleep(0)
        looks = []
        for _ in range(20):  # It may take a little more at first.
            size = protocol.transport.get_write_buffer_size()
            writer.write(b"GET /small HTTP/1.1\r\nHost: h\r\n\r\n")
            while protocol.transport.get_write_buffer_size() == size:  # noqa: ASYNC110 - of the server
                await asyncio.sleep(0.001)
            protocol.check(asyncio.get_running_loop().time())
            looks.append(protocol._expected)
        writer.transport.abort()
        assert looks[-1] == looks[-2]
        assert looks[-1].what == "send"

    run(app, TLSConfig(certificate=str(files / "both")), check)


def test_the_scheme_of_what_is_served() -> None:
    assert ServerConfig().scheme == "http"
    assert ServerConfig(tls=TLSConfig(certificate="c")).scheme == "https"
