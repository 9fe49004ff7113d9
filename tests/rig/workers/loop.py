"""The part both Python SDK workers share: commands come in as JSON lines, what the SDK made of the answers goes out.

A command is `{"id", "op", "url", "args"}`. Each thing the SDK yields is answered at once by `{"id", "item"}`, then
comes `{"id", "end"}`, or `{"id", "error"}` with the class, status and body of what was raised. This runs in an SDK's
own environment: only the standard library may be imported here.
"""

import datetime
import enum
import json
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

Operation = Callable[..., Iterable[Any]]


def serve(connect: Callable[[str], Any], operations: Mapping[str, Operation]) -> None:
    """Carries out commands from standard input until it closes. `connect` makes a client of a base URL, once each."""
    clients: dict[str, Any] = {}
    for line in sys.stdin:
        command = json.loads(line)
        url = command["url"]
        try:
            if url not in clients:
                clients[url] = connect(url)
            for item in operations[command["op"]](clients[url], **command["args"]):
                write(command, "item", described(item))
        except Exception as error:  # noqa: BLE001 whatever the SDK raises is the answer
            traceback.print_exc()
            write(command, "error", failure(error))
        else:
            write(command, "end", None)


def method(client: Any, path: str, of: Iterable[Any] = (), **fields: Any) -> Iterable[Any]:
    """Calls the method that lies at a dotted `path`, with these arguments."""
    for name in path.split("."):
        client = getattr(client, name)
    result = client(*of, **fields)
    return result if isinstance(result, list | Iterator) else [result]


def write(command: dict[str, Any], kind: str, value: Any) -> None:
    sys.stdout.write(json.dumps({"id": command["id"], kind: value}) + "\n")
    sys.stdout.flush()


def described(item: Any) -> dict[str, Any]:
    """The class an SDK decoded something into, what its attributes hold, and the classes of those that are objects."""
    fields = attributes(item)
    nested = {name: type(value).__name__ for name, value in fields.items() if is_model(value)}
    return {"class": type(item).__name__, "keys": list(fields), "fields": plain(item), "nested": nested}


def failure(error: Exception) -> dict[str, Any]:
    return {
        "class": type(error).__name__,
        "bases": [base.__name__ for base in type(error).__mro__],
        "status": getattr(error, "status_code", None),
        "body": plain(getattr(error, "body", None)),
        "text": str(error),
    }


def is_model(value: Any) -> bool:
    return hasattr(type(value), "model_fields")


def attributes(value: Any) -> dict[str, Any]:
    if not is_model(value):
        return {}
    return {**vars(value), **(value.__pydantic_extra__ or {})}


def plain(value: Any) -> Any:
    """The value in JSON's own types."""
    if is_model(value):
        return {name: plain(each) for name, each in attributes(value).items()}
    if isinstance(value, dict):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    return value if isinstance(value, str | int | float | bool | None) else repr(value)
