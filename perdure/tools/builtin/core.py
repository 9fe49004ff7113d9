"""Speaking through a tool, for agents whose voice it is."""

from typing import Final

from sqlalchemy import Connection

from perdure.tools.implementation import Arguments, ToolContext, Writes, define, parameters

SENT: Final = "Sent message successfully."


def _send_message(conn: Connection, context: ToolContext, arguments: Arguments) -> tuple[str, bool]:
    # The call itself is the message, and its arguments are stored with it.
    return SENT, False


SEND_MESSAGE: Final = define(
    "send_message",
    "letta_core",
    "Say something to the person you are talking with. Only what you send this way reaches them.",
    Writes(
        parameters(
            {"message": {"type": "string", "description": "What to say, in the words they should read."}},
            required=("message",),
        ),
        _send_message,
    ),
)
