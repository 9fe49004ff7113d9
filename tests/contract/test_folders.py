"""Folders through both SDK generations, under their new name and their old one; jobs as 0.1.x follows them."""

from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

from perdure.domain.ids import example_id
from tests.contract.told import fresh_agent
from tests.operation.waiting import soon
from tests.rig.documents import multipart, pdf
from tests.rig.model import EMBEDDING, Script
from tests.rig.sdks import JS0, JS1, PY0, Client, Sdk, SdkError
from tests.rig.server import Server

FILE_TOOLS = {"open_files", "grep_files", "semantic_search_files"}
_numbers = count(1)


def name_of_its_own(word: str = "docs") -> str:
    """The shared server keeps what other tests made."""
    return f"{word} {next(_numbers)}"


def uploaded(server: Server, folder: str, name: str, content: bytes, query: str = "", kind: str = "") -> dict[str, Any]:
    """Uploads a file and waits until it is read."""
    body, headers = multipart(name, content, kind or "text/plain")
    reply = server.post(f"/v1/folders/{folder}/upload{query}", body=body, headers=headers)
    assert reply.status == 200, reply.text
    return read(server, folder, reply.json["id"])


def read(server: Server, folder: str, file: str) -> dict[str, Any]:
    """The file once it has been read, one way or the other."""

    def ended() -> dict[str, Any] | None:
        found = server.get(f"/v1/folders/{folder}/files/{file}?include_content=true").json
        return found if found["processing_status"] in ("completed", "error") else None

    return soon(ended)


def tool_names(agent: Any) -> set[str]:
    return {tool["name"] for tool in agent["tools"]}


def test_the_life_of_a_folder(py: Client, server: Server, script: Script) -> None:
    name = name_of_its_own()
    folder = py.one("create_folder", name=name, description="All about it", metadata={"kept": 1})
    assert folder.cls == "Folder"
    assert folder["embedding_config"]["embedding_model"] == "none"
    with pytest.raises(SdkError) as taken:
        py.one("create_folder", name=name)
    assert taken.value.status == 409
    changed = py.one("update_folder", folder_id=folder["id"], instructions="Read them all")
    assert (changed["description"], changed["instructions"]) == ("All about it", "Read them all")
    assert [each["id"] for each in py.all("list_folders", name=name)] == [folder["id"]]
    agent = fresh_agent(py, script)
    attached = py.one("attach_folder", agent_id=agent, folder_id=folder["id"])
    shown = server.get(f"/v1/agents/{agent}").json
    assert tool_names(shown) >= FILE_TOOLS
    assert [source["name"] for source in shown["sources"]] == [name]
    assert attached.fields is None or tool_names(attached.fields) >= FILE_TOOLS
    assert [each["id"] for each in py.all("list_agent_folders", agent_id=agent)] == [folder["id"]]
    assert [each.fields for each in py.all("list_folder_agents", folder_id=folder["id"])] == [agent]
    py.one("attach_folder", agent_id=agent, folder_id=folder["id"])
    second = py.one("create_folder", name=name_of_its_own())
    server.request("PATCH", f"/v1/agents/{agent}", {"folder_ids": [second["id"], folder["id"]]})
    py.one("detach_folder", agent_id=agent, folder_id=folder["id"])
    assert tool_names(server.get(f"/v1/agents/{agent}").json) >= FILE_TOOLS
    py.one("delete_folder", folder_id=second["id"])
    assert not tool_names(server.get(f"/v1/agents/{agent}").json) & FILE_TOOLS
    py.one("delete_folder", folder_id=folder["id"])
    with pytest.raises(SdkError) as gone:
        py.one("update_folder", folder_id=folder["id"], name="x")
    assert gone.value.status == 404


@pytest.mark.parametrize(("store", "sdk_name"), [("sqlite", JS0), ("sqlite", JS1)])
def test_the_node_sdks_have_folders(server: Server, sdk_name: str, sdks: Callable[[str], Sdk], script: Script) -> None:
    js, old, handle = sdks(sdk_name).at(server.base_url), sdk_name == JS0, f"openai/{EMBEDDING}"
    agent, name = fresh_agent(js, script), name_of_its_own()

    def done(path: str, *of: Any) -> list[Any]:
        return [each.fields for each in js.all("method", path=path, of=of)]

    def of_agent(path: str, own: str) -> list[Any]:
        return done(f"agents.{path}", *((agent, own) if old else (own, {"agent_id": agent})))

    def upload(content: bytes, **options: str) -> Any:
        return js.one("upload", folder_id=folder["id"], content=content.decode("latin-1"), **options)

    (folder,) = done("folders.create", {"name": name, "description": "All", "embedding": handle})
    listed = done("folders.list") if old else done("folders.list", {"name": name, "order": "asc"})
    assert [each["embedding_config"]["handle"] for each in listed if each["id"] == folder["id"]] == [handle]
    change = "folders.modify" if old else "folders.update"
    assert done(change, folder["id"], {"instructions": "Read."})[0]["instructions"] == "Read."
    of_agent("folders.attach", folder["id"])
    sent = upload(pdf(["Tea is hot."]), name="tee \N{HOT BEVERAGE}.pdf")
    assert read(server, folder["id"], sent["id"])["content"] == "Tea is hot."
    again = {"name": "tee \N{HOT BEVERAGE}.pdf", "duplicate_handling": "error"}
    with pytest.raises(SdkError) as taken:
        upload(b"x", **again)
    assert taken.value.status == 409
    assert upload(b"x", **again | {"duplicate_handling": "skip"})["id"] == sent["id"]
    (file,) = done("folders.files.list", folder["id"], {"limit": 5, "include_content": True})
    assert (file["file_name"], file["content"], file["total_chunks"], file["chunks_embedded"]) == (
        "tee \N{HOT BEVERAGE}.pdf", "Tea is hot.", 1, 1,
    )  # fmt: skip
    assert done("agents.files.closeAll", agent) == [f"{name}/{file['file_name']}"]
    assert of_agent("files.open", file["id"]) == []
    if not old:
        # The older one has no type for this answer, and drops it.
        assert [each["is_open"] for each in done("agents.files.list", agent, {"is_open": True})] == [True]
    of_agent("files.close", file["id"])
    assert [each["id"] for each in done("agents.folders.list", agent)] == [folder["id"]]
    assert done("folders.getAgentsForFolder" if old else "folders.agents.list", folder["id"]) == [agent]
    of_agent("folders.detach", folder["id"])
    done("folders.files.delete", *((folder["id"], file["id"]) if old else (file["id"], {"folder_id": folder["id"]})))
    assert done("folders.files.list", folder["id"]) == []
    done("folders.delete", folder["id"])
    assert server.get(f"/v1/folders/{folder['id']}").status == 404


def test_agents_are_made_with_folders_and_with_one_of_their_own(server: Server, script: Script) -> None:
    folder = server.post("/v1/folders/", {"name": name_of_its_own()}).json
    for field in ("folder_ids", "source_ids"):
        agent = server.new_agent(model=script.handle, **{field: [folder["id"]]})
        assert [source["id"] for source in agent["sources"]] == [folder["id"]]
        assert tool_names(agent) >= FILE_TOOLS
    named = name_of_its_own("Ada")
    agents = [server.new_agent(model=script.handle, name=named, include_default_source=True) for _ in range(2)]
    assert agents[0]["sources"][0]["name"] == f"{named} External Data Source"
    assert agents[1]["sources"][0]["name"].startswith(f"{named} External Data Source ")
    unknown = server.post("/v1/agents/", {"model": script.handle, "folder_ids": [example_id("source")]})
    assert unknown.status == 404


@pytest.mark.stores("sqlite")
def test_sources_are_folders_under_their_old_name(
    sdks: Callable[[str], Sdk], new_server: Callable[..., Server], script: Script
) -> None:
    server = new_server().start()
    py = sdks(PY0).at(server.base_url)
    source = py.one("create_source", name="old name", embedding=f"openai/{EMBEDDING}", embedding_chunk_size=100)
    assert source["embedding_config"]["embedding_chunk_size"] == 100
    assert py.one("find_source", name="old name").fields == source["id"]
    assert [each["name"] for each in py.all("list_folders")] == ["old name"]
    assert py.one("count_sources").fields == 1
    agent = fresh_agent(py, script)
    assert py.one("attach_source", agent_id=agent, source_id=source["id"])["sources"][0]["id"] == source["id"]
    sent = py.one("upload_to_source", source_id=source["id"], name="tea.md", content="Tea is hot. " * 200)
    assert sent.cls == "FileMetadata"
    assert sent["processing_status"] == "parsing"
    assert read(server, source["id"], sent["id"])["processing_status"] == "completed"
    assert py.one("retrieve_file", source_id=source["id"], file_id=sent["id"])["content"].startswith("Tea is hot.")
    total = py.one("sum_up_sources")
    assert (total["total_files"], total["total_size"]) == (1, 2400)
    assert total["sources"][0]["files"][0]["file_name"] == "tea.md"
    pieces = py.all("list_passages", source_id=source["id"])
    assert len(pieces) > 5
    assert {(each["file_id"], each["source_id"]) for each in pieces} == {(sent["id"], source["id"])}
    (job,) = py.all("list_jobs", source_id=source["id"])
    assert (job.cls, job["status"], job["metadata"]["file_id"]) == ("Job", "completed", sent["id"])
    assert py.all("list_active_jobs") == []
    assert py.one("retrieve_job", job_id=job["id"])["completed_at"]
    assert py.one("cancel_job", job_id=job["id"])["status"] == "completed"
    py.one("delete_job", job_id=job["id"])
    assert py.all("list_jobs") == []
    script.say("Hi.")
    run = py.one("create_async", agent_id=agent, messages=[{"role": "user", "content": "hi"}])["id"]
    assert py.one("retrieve_job", job_id=run)["job_type"] == "run"


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/v1/folders/", {"name": ""}, 422),
        ("POST", "/v1/folders/", {"name": 'a"><x'}, 422),
        ("POST", "/v1/folders/", {"name": "a\nb"}, 422),
        ("POST", "/v1/folders/", {"name": "x", "embedding": "openai/no-such"}, 404),
        ("GET", f"/v1/folders/{example_id('source')}", None, 404),
        ("GET", f"/v1/folders/{example_id('source')}/files", None, 404),
        ("GET", f"/v1/folders/{example_id('source')}/passages", None, 404),
        ("GET", f"/v1/folders/{example_id('source')}/agents", None, 404),
        ("GET", f"/v1/folders/{example_id('source')}/files/{example_id('file')}", None, 404),
        ("GET", "/v1/folders/name/nobody%20has%20it", None, 404),
        ("DELETE", f"/v1/folders/{example_id('source')}", None, 404),
        ("GET", "/v1/sources/source-1", None, 422),
        ("GET", f"/v1/jobs/{example_id('job')}", None, 404),
        ("PATCH", f"/v1/jobs/{example_id('job')}/cancel", None, 404),
        ("GET", f"/v1/jobs/{example_id('run')}", None, 404),
        ("PATCH", f"/v1/agents/{example_id('agent')}/files/close-all", None, 404),
        ("PATCH", f"/v1/agents/{example_id('agent')}/folders/attach/{example_id('source')}", None, 404),
    ],
)
@pytest.mark.stores("sqlite")
def test_what_is_wrong_or_missing(server: Server, method: str, path: str, body: Any, status: int) -> None:
    reply = server.request(method, path, body)
    assert reply.status == status, reply.text
    assert reply.json["detail"]
