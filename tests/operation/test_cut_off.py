"""The way to the models is cut while agents talk: what was shown is kept, the error named, and all goes on after it."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from tests.contract.told import user
from tests.rig.answers import Hold, text
from tests.rig.http import Frame
from tests.rig.model import ModelServer
from tests.rig.proxy import Proxy
from tests.rig.server import Server

STREAMS = 5


def test_the_way_to_the_models_is_cut(new_server: Callable[..., Server], models: ModelServer) -> None:
    with Proxy(urlsplit(models.url).port or 0) as proxy:
        environment = {**models.environment, "OPENAI_BASE_URL": f"http://127.0.0.1:{proxy.port}/v1"}
        server = new_server(environment).start()
        scripts = [models.script() for _ in range(STREAMS)]
        holds = [Hold() for _ in range(STREAMS)]
        agents = [server.new_agent(model=script.handle)["id"] for script in scripts]

        talking = threading.Barrier(STREAMS + 1, timeout=30)

        def talk(agent: str, *, shown: bool = False) -> list[Frame]:
            body = {"messages": user("Hi"), "stream_tokens": True, "include_pings": False}
            with server.stream(f"/v1/agents/{agent}/messages/stream", body) as stream:
                if shown:
                    stream.until("assistant_message")
                    talking.wait()
                return stream.read()

        def assert_cut(frames: list[Frame], said: str) -> None:
            assert [frame.json["content"] for frame in frames if frame.kind == "assistant_message"] == [said] * bool(
                said
            )
            assert frames[-2].kind == "error_message"
            assert frames[-2].json["error_type"] == "llm_error"
            assert frames[-2].json["detail"]

        with ThreadPoolExecutor() as pool:
            for script, hold in zip(scripts, holds, strict=True):
                script.answer(text("Half"), hold)
            streams = [pool.submit(talk, agent, shown=True) for agent in agents]
            talking.wait()
            proxy.cut()
            for stream in streams:
                assert_cut(stream.result(30), "Half")
            assert_cut(talk(agents[0]), "")
            assert server.get("/v1/health/ready").status == 200
            proxy.mend()
        for script, agent in zip(scripts, agents, strict=True):
            script.say("Back.")
            assert [frame.json["content"] for frame in talk(agent) if frame.kind == "assistant_message"] == ["Back."]
        for hold in holds:
            hold.release()
        assert [script.violations for script in scripts] == [[]] * STREAMS
