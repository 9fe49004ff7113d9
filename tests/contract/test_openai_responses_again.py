"""Responses that are looked at again: in the background, by their events, cancelled, after their run has ended."""

import pytest

from tests.contract.openai_words import RESPONSE_TOOLS, words
from tests.operation.waiting import soon
from tests.rig.answers import Hold, call, text
from tests.rig.model import Script
from tests.rig.sdks import Client, SdkError
from tests.rig.server import Server


def test_a_response_in_the_background(openai: Client, script: Script, agent: str) -> None:
    hold = Hold()
    script.answer(text("Hel"), hold, text("lo."))
    begun = openai.one("respond", model=agent, input="hi", background=True)
    assert (begun["status"], begun["background"], begun["output"]) == ("in_progress", True, [])
    hold.wait_reached()
    asked = {"response_id": begun["id"]}
    soon(lambda: openai.one("response", **asked)["output"] != [])
    hold.release()
    events = openai.all("response_events", **asked)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert openai.all("response_events", **asked, starting_after=3) == events[4:]
    done = openai.one("response", **asked)
    assert (done["status"], words(done), done["model"]) == ("completed", "Hello.", agent)
    assert events[-1]["response"]["output"] == done["output"]


def test_a_response_is_cancelled(openai: Client, script: Script, agent: str) -> None:
    hold = Hold()
    script.answer(text("So far"), hold).say("Yes.")
    asked = {"response_id": openai.one("respond", model=agent, input="hi", background=True)["id"]}
    soon(lambda: openai.one("response", **asked)["output"] != [])
    cancelled = openai.one("cancel_response", **asked)
    assert (cancelled["status"], cancelled["incomplete_details"]) == ("cancelled", None)
    assert cancelled["output"][0]["content"] == [
        {"type": "output_text", "text": "So far", "annotations": [], "logprobs": []}
    ]
    hold.release()
    assert words(openai.one("respond", model=agent, input="still there?")) == "Yes."


def test_calls_of_the_callers_own_tools_are_shown_again(
    openai: Client, server: Server, script: Script, agent: str
) -> None:
    aside = server.post(f"/v1/conversations/?agent_id={agent}", {}).json["id"]
    script.answer(call("locate", {}, id="a"))
    first = openai.one("respond", model=aside, input="Where?", tools=RESPONSE_TOOLS)
    again = openai.one("response", response_id=first["id"])
    assert again.fields == first.fields
    for unknown in ("resp_123e4567-e89b-42d3-8456-426614174000", "resp_1", first["id"].replace("resp_", "run-")):
        with pytest.raises(SdkError) as raised:
            openai.one("response", response_id=unknown)
        assert raised.value.cls == "NotFoundError"
