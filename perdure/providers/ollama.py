"""The window that Ollama gives a model, which is its own to choose: what does not fit it cuts off without a word."""

from typing import Final

from perdure.domain.errors import ContextOverflow, ModelError
from perdure.domain.models import Model
from perdure.providers.http import Endpoint, HttpClient
from perdure.providers.listing import given_windows, root

SHARE: Final = 0.9
"""The share of the window that a prompt may take, so that something is left for the answer."""
_ELSEWHERE: Final = ("-cloud", ":cloud")
"""How the names of models end that Ollama's own servers run, in their whole window."""


async def check_room(http: HttpClient, endpoint: Endpoint, model: Model, tokens: int) -> int | None:
    """The window that the model has, where it is told. Raises ContextOverflow where a prompt of so many would be cut.

    A model that is not loaded is loaded, as the call that follows would: before that nobody knows its window.
    """
    if model.name.endswith(_ELSEWHERE):
        return None
    window = await _window(http, endpoint, model.name)
    if window is not None and tokens > window * SHARE:
        raise ContextOverflow(
            "llm_bad_request",
            f"Ollama runs {model.name} with a window of {window:,} tokens, and would cut a prompt of about {tokens:,} "
            "without a word. Set OLLAMA_CONTEXT_LENGTH where Ollama is started, or num_ctx in the model's Modelfile.",
            window,
        )
    return window


async def _window(http: HttpClient, endpoint: Endpoint, name: str) -> int | None:
    """The tokens it holds; None where this Ollama does not say."""
    try:
        running = await given_windows(http, endpoint)
        if name not in running:
            await http.post_json(endpoint, f"{root(endpoint)}/api/generate", {"model": name, "stream": False})
            running = await given_windows(http, endpoint)
    except ModelError:
        return None  # It has no such thing; or the call itself will say what is wrong.
    return running.get(name)
