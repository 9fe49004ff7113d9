"""`perdure check`: what is wrong with a database is found by name, mended if asked, and its agents work again."""

import contextlib
import importlib
import io
import json
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from perdure.config import read_settings
from perdure.logs import set_up_logs
from tests.cli.commands import perdure
from tests.cli.faults import FAULTS, spoil
from tests.contract.told import user
from tests.operation.waiting import soon
from tests.rig.answers import Answer, Hold, call, text
from tests.rig.model import ModelServer, Script
from tests.rig.server import Server
from tests.rig.stores import SQLITE, Place, SqlitePlace, places

TOOLS = ["tests.rig.tools:weather", "tests.rig.tools:hang"]
NOT_WHOLE = 3

KEY = {"PERDURE_ENCRYPTION_KEY": "of these tests"}
SHORT = Answer((text("Well."),))
Lived = Callable[[str], tuple[Place, Script]]


@pytest.fixture(scope="module")
def lived_in(models: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lived]:
    """Databases in which agents have talked, called tools and branched off, one of each kind; not to be changed."""
    made: dict[str, tuple[Place, Script]] = {}
    with contextlib.ExitStack() as stack:

        def of(store: str) -> tuple[Place, Script]:
            if store not in made:
                directory = tmp_path_factory.mktemp(f"lived-in-{store}")
                place = stack.enter_context(places(store, directory))()
                script = models.script()
                _live(Server(directory / "data0", models.environment | KEY | place.environment, tools=TOOLS), script)
                made[store] = place, script
            return made[store]

        yield of


def _live(server: Server, script: Script) -> None:
    with server:
        for name in ("one", "two"):
            blocks = [{"label": label, "value": name} for label in ("human", "persona")]
            made = server.new_agent(
                name=name, model=script.handle, memory_blocks=blocks, tools=["weather", "memory_insert"],
                secrets={"KEY": "x"},
            )  # fmt: skip
            agent = made["id"]
            memory = call("memory_insert", {"label": "human", "new_string": "Likes tea."})
            script.answer(text("Let me see."), call("weather", {"city": "Oslo"})).answer(memory).say("Sun", "ny.")
            script.say("You are", " welcome.")
            for said in ("How is the weather?", "Thanks."):
                body = {"messages": user(said), "stream_tokens": True}
                with server.stream(f"/v1/agents/{agent}/messages/stream", body) as stream:
                    assert stream.read()[-3].json["stop_reason"] == "end_turn"
            kept = server.post(f"/v1/agents/{agent}/archival-memory", {"text": f"{name} likes tea", "tags": ["tea"]})
            assert kept.status == 200, kept.text
            branched = server.post(f"/v1/conversations/?agent_id={agent}", {})
            assert branched.status == 200, branched.text
        assert server.stop() == 0


@pytest.fixture
def broken(lived_in: Lived, store: str, tmp_path: Path) -> Place:
    """A copy of such a database, to be broken."""
    place, _ = lived_in(store)
    if not isinstance(place, SqlitePlace):
        return place.crashed()
    copy = SqlitePlace(tmp_path / "broken")
    shutil.copytree(place.directory, copy.directory)
    return copy


def in_use(server: Server) -> dict[str, str]:
    """What leads to the data of a server."""
    url = server.environment.get("PERDURE_DATABASE_URL")
    return {"PERDURE_DATABASE_URL": url} if url else {"PERDURE_DATA": str(server.data)}


def check(place: Place | dict[str, str], *, repair: bool = False, **environment: str) -> tuple[int, Any]:
    """The exit code of a check, and what it reports."""
    there = place if isinstance(place, dict) else place.environment
    settings = read_settings(KEY | there | environment)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        code = importlib.import_module("perdure.cli.check").run(settings, repair=repair, as_json=True)
    set_up_logs("text", "info")
    return code, json.loads(said.getvalue())


def assert_agents_work(place: Place, models: ModelServer, script: Script, tmp_path: Path) -> None:
    """A server starts on this database, and every agent in it answers."""
    data = place.environment.get("PERDURE_DATA")
    server = Server(
        Path(data) if data else tmp_path / "data", models.environment | KEY | place.environment, tools=TOOLS
    )
    with server:
        for agent in server.get("/v1/agents/").json:
            script.say("I am here.")
            reply = server.post(f"/v1/agents/{agent['id']}/messages", {"messages": user("Are you there?")})
            assert reply.json["stop_reason"]["stop_reason"] == "end_turn", reply.text
            assert reply.json["messages"][-1]["content"] == "I am here."
        assert script.violations == []


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_named_and_mended(broken: Place, fault: str) -> None:
    name, statement, repaired = FAULTS[fault]
    spoil(broken, statement)
    code, mended = check(broken, repair=True)
    assert (code, mended["whole"]) == (0, True), mended
    assert [each for each in mended["findings"] if each["check"] == name and repaired in each["repaired"]], mended
    assert check(broken)[1]["findings"] == []


def test_all_faults_at_once(broken: Place, lived_in: Lived, store: str, models: ModelServer, tmp_path: Path) -> None:
    assert check(broken)[1]["whole"]
    for _, statement, _ in FAULTS.values():
        spoil(broken, statement)
    code, found = check(broken)
    assert (code, found["whole"]) == (NOT_WHOLE, False)
    assert all(each["repaired"] is None for each in found["findings"])
    code, mended = check(broken, repair=True)
    assert (code, mended["whole"]) == (0, True), mended
    assert_agents_work(broken, models, lived_in(store)[1], tmp_path)
    assert check(broken)[1]["findings"] == []


def test_what_is_printed_for_people(broken: Place) -> None:
    spoil(broken, FAULTS["a call that nothing answers"][1])
    settings = KEY | broken.environment
    seen = perdure("check", **settings)
    assert seen.returncode == NOT_WHOLE
    assert "fault   context" in seen.stdout
    assert "tool calls that nothing answers: conv-" in seen.stdout
    assert "perdure check --repair" in seen.stdout
    mended = perdure("check", "--repair", **settings)
    assert mended.returncode == 0
    assert "mended  context" in mended.stdout
    assert mended.stdout.endswith("The data is whole again.\n")
    assert perdure("check", **settings).stdout.endswith("The data is whole.\n")


def test_secrets_without_their_key_are_named_and_left(broken: Place) -> None:
    code, found = check(broken, PERDURE_ENCRYPTION_KEY="another")
    assert (code, [each["check"] for each in found["findings"]]) == (NOT_WHOLE, ["secrets"])
    code, found = check(broken, repair=True, PERDURE_ENCRYPTION_KEY="another")
    assert (code, found["findings"][0]["repaired"]) == (NOT_WHOLE, None)


@pytest.mark.stores(SQLITE)
def test_a_repair_is_made_on_a_copy_first_and_not_under_a_server(
    broken: Place, models: ModelServer, tmp_path: Path
) -> None:
    spoil(broken, FAULTS["a call that nothing answers"][1])
    data = Path(broken.environment["PERDURE_DATA"])
    with Server(data, models.environment | KEY):
        refused = perdure("check", "--repair", **KEY, **broken.environment)
        assert refused.returncode == 1
        assert "Another Perdure server" in refused.stderr
    _, mended = check(broken, repair=True)
    copy = Path(mended["backup"])
    assert copy.parent == data
    done = perdure("restore", str(copy), "--data", str(tmp_path / "again"), **KEY)
    assert done.returncode == 0, done
    assert check(broken, PERDURE_DATA=str(tmp_path / "again"))[0] == NOT_WHOLE


@pytest.mark.stores("postgresql")
def test_a_repair_is_not_made_beside_servers(broken: Place, models: ModelServer, tmp_path: Path) -> None:
    spoil(broken, FAULTS["a call that nothing answers"][1])
    with Server(tmp_path / "data", models.environment | KEY | broken.environment) as server:
        refused = perdure("check", "--repair", **KEY, **broken.environment)
        assert refused.returncode == 1
        assert f" {server.pid}" in refused.stderr
        server.stop()
    assert check(broken, repair=True)[0] == 0


def test_a_busy_server_has_no_faults(new_server: Callable[..., Server], models: ModelServer, script: Script) -> None:
    server = new_server(models.environment | KEY, tools=TOOLS).start()
    script.otherwise(lambda asked: Answer((call("weather", {"city": "Oslo"}),)) if asked.said == "Go" else SHORT)
    agents = [server.new_agent(model=script.handle, tools=["weather"])["id"] for _ in range(2)]
    stop = threading.Event()

    def talk(agent: str) -> int:
        turns = 0
        while not stop.is_set():
            server.post(f"/v1/agents/{agent}/messages", {"messages": user("Go")})
            turns += 1
        return turns

    with ThreadPoolExecutor() as pool:
        talks = [pool.submit(talk, agent) for agent in agents]
        try:
            for _ in range(5):
                assert check(in_use(server))[1]["findings"] == []
        finally:
            stop.set()
        assert all(each.result() > 1 for each in talks)


def test_what_a_killed_server_left_is_no_fault(
    new_server: Callable[..., Server], models: ModelServer, script: Script, tmp_path: Path
) -> None:
    server, hold, mark = new_server(models.environment | KEY, tools=TOOLS).start(), Hold(), tmp_path / "began"
    talking, calling = (server.new_agent(model=script.handle, tools=["hang"])["id"] for _ in range(2))
    script.answer(text("Half"), hold)
    body = {"messages": user("Hi"), "stream_tokens": True}
    with server.stream(f"/v1/agents/{talking}/messages/stream", body) as stream:
        stream.until("assistant_message")
        server.post(f"/v1/agents/{talking}/messages/async", {"messages": user("And then?")})
        script.answer(call("hang", {"mark": str(mark)}))
        server.post(f"/v1/agents/{calling}/messages/async", {"messages": user("Go")})
        soon(mark.exists)
        server.kill()
    _, found = check(in_use(server))
    assert (found["findings"], found["unfinished_runs"]) == ([], 3)


# ---- the file itself


@pytest.mark.stores(SQLITE)
def test_an_index_that_lacks_rows_is_made_anew(broken: Place) -> None:
    file = Path(broken.environment["PERDURE_DATA"]) / "perdure.db"
    kept = "SELECT type, name, tbl_name, rootpage, sql FROM sqlite_master WHERE name = 'ix_messages_run'"
    with contextlib.closing(sqlite3.connect(file)) as conn, conn:
        row = conn.execute(kept).fetchone()
        conn.execute("PRAGMA writable_schema = ON")
        conn.execute("DELETE FROM sqlite_master WHERE name = 'ix_messages_run'")
    with contextlib.closing(sqlite3.connect(file)) as conn, conn:
        conn.execute("UPDATE messages SET run_id = 'elsewhere' WHERE run_id IS NOT NULL")
        conn.execute("PRAGMA writable_schema = ON")
        conn.execute("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", row)
    code, found = check(broken)
    assert (code, {each["check"] for each in found["findings"]}) == (NOT_WHOLE, {"file"})
    code, mended = check(broken, repair=True)
    assert code == 0, mended
    assert mended["findings"][0]["repaired"] == "made the indexes anew"


@pytest.mark.stores(SQLITE)
def test_a_file_that_is_damaged_is_named_and_not_made_worse(broken: Place) -> None:
    file = Path(broken.environment["PERDURE_DATA"]) / "perdure.db"
    whole = file.read_bytes()
    half = len(whole) // 2 // 4096 * 4096
    file.write_bytes(whole[:half] + b"\xff" * 40_960 + whole[half + 40_960 :])
    damaged = file.read_bytes()
    for flags in ((), ("--repair",)):
        done = perdure("check", *flags, **KEY, **broken.environment)
        assert done.returncode in (1, NOT_WHOLE), done
        assert "Traceback" not in done.stderr
        assert "backup" in done.stdout + done.stderr
        assert "whole again" not in done.stdout
    assert file.read_bytes() == damaged


@pytest.mark.stores(SQLITE)
def test_there_is_nothing_to_check(tmp_path: Path) -> None:
    done = perdure("check", "--data", str(tmp_path))
    assert done.returncode == 1
    assert "There is no data" in done.stderr
    assert list(tmp_path.iterdir()) == []
