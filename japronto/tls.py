"""The certificate of the server and what is asked of those of clients: from files to an ``SSLContext``.

A context is made anew for each reload and takes the place of the one before, so that it is never half of one
and half of the other.  Whatever is wrong with the files is one sentence, and a StartError: the files may be
right tomorrow.

What is not said here is as Python has it: no compression, cipher suites with forward secrecy, the server's
order of preference, session tickets.
"""

from __future__ import annotations

import re
import ssl
from pathlib import Path
from typing import Final

from japronto.config import TLSConfig
from japronto.errors import StartError, UsageError

PROTOCOLS: Final = ["http/1.1"]
"""What is chosen by ALPN (RFC 7301); a client that names only others, or none, is served all the same."""
VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
MODES: Final = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}
MISMATCHES: Final = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH")
KINDS: Final = "an ECDSA key of P-256 or an RSA key of 2048 bits suits all"
NOT_YET_VALID: Final = 9
EXPIRED: Final = 10
"""X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED of OpenSSL."""


def context(config: TLSConfig | ssl.SSLContext) -> ssl.SSLContext:
    """The context for connections of clients; one that the program has made is taken as it is.

    Raises StartError when something is wrong with a file, and UsageError when it is with something else.
    """
    if isinstance(config, ssl.SSLContext):
        return _ready(config)
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.options |= ssl.OP_NO_RENEGOTIATION  # It costs the server more than the client who asks for it.
    made.minimum_version = VERSIONS[config.min_version]
    made.set_alpn_protocols(PROTOCOLS)
    _load_certificate(made, config)
    if config.ciphers is not None:
        try:
            made.set_ciphers(config.ciphers)
        except ssl.SSLError:
            raise UsageError("the ciphers must be a list of OpenSSL with suites for TLS 1.2, such as "
                             f"ECDHE+AESGCM; it is {config.ciphers!r}") from None
    verify = config.client_verify or ("none" if config.client_ca is None else "required")
    if config.client_ca is not None:
        _load_authorities(made, config.client_ca)
    made.verify_mode = MODES[verify]
    return made


def _ready(given: ssl.SSLContext) -> ssl.SSLContext:
    try:
        given.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True)
    except ssl.SSLError:
        raise UsageError("the SSLContext is for clients; "
                         "make one by ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)") from None
    return given


def _load_certificate(made: ssl.SSLContext, config: TLSConfig) -> None:
    certificate, key = config.certificate, config.key or config.certificate
    of_certificate, of_key = _text(certificate, "the certificate"), _text(key, "the key")
    password = _password(config)
    if "BEGIN TRUSTED CERTIFICATE-" in of_certificate:
        raise StartError(f"the certificate {certificate} is in a form that OpenSSL alone reads "
                         "(TRUSTED CERTIFICATE); openssl x509 -in FILE converts it")
    if "BEGIN CERTIFICATE-" not in of_certificate:
        raise StartError(f"the certificate {certificate} is not in PEM, or is another kind of file; "
                         "openssl x509 -inform DER -in FILE converts one that is in DER")
    if "PRIVATE KEY-" not in of_key:
        raise StartError(f"there is no private key in {key}; "
                         f"name {'a' if config.key else 'its own'} PEM file that has one (--tls-key)")
    if "ENCRYPTED" in of_key and password is None:
        raise StartError(f"the key {key} is encrypted; name a file with its password "
                         "(--tls-key-password-file), or store the key without one")
    try:
        made.load_cert_chain(certificate, key, password or b"")  # With None, OpenSSL would ask the terminal.
    except ssl.SSLError as error:
        raise StartError(_why_not(certificate, key, "ENCRYPTED" in of_key, error)) from error
    except (OSError, ValueError) as error:  # The file has gone since; the password is too long.
        raise StartError(f"the key {key} cannot be used: {error}; give another") from error
    _check_validity(made, certificate, of_certificate)


def _why_not(certificate: str, key: str, encrypted: bool, error: ssl.SSLError) -> str:
    if error.reason in MISMATCHES:
        return (f"the key {key} does not belong to the certificate {certificate}; name the key that it was "
                "issued for, and let the certificate of the server be the first in its file")
    if encrypted:
        return f"the password of the key {key} is wrong, or the key is damaged; give the right one"
    return (f"the certificate {certificate} or the key {key} cannot be used: {_reason(error)}; "
            "openssl x509 -text and openssl pkey -check tell more")


def _reason(error: ssl.SSLError) -> str:
    return str(error.reason or error).replace("_", " ").lower()


def _load_authorities(made: ssl.SSLContext, path: str) -> None:
    _text(path, "the authorities of clients,")
    try:
        made.load_verify_locations(path)
    except ssl.SSLError as error:
        raise StartError(f"there are no certificates of authorities in {path}; "
                         "name a PEM file that has them") from error


def _text(path: str, what: str) -> str:
    """What is in a file, as far as it is text."""
    return _octets(path, what).decode("ascii", "replace")


def _octets(path: str, what: str) -> bytes:
    """What is in a file; others than regular ones may have no end, or keep whoever opens them waiting."""
    try:
        if Path(path).is_fifo() or Path(path).is_char_device():
            raise StartError(f"{what} {path} is a pipe or a device; name a regular file")
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise StartError(f"{what} {path} cannot be read: {reason}; "
                         "name a file that this user may read") from error


def _password(config: TLSConfig) -> str | bytes | None:
    if config.key_password_file is None:
        return config.key_password
    first, _, _ = _octets(config.key_password_file, "the password of the key,").partition(b"\n")
    return first.rstrip(b"\r")


def _check_validity(made: ssl.SSLContext, path: str, pem: str) -> None:
    """Refuse a certificate that every client would refuse, as one finds out who trusts nothing but it.

    Clients are taken to speak what Python's do: all do, or browsers even less.
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    first = re.search("-----BEGIN CERTIFICATE-.*?-----END CERTIFICATE-----", pem, re.DOTALL)
    assert first is not None  # It has been loaded.
    client.load_verify_locations(cadata=f"{first[0]}\n")
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (client.wrap_bio(to_client, to_server), made.wrap_bio(to_server, to_client, server_side=True))
    for end_of_connection in (*ends, ends[0]):  # The client has then seen the certificate, in any version.
        try:
            end_of_connection.do_handshake()
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLCertVerificationError as error:
            if error.verify_code == EXPIRED:
                raise StartError(f"the certificate {path} has expired; renew it") from None
            if error.verify_code == NOT_YET_VALID:
                raise StartError(f"the certificate {path} is not valid yet; "
                                 "wait, or set the clock of this machine") from None
            return
        except ssl.SSLError as error:  # No cipher suite or signature is common to both.
            raise StartError(f"the certificate {path} is of a kind that clients do not speak "
                             f"({_reason(error)}); {KINDS}") from None
