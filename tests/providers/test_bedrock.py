"""Claude on Bedrock: requests signed as AWS wants, streams in its binary framing."""

import base64
import json
import struct
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, urlencode
from zlib import crc32

import msgspec
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.eventstream import EventStreamBuffer, ParserError
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.domain.errors import Invalid, ModelError
from perdure.domain.ids import DEFAULT_TENANT as TENANT
from perdure.providers.anthropic import bedrock_url
from perdure.providers.aws_event_stream import AwsEventParser
from perdure.providers.aws_signing import AwsSigner
from perdure.providers.base import Finished, ModelRequest, TextDelta
from perdure.providers.bedrock import bedrock_endpoint
from perdure.providers.catalog import Catalog
from perdure.providers.event_stream import MAX_EVENT_BYTES
from perdure.providers.http import Endpoint
from tests.providers.cataloguing import cataloguing, refused, windows
from tests.providers.chat import HELLO, SYSTEM
from tests.providers.claude import Event, error, shape, start, text, whole
from tests.providers.scripted import Answer, Asked, Scripted, chunked, lists, plain, run, says, serving

ACCOUNT = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}
SIGNER = AwsSigner(key_id=ACCOUNT["AWS_ACCESS_KEY_ID"], secret=ACCOUNT["AWS_SECRET_ACCESS_KEY"],
                   region="us-east-1", service="service")  # fmt: skip
AT = "20150830T123600Z"
TOKEN = "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267"
MODEL = "us.anthropic.claude-opus-5-5-v1:0"
AWS_STREAM = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.amazon.eventstream\r\nTransfer-Encoding: chunked\r\n\r\n"
)


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "names", "signature"),
    [
        ("GET", "/", b"", {}, "host;x-amz-date", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("POST", "/", b"", {}, "host;x-amz-date", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        ("GET", "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", b"", {}, "host;x-amz-date",
         "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f"),
        ("GET", "/?Param2=value2&Param1=value1", b"", {}, "host;x-amz-date",
         "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"),
        ("GET", "/?Param1=value2&Param1=value1", b"", {}, "host;x-amz-date",
         "5772eed61e12b33fae39ee5e7012498b51d56abc0abb7c60486157bd471c4694"),
        ("GET", "/?\u1234=bar", b"", {}, "host;x-amz-date",
         "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04"),
        ("GET", "/", b"", {"My-Header1": " value1", "My-Header2": '"a   b   c"'},
         "host;my-header1;my-header2;x-amz-date", "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"),
        ("POST", "/", b"Param1=value1", {"Content-Type": "application/x-www-form-urlencoded"},
         "content-type;host;x-amz-date", "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"),
    ],
)  # fmt: skip
def test_signatures_are_those_that_aws_publishes(
    method: str, path: str, body: bytes, headers: dict[str, str], names: str, signature: str
) -> None:
    made = SIGNER.headers(method, f"https://example.amazonaws.com{path}", body, AT, headers)
    scope = "AKIDEXAMPLE/20150830/us-east-1/service/aws4_request"
    assert made["X-Amz-Date"] == AT
    assert made["Authorization"] == (
        f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders={names}, Signature={signature}"
    )


@settings(max_examples=60, deadline=None)
@given(
    st.text(st.characters(codec="ascii", exclude_characters=";"), min_size=1, max_size=30).filter(
        lambda model: model not in (".", "..")  # in a path they are directions
    )
    | st.just("arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/ab c~d%2F"),
    st.dictionaries(st.text(max_size=4), st.text(max_size=4), max_size=2),
    st.binary(max_size=9),
)
def test_botocore_signs_the_same(model: str, query: dict[str, str], body: bytes) -> None:
    place = bedrock_url(Endpoint(name="bedrock", url="https://bedrock-runtime.eu-west-1.amazonaws.com"), model)
    url = f"{place}/invoke?{urlencode(query, quote_via=quote, errors='replace')}"
    theirs = AWSRequest(method="POST", url=url, data=body)
    SigV4Auth(Credentials(SIGNER.key_id, SIGNER.secret, TOKEN), "service", "us-east-1").add_auth(theirs)
    signer = msgspec.structs.replace(SIGNER, token=TOKEN)
    ours = signer.headers("POST", url, body, theirs.headers["X-Amz-Date"])
    assert ours["Authorization"] == theirs.headers["Authorization"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=99), max_size=5), st.integers(1, 60), st.none() | st.integers(0))
def test_botocore_reads_the_same_stream(chunks: list[bytes], size: int, damage: int | None) -> None:
    """However it is cut, and whichever bit of it is wrong."""
    wrapped = [json.dumps({"bytes": base64.b64encode(each).decode()}).encode() for each in chunks]
    raw = bytearray(b"".join(framed(each, message_type="event", event_type="chunk") for each in wrapped))
    if raw and damage is not None:
        raw[damage % len(raw)] ^= 1 << damage % 8
    pieces = [bytes(raw[at : at + size]) for at in range(0, len(raw), size)]
    parser, buffer = AwsEventParser(), EventStreamBuffer()
    ours, damaged = until_damaged(parser.feed, pieces)
    theirs, damaged_too = until_damaged(lambda piece: buffer.add_data(piece) or list(buffer), pieces)
    assert damaged == damaged_too
    if not damaged:
        assert [message.payload for message in theirs] == wrapped[: len(ours)]
        assert ours == chunks[: len(theirs)]


def until_damaged(read: Callable[[bytes], list[Any]], pieces: list[bytes]) -> tuple[list[Any], bool]:
    """What is read of the pieces, and whether it was found to be damaged."""
    found: list[Any] = []
    try:
        for piece in pieces:
            found += read(piece)
    except (ModelError, ParserError):
        return found, True
    return found, False


def test_a_session_token_is_sent_and_signed() -> None:
    signer = AwsSigner(key_id=SIGNER.key_id, secret=SIGNER.secret, region="us-east-1", service="service", token=TOKEN)
    made = signer.headers("GET", "https://example.amazonaws.com/", b"", AT)
    assert made["X-Amz-Security-Token"] == TOKEN
    assert made["Authorization"].endswith("07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8")
    assert SIGNER.secret not in repr(signer)


def framed(payload: bytes, **headers: str) -> bytes:
    """One message of an AWS event stream; names of headers with `_` for `-`."""
    packed = b"\x05:date\x08" + bytes(8) + b"\x04:odd\x06" + struct.pack(">H", 2) + b"xx"
    for name, value in headers.items():
        key = f":{name.replace('_', '-')}".encode()
        packed += bytes([len(key)]) + key + b"\x07" + struct.pack(">H", len(value)) + value.encode()
    prelude = struct.pack(">II", 16 + len(packed) + len(payload), len(packed))
    message = prelude + struct.pack(">I", crc32(prelude)) + packed + payload
    return message + struct.pack(">I", crc32(message))


def chunk(event: Event) -> bytes:
    payload = json.dumps({"bytes": base64.b64encode(json.dumps(event).encode()).decode(), "p": "abc"}).encode()
    return framed(payload, message_type="event", event_type="chunk", content_type="application/json")


def exception(kind: str, message: str) -> bytes:
    return framed(json.dumps({"message": message}).encode(), message_type="exception", exception_type=kind)


def payloads(*pieces: bytes) -> list[Any]:
    parser = AwsEventParser()
    return [json.loads(payload) for piece in pieces for payload in parser.feed(piece)] + parser.finish()


def test_messages_of_other_kinds_are_passed_over() -> None:
    other = framed(b"{}", message_type="event", event_type="initial-response")
    assert payloads(other, chunk({"type": "ping"})) == [{"type": "ping"}]


def test_messages_as_aws_publishes_them_are_whole() -> None:
    """The test vectors of AWS's SDKs; neither says that it is an event."""
    empty = b"\x00\x00\x00\x10\x00\x00\x00\x00\x05\xc2\x48\xeb\x7d\x98\xc8\xff"
    number = b"\x00\x00\x00+\x00\x00\x00\x0e4\x8b\xec{\x08event-id\x04\x00\x00\xa0\x0c{'foo':'bar'}\xd3\x89\x02\x85"
    assert [payload["error"]["type"] for payload in payloads(empty, number)] == ["unknown", "unknown"]


@pytest.mark.parametrize("at", [3, 9, 20, -2])
def test_damage_is_noticed(at: int) -> None:
    raw = bytearray(chunk({"type": "ping"}))
    raw[at] ^= 1
    with pytest.raises(ModelError) as raised:
        assert payloads(bytes(raw) + bytes(64)) == []
    assert "AWS sent" in raised.value.detail


@pytest.mark.parametrize(
    "raw",
    [
        struct.pack(">III", MAX_EVENT_BYTES + 1, 0, 0),
        struct.pack(">III", 20, 90, 0),
        framed(b'{"bytes": "not base64!"}', message_type="event", event_type="chunk"),
    ],
)
def test_messages_that_make_no_sense_are_named(raw: bytes) -> None:
    with pytest.raises(ModelError) as raised:
        payloads(raw)
    assert "AWS sent" in raised.value.detail


async def asked(catalog: Catalog, model: str = MODEL) -> list[Any]:
    request = ModelRequest(model=await catalog.resolve(TENANT, f"bedrock/{model}"), messages=(SYSTEM, HELLO))
    return [delta async for batch in catalog.stream(TENANT, request) for delta in batch]


def on_bedrock(answer: Answer, model: str = MODEL, **environment: str) -> tuple[list[Any], Asked]:
    """The deltas of one answer, and the request for it."""

    async def play(asked: Asked, writer: Any) -> None:
        await (answer if asked.method == "POST" else says(plain(500, b"")))(asked, writer)

    async def go() -> tuple[list[Any], Asked]:
        async with serving(play) as server, cataloguing(on(server, **environment)) as catalog:
            return await asked(catalog, model), server.asked[-1]

    return run(go())


def on(server: Scripted, **environment: str) -> dict[str, str]:
    return {**ACCOUNT, "AWS_REGION": "eu-west-1", "ANTHROPIC_BEDROCK_BASE_URL": server.url, **environment}


def aws(*frames: bytes) -> Answer:
    return says(AWS_STREAM, *map(chunked, frames), b"0\r\n\r\n")


def test_an_answer_of_bedrock() -> None:
    got, sent = on_bedrock(aws(*map(chunk, whole(text(0, "Hel", "lo")))))
    assert shape(got) == [TextDelta("Hel"), TextDelta("lo")]
    assert got[-1] == Finished("stop")
    assert sent.path == f"/model/{MODEL}/invoke-with-response-stream"
    assert sent.json["anthropic_version"] == "bedrock-2023-05-31"
    assert sent.json["anthropic_beta"] == ["thinking-binding-controls-2026-08-01"]
    assert not {"model", "stream"} & sent.json.keys()


@pytest.mark.parametrize("model", [MODEL, "arn:aws:bedrock:eu-west-1:1:application-inference-profile/x y"])
def test_what_is_signed_is_what_is_sent(model: str) -> None:
    sent = on_bedrock(aws(*map(chunk, whole(text(0, "x")))), model)[1]
    signer = AwsSigner(key_id=SIGNER.key_id, secret=SIGNER.secret, region="eu-west-1", service="bedrock")
    url = f"http://{sent.headers['host']}{sent.path}"
    again = signer.headers("POST", url, sent.body, sent.headers["x-amz-date"])
    assert sent.headers["authorization"] == again["Authorization"]


def test_a_key_of_bedrocks_own_needs_no_signature() -> None:
    sent = on_bedrock(aws(*map(chunk, whole(text(0, "x")))), AWS_BEARER_TOKEN_BEDROCK="bedrock-key")[1]
    assert sent.headers["authorization"] == "Bearer bedrock-key"


@pytest.mark.parametrize(
    ("frame", "error_type", "detail"),
    [
        (exception("throttlingException", "Slowly"), "llm_rate_limit", "Slowly"),
        (exception("validationException", "Too long"), "llm_bad_request", "Too long"),
        (exception("modelStreamErrorException", "Broke"), "llm_error", "Broke"),
        (exception("serviceUnavailableException", "Later"), "llm_error", "Later"),
        (exception("modelTimeoutException", "Late"), "llm_timeout", "Late"),
        (framed(b"", message_type="error", error_code="Internal", error_message="Oops"), "llm_error", "Oops"),
        (chunk(error("overloaded_error", "Overloaded")), "llm_error", "Overloaded"),
    ],
)
def test_errors_inside_a_stream_of_bedrock(frame: bytes, error_type: str, detail: str) -> None:
    with pytest.raises(ModelError) as raised:
        on_bedrock(aws(chunk(start()), frame))
    assert (raised.value.error_type, raised.value.detail) == (error_type, detail)
    assert raised.value.transient is (detail != "Too long")


def test_chunks_may_come_unwrapped() -> None:
    bare = framed(b'{"type": "ping"}', message_type="event", event_type="chunk")
    assert payloads(bare) == [{"type": "ping"}]


@pytest.mark.parametrize("frames", [[], [chunk(start())], [chunk(start())[:-3]]])
def test_a_stream_of_bedrock_that_ends_early_is_an_error(frames: list[bytes]) -> None:
    with pytest.raises(ModelError) as raised:
        on_bedrock(aws(*frames))
    assert "no message_stop" in raised.value.detail


def test_an_answer_that_is_no_stream_of_aws() -> None:
    with pytest.raises(ModelError) as raised:
        on_bedrock(says(plain(200, b"<html>", "text/html")))
    assert "text/html" in raised.value.detail


def pages() -> Iterator[Any]:
    profile = {"inferenceProfileId": MODEL, "type": "SYSTEM_DEFINED", "status": "ACTIVE"}
    yield {"inferenceProfileSummaries": [profile, {"inferenceProfileId": "us.meta.llama"}], "nextToken": "a/b"}
    yield {"inferenceProfileSummaries": [{"inferenceProfileId": "global.anthropic.claude-opus-5"}]}


def test_models_and_profiles_are_listed() -> None:
    first, second = pages()
    replies = {
        "/foundation-models?byProvider=Anthropic": {
            "modelSummaries": [
                {"modelId": "anthropic.claude-3-haiku-20240307-v1:0", "inferenceTypesSupported": ["ON_DEMAND"]},
                {"modelId": "anthropic.claude-opus-5", "inferenceTypesSupported": ["INFERENCE_PROFILE"]},
                {"modelId": None},
            ]
        },
        "/inference-profiles?maxResults=1000": first,
        "/inference-profiles?maxResults=1000&nextToken=a/b": second,
    }

    async def go() -> dict[str, int]:
        async with serving(lists(replies)) as server, cataloguing(on(server)) as catalog:
            return windows(await catalog.models(TENANT))

    found = run(go())
    assert found.pop("local/tiny")
    assert found == {
        "bedrock/anthropic.claude-3-haiku-20240307-v1:0": 200_000,
        f"bedrock/{MODEL}": 1_000_000,
        "bedrock/global.anthropic.claude-opus-5": 1_000_000,
    }


@pytest.mark.parametrize(
    "environment",
    [ACCOUNT, {"AWS_REGION": "us-east-1"}, {"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "x"}],
)
def test_half_an_account_is_none(environment: dict[str, str]) -> None:
    why = str(refused("bedrock/x", environment))
    assert "AWS_SECRET_ACCESS_KEY" in why
    assert "AWS_BEARER_TOKEN_BEDROCK" in why


@pytest.mark.parametrize("bad", [{"AWS_REGION": "us-east-1.evil.example/"}, {"AWS_ACCESS_KEY_ID": "A\nB"}])
def test_values_of_no_use_are_refused(bad: dict[str, str]) -> None:
    with pytest.raises(Invalid, match=next(iter(bad))):
        Catalog({**ACCOUNT, "AWS_REGION": "us-east-1", **bad})


@pytest.mark.parametrize(
    ("region", "domain"),
    [
        ("ap-south-1", "amazonaws.com"), ("us-gov-west-1", "amazonaws.com"), ("eusc-de-east-1", "amazonaws.eu"),
        ("cn-north-1", "amazonaws.com.cn"),
    ],
)  # fmt: skip
def test_an_account_has_its_regions_host(region: str, domain: str) -> None:
    endpoint = bedrock_endpoint({**ACCOUNT, "AWS_DEFAULT_REGION": region}, "bedrock", "")
    assert endpoint is not None
    assert endpoint.url == f"https://bedrock-runtime.{region}.{domain}"
