"""The built-in offline model: a handful of rules that show what memory does, with no key, no network and no model.

provider    the Provider: one model, streamed a word at a time
reading     what a request holds: memory blocks, what was just said, what was already done about it
rules       what a sentence says or asks about the person
decide      what to do next: call a tool or speak
answers     the words for it
arguments   arguments for a tool it knows only by its schema
"""

from perdure.providers.offline.provider import OFFLINE_MODEL, OfflineProvider

__all__ = ["OFFLINE_MODEL", "OfflineProvider"]
