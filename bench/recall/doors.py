"""The doors by which turns get in and are found again, each through a real server's own endpoints.

A way takes a conversation and gives the numbers of the turns that are found for each of its questions.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, Final

import httpx

from bench.recall.conversations import Conversation
from tests.rig.answers import Answer, call, text
from tests.rig.model import Asked, Script

LIMIT: Final = 10
TOOL: Final = "conversation_search"

Say = Callable[[str, str], str]
"""How a turn is written down, by `Name: text` and its time."""
Way = Callable[[Conversation], list[list[int]]]


def as_is(turn: str, at: str) -> str:
    return turn


def with_day(turn: str, at: str) -> str:
    return f"[{datetime.fromisoformat(at):%d %B %Y}] {turn}"


def said(turn: str, at: str) -> str:
    name, _, words = turn.partition(": ")
    return f'On {datetime.fromisoformat(at):%d %B %Y}, {name} said, "{words}"'


def nameless(turn: str, at: str) -> str:
    return turn.partition(": ")[2]


class Doors:
    """Those of one server. `script` is the model its agents ask: it says OK, or searches where it is asked to."""

    def __init__(self, url: str, script: Script) -> None:
        self._http = httpx.Client(base_url=url, timeout=60)
        self._script = script
        self._questions: set[str] = set()
        self._echoes = False
        script.otherwise(self._answer)

    def passages(self, say: Say = as_is, *, dated: bool = True) -> Way:
        """One turn a passage of an agent's archive, in order, and its search."""

        def find(conversation: Conversation) -> list[list[int]]:
            path = f"/v1/agents/{self._agent()}/archival-memory"
            numbers: dict[str, int] = {}
            for number, (turn, at) in enumerate(conversation.turns):
                (stored,) = self._post(path, {"text": say(turn, at), **({"created_at": at} if dated else {})})
                numbers[stored["id"]] = number
            found = [
                self._http.get(f"{path}/search", params={"query": question.text, "top_k": LIMIT}).json()["results"]
                for question in conversation.questions
            ]
            return [[numbers[each["id"]] for each in results] for results in found]

        return find

    def imported(self, say: Say = as_is) -> Way:
        """The turns as the history of an agent file, one speaker as user and one as assistant, and the tool."""

        def find(conversation: Conversation) -> list[list[int]]:
            file = self._http.get(f"/v1/agents/{self._agent()}/export").json()
            user = conversation.turns[0][0].partition(": ")[0]
            told = [say(turn, at) for turn, at in conversation.turns]
            file["agents"][0]["messages"] += [
                {
                    "id": f"turn-{number}",
                    "role": "user" if turn.startswith(user) else "assistant",
                    "content": [{"type": "text", "text": told[number]}],
                    "created_at": at,
                }
                for number, (turn, at) in enumerate(conversation.turns)
            ]
            sent = self._http.post("/v1/agents/import", files={"file": ("a.af", json.dumps(file))})
            (agent,) = sent.raise_for_status().json()["agent_ids"]
            return self._searched(agent, conversation, told)

        return find

    def sent(self, say: Say = as_is, *, echoed: bool = False, asked: bool = False, several: int = 1) -> Way:
        """The turns as a user's messages, so many in a request, each request answered "OK." or `echoed`; and the tool,
        or with `asked` the questions put to the agent itself, whose model searches for them."""

        def find(conversation: Conversation) -> list[list[int]]:
            agent = self._agent()
            self._echoes = echoed
            self._questions = set()
            told = [say(turn, at) for turn, at in conversation.turns]
            for start in range(0, len(told), several):
                self._send(agent, told[start : start + several])
            return (self._asked if asked else self._searched)(agent, conversation, told)

        return find

    def _searched(self, agent: str, conversation: Conversation, told: Sequence[str]) -> list[list[int]]:
        path = f"/v1/agents/{agent}/tools/{TOOL}/run"
        asked = [{"args": {"query": each.text, "limit": LIMIT}} for each in conversation.questions]
        return [_numbers(told, self._post(path, each)["func_return"]) for each in asked]

    def _asked(self, agent: str, conversation: Conversation, told: Sequence[str]) -> list[list[int]]:
        self._questions = {each.text for each in conversation.questions}
        replies = [self._send(agent, [each.text]) for each in conversation.questions]
        return [
            _numbers(told, message["tool_return"])
            for reply in replies
            for message in reply
            if message["message_type"] == "tool_return_message"
        ]

    def _answer(self, asked: Asked) -> Answer:
        if asked.messages[-1]["role"] == "tool":
            return Answer((text("I have looked."),))
        if asked.said in self._questions:
            return Answer((call(TOOL, {"query": asked.said, "limit": LIMIT}),))
        return Answer((text(f"You said: {asked.said}" if self._echoes else "OK."),))

    def _agent(self) -> str:
        body = {"name": "Recall", "model": self._script.handle, "context_window_limit": 100_000}
        return self._post("/v1/agents/", body)["id"]

    def _send(self, agent: str, texts: Iterable[str]) -> list[dict[str, Any]]:
        messages = [{"role": "user", "content": each} for each in texts]
        return self._post(f"/v1/agents/{agent}/messages", {"messages": messages})["messages"]

    def _post(self, path: str, body: Any) -> Any:
        return self._http.post(path, json=body).raise_for_status().json()


def _numbers(told: Sequence[str], returned: str) -> list[int]:
    """The turns among what the tool found; what else it found has the number -1."""
    number = {each: at for at, each in reversed(list(enumerate(told)))}
    return [number.get(each["content"], -1) for each in json.loads(returned)["results"]]
