"""`{{ NAME }}` and `{{ NAME | default }}` in how a server is reached, filled from an agent's secrets."""

import re
from collections.abc import Mapping
from typing import Final

from perdure.domain.errors import Invalid

_VARIABLE: Final = re.compile(r"\{\{\s*([A-Za-z_]\w*)\s*(?:\|([^{}]*))?\}\}", re.ASCII)


def is_template(text: str) -> bool:
    """Whether there is anything to fill."""
    return _VARIABLE.search(text) is not None


def fill(text: str, secrets: Mapping[str, str], where: str) -> str:
    """`text` with every variable's value. Raises Invalid for one that has neither value nor default.

    Values are not looked at again, so a secret that looks like a variable stays as it is.
    """

    def value(found: re.Match[str]) -> str:
        name, default = found[1], found[2]
        if name in secrets:
            return secrets[name]
        if default is None:
            raise Invalid(
                f"{where} needs {name}, which is not among the secrets of this agent. Add it to them, or give it a "
                f"default there: {{{{ {name} | default }}}}."
            )
        return default.strip()

    return _VARIABLE.sub(value, text)
