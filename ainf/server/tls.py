"""TLS as the server speaks it."""

import ssl

from ainf.server.limits import TlsFiles


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """A context that speaks TLS 1.2 or newer, and offers nothing but HTTP/1.1.

    Raises:
        OSError: a file cannot be read (``ssl.SSLError`` where the two make no pair).
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(files.cert, files.key)
    return context
