"""Leave a stream in the middle and read on from where you were; the run never noticed."""

import os

from letta_client import Letta

client = Letta(base_url=os.environ.get("LETTA_BASE_URL", "http://localhost:8283"))
agent = client.agents.create(memory_blocks=[{"label": "human", "value": "Name: unknown"}])

run_id, last = "", 0
with client.agents.messages.stream(
    agent.id, messages=[{"role": "user", "content": "My name is Ada."}], stream_tokens=True
) as stream:
    for chunk in stream:
        run_id, last = chunk.run_id, chunk.seq_id
        if last == 5:
            break
print(f"left run {run_id} after event {last}")

for chunk in client.runs.messages.stream(run_id, starting_after=last):
    print(getattr(chunk, "seq_id", None), chunk.message_type)
client.agents.delete(agent.id)
