"""The same as remember.py, with letta-client 0.1.x."""

import os

from letta_client import CreateBlock, Letta, MessageCreate, TextContent

client = Letta(base_url=os.environ.get("LETTA_BASE_URL", "http://localhost:8283"))
agent = client.agents.create(memory_blocks=[CreateBlock(label="human", value="Name: unknown")])

for said in ("My name is Ada.", "What is my name?"):
    print(f"> {said}")
    stream = client.agents.messages.create_stream(
        agent_id=agent.id,
        messages=[MessageCreate(role="user", content=[TextContent(text=said)])],
        stream_tokens=True,
    )
    for chunk in stream:
        if chunk.message_type == "assistant_message":
            print(chunk.content, end="", flush=True)
    print()

print("The human block now says:", client.agents.blocks.retrieve(agent_id=agent.id, block_label="human").value)
client.agents.delete(agent_id=agent.id)
