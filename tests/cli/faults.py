"""What can be wrong with a database: done to it behind the server's back, and what `perdure check` makes of it."""

import contextlib
import sqlite3

from tests.rig.stores import Place, SqlitePlace

ONE = "(SELECT min(id) FROM agents)"
"""One of the agents."""
THREAD = f"(SELECT conversation_id FROM agents WHERE id = {ONE})"
RUN = "(SELECT run_id FROM run_events GROUP BY run_id ORDER BY max(last) DESC, run_id LIMIT 1)"
"""The run with most to say."""
SECOND = f"first = (SELECT min(first) FROM run_events WHERE first > 1 AND run_id = {RUN})"
"""The second of its stored batches."""


def seq_of(role: str, of: str = THREAD) -> str:
    """The number of a message of this role in a conversation."""
    return (
        "(SELECT max(messages.seq) FROM messages JOIN conversation_messages ON message_seq = messages.seq "
        f"WHERE role = '{role}' AND conversation_id = {of})"
    )


FAULTS: dict[str, tuple[str, str, str]] = {
    "an agent that is gone": ("orphans", f"DELETE FROM agents WHERE id = {ONE}", "deleted them"),
    "a message that is gone": ("orphans", f"DELETE FROM messages WHERE seq = {seq_of('user')}", "deleted them"),
    "a tenant that is gone": (
        "orphans", "UPDATE tenants SET id = 'org-00000000-0000-4000-8000-00000000000f'", "made the rows of tenants",
    ),
    "a message that cannot be read": (
        "messages", f"UPDATE messages SET parts = '[{{' WHERE seq = {seq_of('user')}", "put a text in its place",
    ),
    "a run that cannot be read": (
        "documents", f"UPDATE runs SET request = '{{' WHERE id = {RUN}", "deleted them",
    ),
    "a message that stands twice": (
        "messages",
        "INSERT INTO conversation_messages (conversation_id, position, message_seq, in_context) "
        f"SELECT conversation_id, position + 7, message_seq, in_context FROM conversation_messages "
        f"WHERE message_seq = {seq_of('user')} AND conversation_id = {THREAD}",
        "kept the first place",
    ),
    "an agent without its conversation": (
        "default_conversation", f"UPDATE agents SET conversation_id = 'conv-x' WHERE id = {ONE}", "its default",
    ),
    "a default conversation that does not say so": (
        "default_conversation", f"UPDATE conversations SET is_default = FALSE WHERE id = {THREAD}", "marked it",
    ),
    "two default conversations": (
        "default_conversation", "UPDATE conversations SET is_default = TRUE", "made them ordinary",
    ),
    "a context without its beginning": (
        "context",
        f"UPDATE conversation_messages SET in_context = FALSE WHERE message_seq = {seq_of('system')}",
        "compiled it anew",
    ),
    "a call that nothing answers": (
        "context", f"DELETE FROM conversation_messages WHERE message_seq = {seq_of('tool')}", "answered them",
    ),
    "returns of no call": (
        "context",
        "DELETE FROM conversation_messages WHERE message_seq = (SELECT min(seq) FROM messages "
        f"WHERE role = 'assistant' AND agent_id = {ONE})",
        "out of the context",
    ),
    "runs that work at once": (
        "runs",
        f"UPDATE runs SET status = 'running', completed_at = NULL, stop_reason = NULL WHERE agent_id = {ONE}",
        "ended all but the first",
    ),
    "a run that does not say when it ended": (
        "runs", f"UPDATE runs SET completed_at = NULL, stop_reason = NULL WHERE id = {RUN}", "recorded it as completed",
    ),
    "a run that ended and is running": ("runs", f"UPDATE runs SET status = 'running' WHERE id = {RUN}", "recorded it"),
    "a run without its conversation": (
        "runs", f"UPDATE runs SET conversation_id = 'conv-x' WHERE id = {RUN}", "deleted them",
    ),
    "an event log with a gap": (
        "event_log", f"DELETE FROM run_events WHERE run_id = {RUN} AND {SECOND}", "dropped it",
    ),
    "an event log without its end": (
        "event_log",
        f"DELETE FROM run_events WHERE run_id = {RUN} "
        f"AND first = (SELECT max(first) FROM run_events WHERE run_id = {RUN})",
        "added the end",
    ),
    "an event log that cannot be read": (
        "event_log", f"UPDATE run_events SET events = '[1]' WHERE run_id = {RUN}", "dropped it",
    ),
    "an event log that holds too little": (
        "event_log", f"UPDATE run_events SET events = '[]' WHERE run_id = {RUN} AND {SECOND}", "dropped it",
    ),
    "a link under another label": (
        "blocks",
        f"UPDATE agents_blocks SET label = 'odd' WHERE agent_id = {ONE} AND label = 'human'",
        "gave it the block's label",
    ),
    "a block without its history": ("blocks", "DELETE FROM block_history", "added it"),
    "passages that search does not know": ("search", "DELETE FROM passage_search", "indexed them anew"),
    "messages that search does not know": ("search", "DELETE FROM message_search", "indexed them anew"),
    "a message that search knows otherwise": (
        "search",
        f"UPDATE messages SET parts = '[{{\"type\":\"text\",\"text\":\"new\"}}]' WHERE seq = {seq_of('user')}",
        "indexed them anew",
    ),
}  # fmt: skip
"""What is done to a database; the check that finds it, the statement, and how it says what it did."""


def spoil(place: Place, statement: str) -> None:
    """Do to a database what its own rules forbid."""
    if isinstance(place, SqlitePlace):
        with contextlib.closing(sqlite3.connect(place.file, isolation_level=None)) as conn:
            conn.execute("DROP INDEX IF EXISTS uq_runs_running")
            conn.execute(statement.replace("TRUE", "1").replace("FALSE", "0"))
        return
    place.query("DROP INDEX IF EXISTS uq_runs_running")
    place.query(f"DO $body$ BEGIN SET LOCAL session_replication_role = replica; {statement}; END $body$")
