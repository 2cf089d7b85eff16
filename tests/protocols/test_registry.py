from ainf.protocols.registry import PROTOCOLS, protocol_of_path


def test_names():
    """Protocols are found by the name that they carry."""
    assert all(protocol.name == name for name, protocol in PROTOCOLS.items())


def test_any_path_has_an_error_body():
    """Even an unknown path answers its error in some protocol."""
    assert protocol_of_path("/nowhere") is PROTOCOLS["chat_completions"]
