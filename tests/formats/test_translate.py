import attrs
import pytest

from ainf.formats.translate import EVERYTHING, drop_fields, translate_fields
from ainf.inference.conversation import Conversation, Message, Role, Text, Written
from ainf.inference.errors import DownstreamError

CONVERSATION = Conversation(
    messages=(Message(Role.USER, (Text("Hi"),), "messages[0]"),),
    names={"top_k": "topK", "seed": "my_seed"},
    unknown=("strange", "odd"),
)


@attrs.frozen
class Client:
    """A format of which only requests are read."""

    conversation: Conversation = CONVERSATION
    name = "client"

    def read_request(self, fields):
        assert fields == {"any": 1}
        return self.conversation


@attrs.frozen
class Provider:
    """A format of which only requests are written."""

    unsaid: tuple[str, ...] = ()
    name = "provider"

    def write_request(self, conversation):
        assert conversation.messages == CONVERSATION.messages
        return Written({"said": True}, self.unsaid)


def translate(client, provider, may_drop=()):
    return translate_fields({"any": 1}, client, provider, may_drop)


def test_everything_said():
    """What can be said is said, and nothing is named as dropped."""
    known = attrs.evolve(CONVERSATION, unknown=())
    assert translate(Client(known), Provider()) == ({"said": True}, ())


@pytest.mark.parametrize(
    ("may_drop", "param"),
    [((), "strange"), (("strange",), "odd"), (("strange", "odd"), "topK"), (("strange", "odd", "top_k"), "topK"),
     (("strange", "odd", "topK"), "user")],
)  # fmt: skip
def test_refused_by_the_clients_name(may_drop, param):
    """What cannot be said and may not be dropped is refused by the name that the client knows it by."""
    with pytest.raises(DownstreamError) as caught:
        translate(Client(), Provider(("top_k", "user")), may_drop)
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", param)
    assert f"`{param}`" in caught.value.message
    assert "(provider)" in caught.value.message


@pytest.mark.parametrize("may_drop", [("strange", "odd", "topK", "other"), (EVERYTHING,), {EVERYTHING, "odd"}])
def test_dropped_and_named(may_drop):
    """What may be dropped is left out, and named once, by the client's names."""
    assert translate(Client(), Provider(("top_k", "top_k")), may_drop) == ({"said": True}, ("strange", "odd", "topK"))


def test_what_the_vendor_does_not_know():
    """It is refused, or dropped and named, by the client's name, as what its format cannot say."""
    known = Client(attrs.evolve(CONVERSATION, unknown=(), names={"user": "metadata.user_id"}))

    @attrs.frozen
    class Told(Provider):
        def write_request(self, conversation):
            return Written({"said": True, "user": "u"})

    def translated(may_drop):
        return translate_fields(
            {"any": 1}, known, Told(), may_drop, beyond=lambda fields: ("user",) * ("user" in fields)
        )

    with pytest.raises(DownstreamError) as caught:
        translated(("user",))
    assert caught.value.param == "metadata.user_id"
    assert translated(("metadata.user_id",)) == ({"said": True}, ("metadata.user_id",))


@pytest.mark.parametrize(
    ("may_drop", "left"),
    [((), {"a": 1, "b": 2, "c": 3}), (("a", "c"), {"b": 2, "c": 3}), ((EVERYTHING,), {"c": 3})],
)
def test_fields_of_the_providers_own_format(may_drop, left):
    """Of what the vendor cannot be told, only what may be dropped is left out, and it is named."""
    fields = {"a": 1, "b": 2, "c": 3}
    found, dropped = drop_fields(fields, ("a", "b"), may_drop)
    assert (found, set(dropped)) == (left, fields.keys() - left.keys())


def test_parts_are_never_left_out():
    """A part of a message that cannot be said is refused, whatever may be dropped."""

    @attrs.frozen
    class Picky(Provider):
        def write_request(self, conversation):
            path = conversation.messages[0].path
            raise DownstreamError("unsupported_parameter", "No.", param=path)

    with pytest.raises(DownstreamError) as caught:
        translate(Client(), Picky(), (EVERYTHING,))
    assert caught.value.param == "messages[0]"
