"""An agent learns a fact in one request and knows it in the next."""

import os

from letta_client import Letta

client = Letta(base_url=os.environ.get("LETTA_BASE_URL", "http://localhost:8283"))
agent = client.agents.create(
    memory_blocks=[
        {"label": "human", "value": "Name: unknown"},
        {"label": "persona", "value": "I answer briefly."},
    ],
)

for said in ("My name is Ada.", "What is my name?"):
    print(f"> {said}")
    stream = client.agents.messages.stream(agent.id, messages=[{"role": "user", "content": said}], stream_tokens=True)
    for chunk in stream:
        if chunk.message_type == "assistant_message":
            print(chunk.content, end="", flush=True)
    print()

print("The human block now says:", client.agents.blocks.retrieve("human", agent_id=agent.id).value)
client.agents.delete(agent.id)
