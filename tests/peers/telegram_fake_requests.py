"""What a request to the Bot API holds, in any of the ways in which it may be written."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, cast

from starlette.datastructures import UploadFile
from starlette.requests import Request

__all__ = ["ApiError", "Parameters", "Upload", "read_parameters"]


class ApiError(Exception):
    """An answer with `ok: false`."""

    def __init__(
        self, code: int, description: str, parameters: dict[str, Any] | None = None
    ) -> None:
        super().__init__(code, description)
        self.code = code
        self.description = description
        self.parameters = parameters

    @classmethod
    def bad(cls, what: str) -> ApiError:
        """A 400, in Telegram's words."""
        return cls(400, f"Bad Request: {what}")

    @classmethod
    def forbidden(cls, what: str) -> ApiError:
        """A 403, in Telegram's words."""
        return cls(403, f"Forbidden: {what}")


@dataclass(frozen=True, slots=True)
class Upload:
    """A file in a multipart request."""

    content: bytes
    name: str
    mime: str


@dataclass(slots=True)
class Parameters:
    """The fields of a request; numbers, truths and objects may be written as text."""

    fields: dict[str, Any]
    uploads: dict[str, Upload] = field(default_factory=dict[str, Upload])

    def text(self, name: str, default: str = "") -> str:
        value = self.fields.get(name)
        if value is None:
            return default
        return value if isinstance(value, str) else json.dumps(value)

    def number(self, name: str) -> int | None:
        value = self.fields.get(name)
        if value is None or value == "":
            return None
        try:
            return int(value)
        except (TypeError, ValueError):
            raise ApiError.bad(f'parameter "{name}" must be a valid Integer') from None

    def truth(self, name: str) -> bool:
        return str(self.fields.get(name, "")).lower() in ("true", "yes", "1")

    def parsed(self, name: str) -> Any:
        """An object or a list; None without it."""
        value = self.fields.get(name)
        if not isinstance(value, str):
            return value
        if not value:
            return None
        try:
            return json.loads(value)
        except ValueError:
            raise ApiError.bad(f"can't parse {name}: it is not JSON") from None

    def parsed_object(self, name: str) -> dict[str, Any]:
        """An object; an empty one without it."""
        return _object(self.parsed(name) or {}, name)

    def parsed_list(self, name: str) -> list[Any] | None:
        """A list; None without it."""
        value: object = self.parsed(name)
        if value is None:
            return None
        if not isinstance(value, list):
            raise ApiError.bad(f"can't parse {name}: expected an Array")
        return list(cast("Iterable[Any]", value))


def _object(value: object, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ApiError.bad(f"can't parse {name}: expected an Object")
    return cast("dict[str, Any]", value)


async def read_parameters(request: Request) -> Parameters:
    """Query and body of a request, whether JSON, a form or multipart."""
    parameters = Parameters(dict(request.query_params))
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        body = await request.body()
        try:
            loaded: object = json.loads(body) if body else {}
        except ValueError:
            raise ApiError.bad("can't parse JSON object") from None
        parameters.fields.update(_object(loaded, "the body"))
    elif kind in ("multipart/form-data", "application/x-www-form-urlencoded"):
        async with request.form(max_part_size=64 * 1024 * 1024) as form:
            for name, value in form.multi_items():
                if isinstance(value, UploadFile):
                    parameters.uploads[name] = Upload(
                        await value.read(),
                        value.filename or "file",
                        value.content_type or "application/octet-stream",
                    )
                else:
                    parameters.fields[name] = value
    return parameters
