"""Payloads that a producer may send: right, nearly right, and anything at all."""

import json

from hypothesis import strategies as st

GOOD = b'{"ind": 7, "name": "lantern", "size": 1.5, "note": "a"}'
TOKENS = [
    *[b"1e17", b"12345678901234567.0", b"1e-7", b"1e300"],
    *[b"1", b"-0", b"0", b"1.0", b"1.50", b"1e5", b"-0.0", b"1e-400", b"1e400", b"1e22"],
    *[b"123456789012345678", b"99999999999999999999", b"123456789012345.0", b"0.1e1"],
    *[b"1234567890123456.7", b"01", b"1.", b"NaN", b"null", b"true", b"[]", b'{"a":1}', b"[{}]"],
    *[b'""', b'"7"', b'"1.5"', b'"true"', b'"[1]"', b'"a\\":b"', b'"\\" : \\""', b'"x : y"'],
    *[
        b'"\\ud800"',
        b'"\\ud83d\\ude00"',
        b'"\\ud800\\n"',
        b'"\\\\ud800"',
        b'"\\u0000"',
        b'"\\udc00"',
    ],
    *[b'"\xc3\xa9"', b'"\xff"', b'"\x01"', b'"\n"', b'"unended', b'"a" "b"', b'"\\x"', b"'a'"],
]
ANY = st.sampled_from(TOKENS)
VALUES = {b"ind": st.just(b"1") | ANY, b"size": st.sampled_from(TOKENS[:20]) | ANY}
NAMES = [b"ind", b"name", b"size", b"note", b"x", b"na\\u006de", b'a\\":', b"", b"\\ud800", b"ind "]
BLANKS = st.sampled_from([b"", b"", b"", b" ", b"\t", b"  ", b"\r", b"\n", b"\x0c", b"\xc2\xa0"])


@st.composite
def objects(draw: st.DrawFn) -> bytes:
    """Text close to an object of the schema: mostly right, wrong in any place."""
    names = draw(st.lists(st.sampled_from(NAMES[:4] * 3 + NAMES), max_size=5))
    blank = draw(st.sampled_from([st.just(b""), BLANKS]))
    member = [
        b'"' + name + b'"' + draw(blank) + b":" + draw(blank) + draw(VALUES.get(name, ANY))
        for name in names
    ]
    tail = draw(st.sampled_from([b"}"] * 6 + [b"", b",}", b"} x", b"}{}", b"}\n", b"}\n{}"]))
    return b"{" + b",".join(member) + tail


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("name"), inner),
    max_leaves=6,
)
RECORDS = st.fixed_dictionaries(
    {"ind": st.integers(-(2**64), 2**64)},
    optional={"name": st.text() | JSON, "size": st.floats() | JSON, "note": st.text(), "x": JSON},
)
DUMPS = st.builds(
    lambda value, ascii_only, compact: json.dumps(
        value, ensure_ascii=ascii_only, separators=(",", ":") if compact else None
    ).encode("utf-8", "surrogatepass"),
    RECORDS | JSON,
    st.booleans(),
    st.booleans(),
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    value = bytearray(draw(DUMPS | st.just(GOOD)))
    at = draw(st.integers(0, max(0, len(value) - 1)))
    value[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
    return bytes(value)


PAYLOADS = st.none() | st.binary() | objects() | DUMPS | mutated() | st.just(GOOD)
