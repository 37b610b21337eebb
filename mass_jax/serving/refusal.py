"""Why a request is not answered, in OpenAI's form of an error."""

from typing import Any

from pydantic import ValidationError
from starlette.responses import JSONResponse, Response

SHOWN = 80
"""Characters that a sentence shows of what was given."""
KINDS = {401: "authentication_error", 429: "rate_limit_error"}
"""What OpenAI calls an error, by its status; those of the server are ``server_error``, others invalid requests."""
RETRY_AFTER = {429: "1", 503: "5"}
"""Seconds after which to ask again."""


class Refusal(Exception):  # noqa: N818 (of a request; nothing has failed)
    """A request is not answered; its message is a sentence that names the value, the limit and the way out.

    Attributes:
      status: of HTTP.
      param: the field that is at fault, or None.
      code: a short name of the fault, or None.
    """

    def __init__(self, status: int, message: str, param: str | None = None, code: str | None = None):
        super().__init__(message)
        self.status, self.param, self.code = status, param, code

    def as_json(self) -> dict[str, Any]:
        """What the body says."""
        kind = KINDS.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> Response:
        """The whole answer."""
        headers = {"Retry-After": RETRY_AFTER[self.status]} if self.status in RETRY_AFTER else {}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return JSONResponse(self.as_json(), self.status, headers)


def of_body(error: ValidationError) -> Refusal:
    """The first thing that is wrong with a body."""
    first = error.errors(include_url=False)[0]
    said = first["msg"].removeprefix("Value error, ").rstrip(".")
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "json_invalid":
        return Refusal(400, f"the body is no JSON: {said}. Give one object.", code="invalid_json")
    if first["type"] == "missing":
        return Refusal(400, f"{name} is missing: give it.", name)
    if first["type"] == "extra_forbidden":
        return Refusal(400, f"{name} is no field that this server knows: leave it out.", name, "unknown_field")
    return Refusal(400, f"{name or 'the body'} = {_short(first['input'])}: {said}.", name or None)


def _short(given: object) -> str:
    text = repr(given)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
