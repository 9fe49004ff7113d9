"""Holds what a server has after a crash against what its clients were told before. Every sentence is a violation."""

import asyncio
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

from perdure.cli.check import report
from perdure.config import Settings
from perdure.loop.context import OUTCOME_UNKNOWN
from tests.kill.workload import DATABASE, FREQUENCY, TELL, Home, Sent
from tests.rig import postgres
from tests.rig.http import Frame
from tests.rig.whole import told

QUIET_LIMIT: Final = 30.0
"""Seconds in which every run has to come to its end after a start."""
OVERLAPS: Final = """
    SELECT earlier.id, later.id FROM runs AS earlier JOIN runs AS later
        ON earlier.conversation_id = later.conversation_id AND earlier.id <> later.id
        AND earlier.started_at < later.started_at
    WHERE earlier.completed_at IS NULL OR earlier.completed_at > later.started_at
"""
ENDED: Final = """
    SELECT id, caller_id, status, metadata FROM runs
    WHERE agent_id = '{agent}' AND started_at IS NOT NULL AND completed_at IS NOT NULL ORDER BY completed_at
"""
TALKATIVE: Final = "SELECT DISTINCT run_id FROM messages WHERE agent_id = '{agent}' AND run_id IS NOT NULL"
OUTSIDE: Final = ("mark", "ask", "repeat", "stamp")
"""Tools that leave marks outside the database."""
NEVER_ENTERED: Final = ("cancelled", "pending_approval")
"""Ways to end of a run that had waited, so that its input did not get its turn."""


def violations(home: Home) -> list[str]:
    """All that is wrong. The server has to run; the agents of `home` are spoken to once more."""
    found = [*_unfinished(home)]
    if found:
        return found
    for agent in home.agents:
        history = _history(home, agent)
        sent = [each for each in home.notes.sent if each.agent == agent]
        runs = {each.run_id: each for each in sent if each.run_id is not None}
        replays = {run_id: _replay(home, run_id) for run_id in runs}
        for run_id, each in runs.items():
            found += _replay_faults(home, each, replays[run_id], history)
        found += _input_faults(home, sent, history)
        found += _call_faults(home, agent, history)
        found += _block_faults(home, agent, history)
        found += _telling_faults(home, agent, history)
    for name, (folder, confirmed) in home.notes.files.items():
        found += _file_faults(home, folder, name, confirmed)
    found += [f"runs {first} and {second} worked at once" for first, second in rows(home, OVERLAPS)]
    for agent in home.agents:
        home.decide(agent, approve=False)
        last = home.send(agent, "say")
        stop = next((frame.json["stop_reason"] for frame in last.frames if frame.kind == "stop_reason"), None)
        if stop != "end_turn":
            found.append(f"the next message of {agent} ended with {stop}")
    found += _unfinished(home)
    for agent, companion in home.companions.items():
        found += _companion_faults(home, agent, companion)
    found += [f"the model was asked wrongly: {fault}" for fault in home.script.violations]
    home.script.violations.clear()
    return found + looked_at(home.settings).faults


@dataclass(frozen=True)
class Look:
    """What `perdure check` finds: what is wrong, and how many runs are under way or wait."""

    faults: list[str]
    unfinished: int


def looked_at(settings: Settings) -> Look:
    """The database as it is now, with a server or without."""
    found = asyncio.run(report(settings, repair=False))
    faults = [f"perdure check: {each.check}: {each.problem}: {', '.join(each.ids)}" for each in found.findings]
    return Look(faults, found.unfinished_runs)


def _unfinished(home: Home) -> Iterator[str]:
    deadline = time.monotonic() + QUIET_LIMIT
    for kind, path in (("runs", "/v1/runs/?active=true&limit=1000"), ("jobs", "/v1/jobs/active?limit=1000")):
        while active := home.server.get(path).json:
            if time.monotonic() > deadline:
                yield f"{kind} that do not end: {[each['id'] for each in active]}"
                return
            time.sleep(0.02)


def _history(home: Home, agent: str) -> list[dict[str, Any]]:
    return home.server.get(f"/v1/agents/{agent}/messages?limit=1000").json


def _replay(home: Home, run_id: str) -> list[Frame]:
    with home.server.stream(f"/v1/runs/{run_id}/stream", {}) as stream:
        return stream.read()


def _replay_faults(home: Home, sent: Sent, replay: list[Frame], history: list[dict[str, Any]]) -> Iterator[str]:
    who = f"run {sent.run_id} of {sent.kind} {sent.number}"
    kinds = [frame.kind for frame in replay]
    if [kinds.count(kind) for kind in ("stop_reason", "usage_statistics", "[DONE]")] != [1, 1, 1]:
        yield f"{who} does not end as it should: {kinds}"
        return
    if [frame.json["seq_id"] for frame in replay[:-1]] != list(range(1, len(replay))):
        yield f"{who} has gaps in its numbers"
    if [frame.raw for frame in _replay(home, sent.run_id or "")] != [frame.raw for frame in replay]:
        yield f"{who} reads differently the second time"
    seen = [frame.raw for frame in _numbered(sent.frames)]
    if seen != [frame.raw for frame in replay[: len(seen)]]:
        yield f"{who} had shown something that is gone: {seen[-3:]} and {[frame.raw for frame in replay[-5:]]}"
    kept = told(history)
    for key, said in told([frame.json for frame in replay[:-1]]).items():
        if kept.get(key) != said:
            yield f"{who} streamed {key} {said!r}, history says {kept.get(key)!r}"


def _numbered(frames: list[Frame]) -> list[Frame]:
    """Without the pings of a silence, which repeat the number before."""
    found: list[Frame] = []
    for frame in frames:
        if frame.kind == "ping" and found:
            continue
        found.append(frame)
    return found


def _input_faults(home: Home, sent: list[Sent], history: list[dict[str, Any]]) -> Iterator[str]:
    said = Counter(item["content"] for item in history if item["message_type"] == "user_message")
    for each in sent:
        if each.kind == "decision":
            continue
        times = said[f"{each.kind} {each.number}"]
        least = 0 if each.run_id is None or _never_entered(home, each.run_id) else 1
        if not least <= times <= 1:
            yield f"message {each.kind} {each.number} of {each.run_id} is there {times} times"


def _never_entered(home: Home, run_id: str) -> bool:
    run = home.server.get(f"/v1/runs/{run_id}").json
    error = (run.get("metadata") or {}).get("error") or {}
    return run["stop_reason"] in NEVER_ENTERED or error.get("error_type") in NEVER_ENTERED


def _call_faults(home: Home, agent: str, history: list[dict[str, Any]]) -> Iterator[str]:
    calls = {call["tool_call_id"]: call for item in history for call in _calls_of(item)}
    returns = Counter(each["tool_call_id"] for each in _returns_of(history))
    pending = home.server.get(f"/v1/agents/{agent}").json["pending_approval"]
    waiting = {each["tool_call_id"] for each in pending["tool_calls"]} if pending else set[str]()
    for call_id in calls.keys() | returns.keys():
        if returns[call_id] != (0 if call_id in waiting else 1):
            yield f"call {call_id} is answered {returns[call_id]} times"
    marks = home.marks
    wanted = {call_id: _number(call) for call_id, call in calls.items() if call["name"] in OUTSIDE}
    for each in _returns_of(history):
        number = wanted.get(each["tool_call_id"])
        if number is None:
            continue
        name = calls[each["tool_call_id"]]["name"]
        times = marks[f"{name} {number}"]
        least = 1 if each["status"] == "success" else 0
        if times < least or (times > 1 and name != "repeat"):
            yield f"{name} {number} took effect {times} times, and its return says {each['status']}"


def _block_faults(home: Home, agent: str, history: list[dict[str, Any]]) -> Iterator[str]:
    blocks = {block["label"]: block for block in home.server.get(f"/v1/agents/{agent}").json["blocks"]}
    calls = {call["tool_call_id"]: call for item in history for call in _calls_of(item)}
    notes = blocks["notes"]["value"]
    for each in _returns_of(history):
        call = calls.get(each["tool_call_id"])
        if call is None or call["name"] not in ("memory_insert", "jot"):
            continue
        if call["name"] == "memory_insert" and each["tool_return"] == OUTCOME_UNKNOWN:
            yield f"call {each['tool_call_id']} has its effect in our own database, and is answered as unknown"
        inserted = f"<{call['arguments'].partition('<')[2].partition('>')[0]}>"
        tag = f"[{_number(call)}]" if call["name"] == "jot" else inserted
        if notes.count(tag) != (1 if each["status"] == "success" else 0):
            yield f"{tag} stands {notes.count(tag)} times in the block, and its return says {each['status']}"
    block = blocks["wall"]
    mine = {value: sure for value, (block_id, sure) in home.notes.edits.items() if block_id == block["id"]}
    confirmed = max((int(value.split()[1]) for value, sure in mine.items() if sure), default=0)
    if int(block["value"].split()[-1]) < confirmed or (block["value"] != "0" and block["value"] not in mine):
        yield f"block {block['id']} says {block['value']}, though edit {confirmed} was confirmed"
    if f"{block['value']}\n" not in _system(history):
        yield f"the system message of {agent} does not show that its block says {block['value']}"


def _companion_faults(home: Home, agent: str, companion: str) -> Iterator[str]:
    """Each so-manyth turn has one run of the companion, which edits once what it shares; its failures are its own."""
    history = _history(home, companion)
    yield from _call_faults(home, companion, history)
    yield from _block_faults(home, companion, history)
    ended = rows(home, ENDED.format(agent=agent))
    turns = [run_id for run_id, _, _, metadata in ended if "compact" not in str(metadata)]
    counted = home.server.get(f"/v1/agents/{agent}").json["managed_group"]["turns_counter"]
    if counted != len(turns):
        yield f"{counted} turns of {agent} are counted, and there were {turns}"
    tended = rows(home, ENDED.format(agent=companion))
    callers = Counter(caller for _, caller, _, _ in tended)
    talkative = {run_id for (run_id,) in rows(home, TALKATIVE.format(agent=agent))}
    since = 0
    for number, run_id in enumerate(turns, 1):
        due = number % FREQUENCY == 0
        least = due and not talkative.isdisjoint(turns[since:number])
        if not least <= callers[run_id] <= due:
            yield f"turn {number} of {agent}, {run_id}, set its companion to work {callers[run_id]} times"
        if callers[run_id]:
            since = number
            usage = next(frame.json for frame in _replay(home, run_id) if frame.kind == "usage_statistics")
            if usage["run_ids"] != [each for each, caller, _, _ in tended if caller == run_id]:
                yield f"run {run_id} names {usage['run_ids']} as what it set to work"
    for run_id, _, status, metadata in tended:
        if status != "completed" and not any(why in str(metadata) for why in ("run_interrupted", "llm_")):
            yield f"run {run_id} of a companion is {status}: {metadata}"
    # Only companions are refused by the model.
    yield from (f"run {run_id} failed: {metadata}" for run_id, _, _, metadata in ended if "llm_" in str(metadata))
    if unknown := callers.keys() - set(turns):
        yield f"runs of {companion} came of {unknown}"


def _telling_faults(home: Home, agent: str, history: list[dict[str, Any]]) -> Iterator[str]:
    """What an agent says to another starts one run there."""
    calls = {
        call["tool_call_id"]: _number(call) for item in history for call in _calls_of(item) if call["name"] == TELL
    }
    if not calls:
        return
    other = home.agents[-1]
    heard = [item["content"] for item in _history(home, other) if item["message_type"] == "system_message"]
    for each in _returns_of(history):
        if (said := calls.get(each["tool_call_id"])) is None:
            continue
        times = sum(content.endswith(f"] {said}") for content in heard)
        if times != (1 if each["status"] == "success" else times and 1):
            yield f"{said} was heard {times} times, and its return says {each['status']}"
    own = {run_id for run_id, _, _, _ in rows(home, ENDED.format(agent=agent))}
    started = [caller for _, caller, _, _ in rows(home, ENDED.format(agent=other)) if caller in own]
    if len(started) > len(calls):
        yield f"{calls} started {len(started)} runs"


def _file_faults(home: Home, folder: str, name: str, confirmed: str | None) -> Iterator[str]:
    """A file that was taken is read to its end, each piece once; one that was not is there whole or not at all."""
    files = [each for each in home.server.get(f"/v1/folders/{folder}/files").json if name in each["file_name"]]
    if confirmed is not None and [each["id"] for each in files] != [confirmed]:
        yield f"{name} was taken as {confirmed}, and is there as {[each['id'] for each in files]}"
    if len(files) > 1:
        yield f"{name} is there {len(files)} times"
    pieces = home.server.get(f"/v1/folders/{folder}/passages?limit=10000&order=asc").json
    for file in files:
        places = [each["metadata"]["position"] for each in pieces if each["file_id"] == file["id"]]
        if file["processing_status"] != "completed" or places != list(range(file["total_chunks"])):
            yield f"{name} is {file['processing_status']}, and {places} of {file['total_chunks']} pieces are there"


def _system(history: list[dict[str, Any]]) -> str:
    return next(item["content"] for item in history if item["message_type"] == "system_message")


def _number(call: dict[str, Any]) -> str:
    return call["arguments"].partition('": "')[2].partition('"')[0]


def _calls_of(item: dict[str, Any]) -> list[dict[str, Any]]:
    if item["message_type"] not in ("tool_call_message", "approval_request_message"):
        return []
    several = item["tool_calls"]
    return several if isinstance(several, list) else [several]


def _returns_of(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [each for item in history if item["message_type"] == "tool_return_message" for each in item["tool_returns"]]


def rows(home: Home, query: str) -> list[tuple[Any, ...]]:
    """What stands in the database, read past the server."""
    url = home.server.environment.get(DATABASE)
    if url is not None:
        return postgres.query(url, query)
    with closing(sqlite3.connect(f"file:{home.server.data / 'perdure.db'}?mode=ro", uri=True)) as conn:
        return conn.execute(query).fetchall()
