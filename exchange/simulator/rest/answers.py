"""What REST answers when it says no (API notes, 4.1, 4.2)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from exchange.simulator import codec


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One HTTP answer; the body is JSON text."""

    status: int
    body: str
    headers: Mapping[str, str] = field(default_factory=dict)


class ApiError(Exception):
    """A request that is answered with an error body of `message` and `code`."""

    def __init__(
        self, status: int, code: str, message: str, *, retry_after_s: int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s

    def answer(self) -> Answer:
        headers = {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}
        body = codec.encode({"message": self.message, "code": self.code})
        return Answer(status=self.status, body=body, headers=headers)


def bad_request(message: str) -> ApiError:
    return ApiError(400, "BAD_REQUEST", message)


def unauthorized(message: str) -> ApiError:
    return ApiError(401, "UNAUTHORIZED", message)


def forbidden(message: str) -> ApiError:
    return ApiError(403, "FORBIDDEN", message)


def not_found() -> ApiError:
    return ApiError(404, "NOT_FOUND", "Not found")


def too_many_requests() -> ApiError:
    return ApiError(429, "TOO_MANY_REQUESTS", "Too many requests", retry_after_s=1)


_BY_STATUS = {
    400: ("BAD_REQUEST", "Bad request"),
    401: ("UNAUTHORIZED", "Unauthorized"),
    403: ("FORBIDDEN", "Forbidden"),
    404: ("NOT_FOUND", "Not found"),
    429: ("TOO_MANY_REQUESTS", "Too many requests"),
    500: ("INTERNAL_SERVER_ERROR", "Internal server error"),
    502: ("BAD_GATEWAY", "Bad gateway"),
    503: ("SERVICE_UNAVAILABLE", "Trading engine is temporarily unavailable"),
    504: ("GATEWAY_TIMEOUT", "Gateway timeout"),
}


def with_status(status: int) -> Answer:
    """Return the usual error body of a status, for faults."""
    code, message = _BY_STATUS.get(status, ("ERROR", "Error"))
    retry_after_s = 1 if status == 429 else None
    return ApiError(status, code, message, retry_after_s=retry_after_s).answer()
