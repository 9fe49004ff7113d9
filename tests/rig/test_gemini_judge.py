"""The judge of what a Gemini is asked: it must object to what Google would refuse, and to nothing else."""

from typing import Any

import pytest

from tests.rig.gemini import UNSEALED, faults_of, seal

Content = dict[str, Any]
CALL = {"functionCall": {"name": "f", "args": {}, "id": "a"}, "thoughtSignature": seal("f")}
RETURN = {"functionResponse": {"name": "f", "response": {}}}


def user(*parts: Content) -> Content:
    return {"role": "user", "parts": list(parts or ({"text": "hi"},))}


def model(*parts: Content) -> Content:
    return {"role": "model", "parts": list(parts)}


def test_what_is_right_has_no_faults() -> None:
    assert faults_of({"contents": [user(), model({"text": "Hm."}, CALL), user(RETURN)]}) == []
    strangers = {**CALL, "thoughtSignature": UNSEALED}
    assert faults_of({"contents": [user(), model(strangers), user(RETURN)]}) == []


@pytest.mark.parametrize(
    "contents",
    [
        [],
        [user(), user()],
        [user(), model({"text": "Hm."})],
        [user(), {"role": "model", "parts": []}, user()],
        [user(), model(CALL), user()],
        [user(), model(CALL), user(RETURN, RETURN)],
        [user(RETURN)],
        [user(), model({**CALL, "thoughtSignature": seal("g")}), user(RETURN)],
        [user(), model({"functionCall": CALL["functionCall"]}), user(RETURN)],
        [user(), model({**CALL, "functionCall": {"name": "f g", "args": {}}}), user(RETURN)],
    ],
)
def test_faults_are_seen(contents: list[Content]) -> None:
    assert faults_of({"contents": contents}) != []


def test_tools_twice_are_seen() -> None:
    tools = [{"functionDeclarations": [{"name": "f"}, {"name": "f"}]}]
    assert faults_of({"contents": [user()], "tools": tools}) != []
