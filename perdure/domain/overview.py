"""What fills an agent's context, counted part by part."""

import msgspec

from perdure.domain.messages import Message
from perdure.domain.tools import Tool


class Share(msgspec.Struct, frozen=True):
    """One part of a context: its text, and about how many tokens that is."""

    text: str
    tokens: int


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """A context as the next model call would find it. Together the shares, messages and tools are all of it.

    `system` is the prompt, `blocks`, `rules`, `directories` and `facts` are the other parts of the system message,
    `summary` stands for messages that left the context. `messages` are all that are in context, with the system message
    and the summary; `messages_tokens` counts those that are neither. `recalled` are all messages of the history,
    `archived` all passages of the agent's archives.
    """

    window: int
    system: Share
    blocks: Share
    rules: Share
    directories: Share
    facts: Share
    summary: Share
    tools: tuple[Tool, ...]
    tools_tokens: int
    messages: tuple[Message, ...]
    messages_tokens: int
    recalled: int
    archived: int = 0

    @property
    def tokens(self) -> int:
        """About how many tokens all of it is."""
        shares = (self.system, self.blocks, self.rules, self.directories, self.facts, self.summary)
        return sum(share.tokens for share in shares) + self.tools_tokens + self.messages_tokens
