"""Every fenced block of the documentation does what it says, run as it is printed."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.written import ADDRESS, BLOCKS, Block, environment, run, run_module
from tests.docs.written import python as python_of
from tests.rig import http
from tests.rig.install import CACHE
from tests.rig.process import Process
from tests.rig.sdks import OPENAI, PY1
from tests.rig.server import ROOT, Server

INSTALL_LIMIT = 900.0
"""Seconds a fresh installation may take."""

SHOWS = {
    'client.agents.blocks.retrieve("human"': "Ada",
    "for await (const chunk of stream)": "stop_reason",
    "messages/stream": "data: [DONE]",
    "What is my name?": "Ada",
}
"""What has to be in the output of blocks that hold these words."""


@pytest.mark.timeout(INSTALL_LIMIT)
@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_block_does_what_it_says(block: Block, newcomers_server: Server, tmp_path: Path) -> None:
    source = block.text.replace(ADDRESS, newcomers_server.base_url)
    match block.tag:
        case "python":
            (tmp_path / "block.py").write_text(source)
            output = run([python_of(OPENAI if "import OpenAI" in source else PY1), "block.py"], tmp_path)
        case "typescript":
            output = run_module(source)
        case "sh" if block.text == "make ci\n":
            # It runs these tests.
            output = (ROOT / ".ci" / "run").read_text()
            assert output.endswith(f"\n\n{block.text}")
        case "sh" if "-m venv" in block.text:
            output = in_a_fresh_clone(block, tmp_path)
        case "sh" if "perdure serve" in block.text:
            output = as_long_as_it_serves(block, tmp_path)
        case "sh":
            output = run(["bash", "-euo", "pipefail", "-c", source], tmp_path)
        case _:
            pytest.fail(f"{block} is neither python, typescript nor sh, so nothing runs it")
    for words, shown in SHOWS.items():
        assert words not in block.text or shown in output, output


def in_a_fresh_clone(block: Block, home: Path) -> str:
    """Runs the block in a copy of what is tracked, by somebody who has nothing else. It has to show a memory."""
    clone = home / "perdure"
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True
    )
    for name in listed.stdout.split("\0"):
        if not (ROOT / name).is_file():
            continue
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, clone / name)
    output = run(["bash", "-c", block.text], clone, INSTALL_LIMIT, PIP_CACHE_DIR=str(CACHE / "pip"))
    told, _, after_restart = output.partition("starting it afresh")
    assert "My name is Ada" in told
    assert "Ada" in after_restart.partition("answer")[2]
    assert "It remembers" in after_restart
    return output


def as_long_as_it_serves(block: Block, home: Path) -> str:
    """Runs a block that goes on until it is stopped, on a free port, until it has answered."""
    (home / ".venv").symlink_to(sys.prefix)
    free = environment(home, PERDURE_PORT="0", PYTHONPATH=str(ROOT))
    server = Process(["bash", "-c", f"cd '{home}' && exec {block.text}"], home / "log", free)
    try:
        url = server.line_with("Perdure listens on ").split()[-1]
        assert http.request("GET", f"{url}/v1/health/").status == 200
        assert server.stop() == 0
    finally:
        server.end()
    assert (home / ".perdure" / "perdure.db").is_file()
    return server.log


def test_what_blocks_ought_to_show_is_of_this_documentation() -> None:
    assert [words for words in SHOWS if not any(words in block.text for block in BLOCKS)] == []
    assert any("perdure demo" in block.text for block in BLOCKS)
    assert any("perdure serve" in block.text for block in BLOCKS)
    assert any(block.text == "make ci\n" for block in BLOCKS)
