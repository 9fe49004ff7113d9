"""Files: sent, read, opened for agents, searched by them. Scenario 36 through both SDK generations."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.contract.test_folders import name_of_its_own, read, uploaded
from tests.contract.told import fresh_agent, user
from tests.contract.turns import of_type, turn
from tests.operation.waiting import soon
from tests.rig.answers import call
from tests.rig.documents import docx, multipart, paragraph, pdf
from tests.rig.model import EMBEDDING, Script
from tests.rig.sdks import Client
from tests.rig.server import Server

LINES = "\n".join(f"line {n} has a needle" for n in range(1, 61))


def folder_of(server: Server, **fields: Any) -> str:
    return server.post("/v1/folders/", {"name": name_of_its_own(), **fields}).json["id"]


def send(server: Server, folder: str, name: str, content: bytes, query: str = "", kind: str = "text/plain") -> Any:
    body, headers = multipart(name, content, kind)
    return server.post(f"/v1/folders/{folder}/upload{query}", body=body, headers=headers)


def system_of(server: Server, agent: str) -> str:
    return server.get(f"/v1/agents/{agent}/messages?limit=1&order=asc").json[0]["content"]


def opened(server: Server, agent: str) -> list[str]:
    files = server.get(f"/v1/agents/{agent}/files?order=asc").json["files"]
    return [file["file_name"].partition("/")[2] for file in files if file["is_open"]]


def returned(items: list[Any]) -> list[str]:
    return [item["tool_return"] for item in of_type(items, "tool_return_message")]


def test_scenario_36(py: Client, server: Server, script: Script) -> None:
    """Upload a folder file -> completed; open_files shows it in the system message; grep pages."""
    name = name_of_its_own()
    folder = py.one("create_folder", name=name, instructions="Quote line numbers.")["id"]
    agent = fresh_agent(py, script)
    py.one("attach_folder", agent_id=agent, folder_id=folder)
    sent = py.one("upload", folder_id=folder, name="report.pdf", content=pdf(["The answer is 42."]).decode("latin-1"))
    assert sent["processing_status"] in ("parsing", "embedding", "completed")
    done = read(server, folder, sent["id"])
    assert (done["processing_status"], done["content"]) == ("completed", "The answer is 42.")
    py.one("upload", folder_id=folder, name="data.csv", content=LINES)
    ids = {file["file_name"]: file["id"] for file in py.all("list_files", folder_id=folder)}
    read(server, folder, ids["data.csv"])
    assert {file["file_name"] for file in py.all("list_agent_files", agent_id=agent)} == {
        f"{name}/report.pdf", f"{name}/data.csv",
    }  # fmt: skip
    assert {each.fields for each in py.all("close_all_files", agent_id=agent)} == {
        f"{name}/report.pdf", f"{name}/data.csv",
    }  # fmt: skip
    assert "1: The answer is 42." not in system_of(server, agent)

    script.answer(call("open_files", {"file_requests": [{"file_name": f"{name}/report.pdf"}]}))
    script.answer(call("grep_files", {"pattern": "NEEDLE", "context_lines": 0}))
    script.answer(call("grep_files", {"pattern": "needle", "offset": 40, "include": "*.csv"}))
    script.say("It is 42.")
    first, *pages = returned(turn(py, agent, "What is the answer?"))
    assert f"* Opened {name}/report.pdf, lines 1 to 1" in first
    assert "Matches 1 to 20 of 60" in pages[0]
    assert "Use offset=20" in pages[0]
    assert "> 60: line 60 has a needle" in pages[1]
    assert f'<file status="closed" name="{name}/report.pdf">' in script.asked[0].system
    seen = script.asked[1].system
    assert f'<file status="open" name="{name}/report.pdf">' in seen
    assert "[Viewing all of the file: lines 1 to 1]\n1: The answer is 42." in seen
    assert "Quote line numbers." in seen
    assert seen == system_of(server, agent)
    py.one("close_file", agent_id=agent, file_id=sent["id"])
    assert "1: The answer is 42." not in system_of(server, agent)
    assert [each.fields for each in py.all("open_file", agent_id=agent, file_id=ids["data.csv"])] == []
    assert [file["file_id"] for file in py.all("list_agent_files", agent_id=agent, is_open=True)] == [ids["data.csv"]]
    py.one("delete_file", folder_id=folder, file_id=sent["id"])
    assert "report.pdf" not in system_of(server, agent)


def test_files_are_closed_where_others_need_the_room(server: Server, script: Script) -> None:
    folder = folder_of(server)
    names = ("a.txt", "b.txt", "c.txt")
    files = {name: uploaded(server, folder, name, f"Text of {name}.".encode())["id"] for name in names}
    agent = server.new_agent(
        model=script.handle, folder_ids=[folder], max_files_open=2, per_file_view_window_char_limit=60
    )["id"]
    path = f"/v1/agents/{agent}"
    assert opened(server, agent) == ["b.txt", "c.txt"]
    (closed,) = server.request("PATCH", f"{path}/files/{files['a.txt']}/open").json
    assert closed.endswith("/b.txt")
    assert opened(server, agent) == ["a.txt", "c.txt"]
    uploaded(server, folder, "d.py", b"x = 1  # a line of code\n" * 100)
    assert opened(server, agent) == ["a.txt", "d.py"]
    assert "Cut here: no more than 60 characters" in system_of(server, agent)
    assert "3: x = 1" not in system_of(server, agent)
    context = server.get(f"{path}/context").json
    assert context["directories"] in context["messages"][0]["content"][0]["text"]
    assert context["num_tokens_directories"] > 50
    names = [f"{server.get(f'/v1/folders/{folder}').json['name']}/{name}" for name in ("a.txt", "b.txt", "d.py")]
    wanted = [{"file_name": name} for name in names]
    script.answer(call("open_files", {"file_requests": wanted}))
    script.answer(
        call(
            "open_files",
            {"file_requests": [{"file_name": names[2], "offset": 50, "length": 2}], "close_all_others": True},
        )
    )
    script.answer(call("open_files", {"file_requests": [{"file_name": names[2], "offset": 1000}]}))
    script.answer(call("open_files", {"file_requests": [{"file_name": "no/such"}]}))
    script.say("Done.")
    said = server.post(f"{path}/messages", {"messages": user("Open them.")}).json["messages"]
    over, moved, past, unknown = [item["tool_return"] for item in said if item["message_type"] == "tool_return_message"]
    assert "At most 2 files" in over
    assert "lines 51 to 52" in moved
    assert "offset from 0 to 99" in past
    assert "no file 'no/such'" in unknown
    assert opened(server, agent) == ["d.py"]
    assert server.request("PATCH", path, {"max_files_open": 1, "per_file_view_window_char_limit": 10}).status == 200
    assert "max_files_open=1" in system_of(server, agent)


def test_other_agent_types_are_told_names_in_tags(server: Server, script: Script) -> None:
    folder = folder_of(server, name="within (tags)" + name_of_its_own(""))
    uploaded(server, folder, "a.txt", b"Hello.")
    agent = server.new_agent(model=script.handle, agent_type="workflow_agent", folder_ids=[folder])["id"]
    assert re.search(r'<file status="open">\n<label>within \(tags\).*/a.txt</label>', system_of(server, agent))


def test_a_name_that_is_taken(server: Server) -> None:
    folder = folder_of(server)
    first = uploaded(server, folder, "a.txt", b"one")
    assert send(server, folder, "a.txt", b"two", "?duplicate_handling=skip").json["id"] == first["id"]
    refused = send(server, folder, "a.txt", b"two", "?duplicate_handling=error")
    assert refused.status == 409
    assert "duplicate_handling=replace" in refused.json["detail"]
    assert [uploaded(server, folder, "a.txt", b"x")["file_name"] for _ in range(2)] == ["a_(1).txt", "a_(2).txt"]
    replaced = uploaded(server, folder, "a.txt", b"three", "?duplicate_handling=replace")
    assert (replaced["file_name"], replaced["content"]) == ("a.txt", "three")
    assert replaced["id"] != first["id"]
    assert server.get(f"/v1/folders/{folder}/files/{first['id']}").status == 404
    renamed = uploaded(server, folder, "a.txt", b"four", "?name=b.md")
    assert (renamed["file_name"], renamed["original_file_name"]) == ("b.md", "b.md")


@pytest.mark.stores("sqlite")
def test_names_that_mean_harm_and_files_that_cannot_be_taken(server: Server, new_server: Callable[..., Server]) -> None:
    folder = folder_of(server)
    for sent, kept in (
        ("../../../etc/passwd.txt", "passwd.txt"),
        ("..\\\\x.md", "x.md"),
        ("</value>.txt", "value_.txt"),
    ):
        assert uploaded(server, folder, sent, b"x")["file_name"] == kept
    assert send(server, folder, "../..", b"x").status == 422
    for name, kind in (("a.exe", "application/octet-stream"), ("a.png", "image/png"), ("noend", "")):
        refused = send(server, folder, name, b"MZ", kind=kind)
        assert refused.status == 415
        assert "DOCX" in refused.json["detail"]
    assert server.post(f"/v1/folders/{folder}/upload", {"file": "x"}).status == 422
    small = new_server({"PERDURE_MAX_FILE": "2MiB"}).start()
    folder = small.post("/v1/folders/", {"name": "small"}).json["id"]
    refused = send(small, folder, "big.txt", b"x" * (3 << 20))
    assert refused.status == 413
    assert "PERDURE_MAX_FILE" in refused.json["detail"]
    assert small.get(f"/v1/folders/{folder}/files").json == []
    assert uploaded(small, folder, "fits.txt", b"x" * (2 << 20))["total_chunks"] == 1024


def test_a_document_that_cannot_be_read_says_why(server: Server, script: Script) -> None:
    folder = folder_of(server)
    agent = server.new_agent(model=script.handle, folder_ids=[folder])["id"]
    bad = uploaded(server, folder, "bad.docx", b"no zip")
    assert bad["processing_status"] == "error"
    assert "damaged" in bad["error_message"]
    assert server.get(f"/v1/jobs/?source_id={folder}").json[0]["metadata"]["error"] == bad["error_message"]
    refused = server.request("PATCH", f"/v1/agents/{agent}/files/{bad['id']}/open")
    assert refused.status == 409
    good = uploaded(server, folder, "good.docx", docx(paragraph("All is well.")))
    assert (good["processing_status"], good["content"]) == ("completed", "All is well.")
    assert opened(server, agent) == ["good.docx"]


def test_files_come_in_pages(py: Client, server: Server, script: Script) -> None:
    folder = folder_of(server)
    for n in range(5):
        uploaded(server, folder, f"{n}.txt", b"x")
    agent = server.new_agent(model=script.handle, folder_ids=[folder])["id"]
    assert len(py.all("list_files", folder_id=folder, limit=2)) in (2, 5)
    page = server.get(f"/v1/agents/{agent}/files?limit=2&order=asc").json
    assert page["has_more"]
    rest = server.get(f"/v1/agents/{agent}/files?limit=10&order=asc&cursor={page['next_cursor']}").json
    names = [file["file_name"].rpartition("/")[2] for file in (*page["files"], *rest["files"])]
    assert names == [f"{n}.txt" for n in range(5)]
    assert (rest["has_more"], rest["next_cursor"]) == (False, None)
    assert server.request("PATCH", f"/v1/agents/{agent}/files?limit=2&order=asc").json == page
    assert {file["file_id"] for file in py.all("list_agent_files", agent_id=agent, limit=5)} == {
        file["file_id"] for file in (*page["files"], *rest["files"])
    }


def test_a_file_and_its_job_can_be_given_up(server: Server) -> None:
    folder = folder_of(server, embedding=f"openai/{EMBEDDING}")
    slow = send(server, folder, "slow.txt", b"Words and words. " * 100_000).json["id"]
    (job,) = server.get(f"/v1/jobs/active?source_id={folder}").json
    assert server.request("PATCH", f"/v1/jobs/{job['id']}/cancel").json["status"] == "cancelled"
    cancelled = read(server, folder, slow)
    assert (cancelled["processing_status"], cancelled["error_message"]) == ("error", "It was cancelled.")
    again = send(server, folder, "slow.txt", b"Words and words. " * 100_000, "?duplicate_handling=replace").json["id"]
    assert server.request("DELETE", f"/v1/folders/{folder}/{again}").status == 204
    assert server.get(f"/v1/folders/{folder}/files").json == []
    assert soon(lambda: server.get(f"/v1/jobs/active?source_id={folder}").json == [])
    assert uploaded(server, folder, "next.txt", b"Next.")["processing_status"] == "completed"


def test_a_folder_that_gets_another_model_has_its_files_embedded_anew(server: Server, py1: Client) -> None:
    folder = folder_of(server)
    uploaded(server, folder, "tale.txt", b"Words and more words. " * 500)
    config = {"handle": f"openai/{EMBEDDING}", "embedding_model": EMBEDDING, "embedding_dim": 1536,
              "embedding_endpoint_type": "openai"}  # fmt: skip
    changed = py1.one("update_folder", folder_id=folder, embedding_config=config)
    assert changed["embedding_config"]["handle"] == config["handle"]

    def done() -> list[Any]:
        jobs = server.get(f"/v1/jobs/?source_id={folder}").json
        return [
            each for each in jobs if each["metadata"]["type"] == "folder_embedding" and each["status"] == "completed"
        ]

    (job,) = soon(done)
    chunks = len(server.get(f"/v1/folders/{folder}/passages?limit=1000").json)
    assert (job["metadata"]["embedded"], job["metadata"]["left"], chunks > 1) == (chunks, 0, True)


def test_files_are_searched_by_words_and_by_meaning(server: Server, script: Script) -> None:
    by_words, by_meaning = folder_of(server), folder_of(server, embedding=f"openai/{EMBEDDING}")
    tale = "\n\n".join(f"Chapter {n}. " + f"The weather was fair on day {n}. " * 60 for n in range(20))
    uploaded(server, by_words, "tale.md", f"{tale}\n\nThe treasure lies under the old oak.".encode())
    uploaded(server, by_meaning, "facts.txt", b"Oaks grow old. Gold was buried in the garden.")
    uploaded(server, folder_of(server), "other.txt", b"The treasure lies somewhere else altogether.")
    agent = server.new_agent(model=script.handle, folder_ids=[by_words, by_meaning])["id"]
    script.answer(call("semantic_search_files", {"query": "Where does the treasure lie?", "limit": 2}))
    script.answer(call("semantic_search_files", {"query": "gold garden", "limit": 3}))
    script.answer(call("semantic_search_files", {"query": "", "limit": 51}))
    script.answer(call("semantic_search_files", {"query": '" OR * NEAR('}))
    script.say("Under the oak.")
    said = server.post(f"/v1/agents/{agent}/messages", {"messages": user("Where is it?")}).json["messages"]
    found, gold, limit, odd = [item["tool_return"] for item in said if item["message_type"] == "tool_return_message"]
    assert found.startswith("Found ")
    assert "The treasure lies under the old oak." in found.partition("/facts.txt")[0]
    assert "somewhere else" not in found
    assert "/facts.txt:\nOaks grow old." in gold
    assert "1 to 50" in limit
    assert odd
