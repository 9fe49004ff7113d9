"""What is known of models by their names, for providers whose listings do not say."""

import re
from collections.abc import Sequence
from typing import Final

OPENAI_CHAT: Final = frozenset(
    {
        "chatgpt-4o-latest",
        "gpt-3.5-turbo",
        "gpt-4",
        "gpt-4-turbo",
        "gpt-4.1",
        "gpt-4.1-mini",
        "gpt-4.1-nano",
        "gpt-4o",
        "gpt-4o-mini",
        "gpt-5",
        "gpt-5-chat-latest",
        "gpt-5-mini",
        "gpt-5-nano",
        "gpt-5.1",
        "gpt-5.1-chat-latest",
        "gpt-5.2",
        "gpt-5.2-chat-latest",
        "gpt-5.4",
        "gpt-5.4-mini",
        "gpt-5.4-nano",
        "gpt-5.5",
        "gpt-5.6-luna",
        "gpt-5.6-sol",
        "gpt-5.6-terra",
        "gpt-6-astra",
        "gpt-6-luna",
        "gpt-6-sol",
        "gpt-6.1-sol",
        "gpt-6.1-terra",
        "gpt-6.2-astra",
        "gpt-6.2-sol",
        "o1",
        "o3",
        "o3-mini",
        "o4-mini",
    }
)
"""OpenAI's own chat models, without the dates that some names end in."""

_WINDOWS: Final = (
    # The beginning of a name, and tokens. The longest beginning that fits counts.
    ("chatgpt-4o", 128_000),
    ("claude", 200_000),
    ("claude-fable", 1_000_000),
    ("claude-haiku-5", 1_000_000),
    ("claude-mythos", 1_000_000),
    ("claude-opus-4-6", 1_000_000),
    ("claude-opus-4-7", 1_000_000),
    ("claude-opus-4-8", 1_000_000),
    ("claude-opus-5", 1_000_000),
    ("claude-sonnet-4-6", 1_000_000),
    ("claude-sonnet-5", 1_000_000),
    ("codestral", 32_768),
    ("deepseek", 128_000),
    ("gemini-", 1_048_576),
    ("gemma-3", 131_072),
    ("gemma3", 131_072),
    ("glm-4", 128_000),
    ("gpt-3.5", 16_385),
    ("gpt-4-turbo", 128_000),
    ("gpt-4.1", 1_047_576),
    ("gpt-4", 8_192),
    ("gpt-4o", 128_000),
    ("gpt-5", 400_000),
    ("gpt-5-chat", 128_000),
    ("gpt-5.1-chat", 128_000),
    ("gpt-5.2-chat", 128_000),
    ("gpt-5.4", 1_050_000),
    ("gpt-5.4-mini", 400_000),
    ("gpt-5.4-nano", 400_000),
    ("gpt-5.5", 1_050_000),
    ("gpt-5.6", 1_050_000),
    ("gpt-6", 1_050_000),
    ("gpt-oss", 131_072),
    ("grok-2", 131_072),
    ("grok-3", 131_072),
    ("grok-4", 256_000),
    ("grok-4-fast", 2_000_000),
    ("kimi-k2", 131_072),
    ("llama-3.1", 131_072),
    ("llama-3.2", 131_072),
    ("llama-3.3", 131_072),
    ("mistral-large", 131_072),
    ("mistral-small", 131_072),
    ("o1", 200_000),
    ("o3", 200_000),
    ("o4", 200_000),
)
_OUTPUTS: Final = (
    # The beginning of a name, and the tokens of the longest answer, where a request must say how long it may be.
    ("claude", 128_000),
    ("claude-3-", 4_096),
    ("claude-3-5", 8_192),
    ("claude-3-7", 64_000),
    ("claude-haiku-4", 64_000),
    ("claude-opus-4", 32_000),
    ("claude-opus-4-5", 64_000),
    ("claude-opus-4-6", 128_000),
    ("claude-opus-4-7", 128_000),
    ("claude-opus-4-8", 128_000),
    ("claude-sonnet-4", 64_000),
    ("claude-sonnet-4-6", 128_000),
)
OPENAI_DEFAULT_WINDOW: Final = 128_000
DEFAULT_WINDOW: Final = 32_768

_EMBEDDINGS: Final = (
    # The beginning of a name, floats in a vector, and tokens of text. The longest beginning that fits counts.
    ("all-minilm", 384, 256),
    ("bge-base", 768, 512),
    ("bge-large", 1024, 512),
    ("bge-m3", 1024, 8192),
    ("bge-small", 384, 512),
    ("e5-large", 1024, 512),
    ("embeddinggemma", 768, 2048),
    ("gemini-embedding-001", 3072, 2048),
    ("gemini-embedding-2", 3072, 8192),
    ("multilingual-e5-large", 1024, 512),
    ("mxbai-embed-large", 1024, 512),
    ("nomic-embed-text", 768, 2048),
    ("qwen3-embedding-0.6b", 1024, 32_768),
    ("text-embedding-004", 768, 2048),
    ("text-embedding-005", 768, 2048),
    ("text-embedding-3-large", 3072, 8191),
    ("text-embedding-3-small", 1536, 8191),
    ("text-embedding-ada-002", 1536, 8191),
    ("text-embedding-nomic-embed-text", 768, 2048),
    ("text-multilingual-embedding", 768, 2048),
)
DEFAULT_INPUT_TOKENS: Final = 8192

OPENAI_EMBEDDINGS: Final = ("text-embedding-3-small", "text-embedding-3-large", "text-embedding-ada-002")

_EMBEDDING: Final = re.compile(r"embed|(^|[/-])(bge|e5|gte|all-minilm)-")
_NOT_CHAT: Final = re.compile(
    r"whisper|(^|[/-])tts|dall-e|moderation|transcribe|realtime|rerank|-audio|gpt-image|sora|"
    r"instruct-\d{4}$|3\.5-turbo-instruct|davinci|babbage|computer-use|deep-research|search-preview|search-api"
)
_RESPONSES_ONLY: Final = re.compile(r"(^|/)(o\d|gpt-\d[\d.]*)-pro|codex")
_DATED: Final = re.compile(r"-\d{4}-\d{2}-\d{2}$")


def context_window(name: str, endpoint_type: str) -> int:
    """Tokens, judged by the longest known beginning of the name; for a stranger, what is usual at such an endpoint."""
    usual = OPENAI_DEFAULT_WINDOW if endpoint_type in ("openai", "azure") else DEFAULT_WINDOW
    return _longest(_base(name), _WINDOWS) or usual


def output_limit(name: str) -> int | None:
    """Tokens of the longest answer of a model whose requests must say how long it may be; None for a stranger."""
    return _longest(_base(name), _OUTPUTS)


def dimensions(name: str) -> int:
    """Floats in a vector of embedding model `name`; 0 where the model is not known."""
    return _longest(_base(name), [(start, floats) for start, floats, _ in _EMBEDDINGS]) or 0


def input_tokens(name: str) -> int:
    """Tokens of text that embedding model `name` takes; what many take where the model is not known."""
    return _longest(_base(name), [(start, most) for start, _, most in _EMBEDDINGS]) or DEFAULT_INPUT_TOKENS


def is_known_openai(name: str) -> bool:
    """Whether OpenAI itself is known to serve a chat model of this name."""
    return _DATED.sub("", name) in OPENAI_CHAT


def is_embedding(name: str) -> bool:
    """Whether the name is that of an embedding model."""
    return _EMBEDDING.search(name.lower()) is not None


def why_not_chat(name: str) -> str | None:
    """Why a model of this name cannot be talked to; None if it can, as far as is known."""
    return "not a chat model" if _NOT_CHAT.search(name.lower()) else None


def is_responses_only(name: str) -> bool:
    """Whether OpenAI serves a model of this name through its Responses API only."""
    return _RESPONSES_ONLY.search(name.lower()) is not None


def _base(name: str) -> str:
    """The name as the tables have it; clouds put places and vendors before Claude's (`us.anthropic.claude-…`)."""
    base = name.rpartition("/")[2].lower()
    return base[base.find("claude") :].replace(".", "-") if "claude" in base else base


def _longest(base: str, table: Sequence[tuple[str, int]]) -> int | None:
    return max(((len(start), value) for start, value in table if base.startswith(start)), default=(0, None))[1]
