"""Text as the API takes it in: what no database stores is refused."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict


class Body(BaseModel):
    """Base of request bodies. Unknown fields are ignored, and a body is made ready when it is first read."""

    model_config = ConfigDict(extra="ignore", defer_build=True)


def check_text(text: str) -> str:
    """The text itself. Raises ValueError where it holds NUL or half of a surrogate pair."""
    if "\0" in text:
        raise ValueError("The character NUL cannot be stored. Leave it out.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"The text holds half of a surrogate pair at position {error.start}, which cannot be stored. Leave it out."
        ) from error
    return text


Text = Annotated[str, AfterValidator(check_text)]
