"""JSON-RPC 2.0 frames as the stream speaks them (API notes, 5.2, 5.3)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from exchange.simulator import codec

PARSE_ERROR: Final = (-32700, "PARSE_ERROR")
INVALID_REQUEST: Final = (-32600, "INVALID_REQUEST")
METHOD_NOT_FOUND: Final = (-32601, "METHOD_NOT_FOUND")
INVALID_PARAMS: Final = (-32602, "INVALID_PARAMS")
UNAUTHORIZED: Final = (-32401, "UNAUTHORIZED")
FORBIDDEN: Final = (-32403, "FORBIDDEN")
TOO_MANY_REQUESTS: Final = (-32429, "TOO_MANY_REQUESTS")

FrameId = str | int | None


class RpcError(Exception):
    """An error frame: code, application code, a sentence, and further fields of `data`."""

    def __init__(
        self, error: tuple[int, str], message: str, *, more: Mapping[str, object] | None = None
    ) -> None:
        super().__init__(message)
        self.code, self.name = error
        self.message = message
        self.more = more or {}

    def body(self) -> dict[str, object]:
        data = {"code": self.name, **self.more}
        return {"error": {"code": self.code, "message": self.message, "data": data}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    id: FrameId
    method: str
    params: Mapping[str, object]


def parse(text: str | bytes) -> tuple[FrameId, object]:
    """Return the id, as far as there is a usable one, and the raw value of a frame."""
    try:
        value = codec.decode(text)
    except ValueError:
        raise RpcError(PARSE_ERROR, "Frame is not valid JSON") from None
    raw_id = value.get("id") if isinstance(value, dict) else None
    usable = isinstance(raw_id, str | int) and not isinstance(raw_id, bool)
    return (raw_id if usable else None), value


def request_in(frame_id: FrameId, value: object) -> Request:
    """Return the request that a frame is; `RpcError` where it is none."""
    if not isinstance(value, dict) or value.get("jsonrpc") != "2.0" or frame_id is None:
        raise RpcError(INVALID_REQUEST, "Frame is not a JSON-RPC 2.0 request with an id")
    method, params = value.get("method"), value.get("params")
    if not isinstance(method, str):
        raise RpcError(INVALID_REQUEST, "method must be a text")
    if params is None:
        params = {}
    if not isinstance(params, dict):
        raise RpcError(INVALID_PARAMS, "params must be an object")
    return Request(id=frame_id, method=method, params=params)


def push(topic: str, data: Mapping[str, object]) -> str:
    """Return the text of a push."""
    params = {"topic": topic, "data": data}
    return codec.encode({"jsonrpc": "2.0", "method": "subscription", "params": params})
