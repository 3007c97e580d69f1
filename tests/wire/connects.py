"""Hypothesis strategies for every CONNECT there can be, shared by the tests of the parser and of the adapter."""

from hypothesis import strategies as st

from trio_ws_gateway.wire.mqtt import Connect, Properties, Property, Will
from trio_ws_gateway.wire.mqtt_properties import IN_CONNECT, IN_WILL, KINDS, NOT_ZERO, Kind, Value

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
blobs = st.binary(max_size=12)


def _values(known: Property) -> st.SearchStrategy[Value]:
    match KINDS[known]:
        case Kind.BYTE:
            return st.integers(0, 1)
        case Kind.TWO_BYTES | Kind.FOUR_BYTES as kind:
            return st.integers(known in NOT_ZERO, (1 << 8 * kind.value) - 1)
        case Kind.STRING:
            return texts
        case Kind.BINARY:
            return blobs
        case Kind.PAIR:
            return st.tuples(texts, texts)


@st.composite
def properties(draw: st.DrawFn, allowed: frozenset[Property]) -> Properties:
    """Any legal properties in any order, user properties more than once."""
    chosen = draw(st.sets(st.sampled_from(sorted(allowed - {Property.USER_PROPERTY})), max_size=4))
    if Property.AUTHENTICATION_DATA in chosen:
        chosen.add(Property.AUTHENTICATION_METHOD)
    found = [(known, draw(_values(known))) for known in chosen]
    found += [(Property.USER_PROPERTY, pair) for pair in draw(st.lists(st.tuples(texts, texts), max_size=2))]
    return tuple(draw(st.permutations(found)))


@st.composite
def wills(draw: st.DrawFn, level: int) -> Will:
    return Will(
        topic=draw(texts),
        payload=draw(blobs),
        qos=draw(st.integers(0, 2)),
        retain=draw(st.booleans()),
        properties=draw(properties(IN_WILL)) if level == 5 else (),
    )


@st.composite
def connects(draw: st.DrawFn) -> Connect:
    level = draw(st.sampled_from([3, 4, 5]))
    client_id = draw(texts)
    username = draw(st.none() | texts)
    return Connect(
        level=level,
        client_id=client_id,
        username=username,
        password=draw(st.none() | blobs) if level == 5 or username is not None else None,
        will=draw(st.none() | wills(level)),
        keep_alive=draw(st.integers(0, 0xFFFF)),
        clean_start=draw(st.booleans()) or (level < 5 and not client_id),
        properties=draw(properties(IN_CONNECT)) if level == 5 else (),
    )
