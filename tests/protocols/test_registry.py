from ainf.protocols.registry import ENDPOINTS, PROTOCOLS, protocol_of_path


def test_names():
    """Protocols are found by the name that they carry."""
    assert all(protocol.name == name for name, protocol in PROTOCOLS.items())


def test_endpoints():
    """Whatever is spoken at a path is one of the protocols, and its errors are told there."""
    assert all(protocol is PROTOCOLS[protocol.name] for protocol in ENDPOINTS.values())
    assert all(protocol_of_path(path).name == protocol.name for path, protocol in ENDPOINTS.items())


def test_any_path_has_an_error_body():
    """Even an unknown path answers its error in some protocol."""
    assert protocol_of_path("/nowhere") is PROTOCOLS["chat_completions"]
