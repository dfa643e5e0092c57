"""One session of the stream: who it is, what it hears, how it answers (API notes, 5.4)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from exchange.simulator import codec
from exchange.simulator.engine.account import Account
from exchange.simulator.settings import Limits
from exchange.simulator.stream import rpc, topics
from exchange.simulator.stream.authenticate import Authenticator
from exchange.simulator.stream.delivery import Listener
from exchange.simulator.stream.hub import Hub
from exchange.simulator.stream.rpc import RpcError
from exchange.simulator.windows import Windows

VERSION: Final = "1.0.0"
SHOWN_BUDGET: Final = 10
"""What `rateLimit.limit` says where no limit is set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """When a frame came: microseconds since the epoch, and seconds on a clock that never goes back."""

    epoch_us: int
    monotonic_s: float

    @property
    def epoch_ms(self) -> int:
        return self.epoch_us // 1000


_Method = Callable[[Mapping[str, object], Moment], object]


class Session:
    """Knows no socket: it gets texts and returns texts. Pushes go from the hub to its listener."""

    def __init__(
        self,
        *,
        ip: str,
        listener: Listener,
        hub: Hub,
        authenticator: Authenticator,
        limits: Limits | None,
        now_us: Callable[[], int],
    ) -> None:
        self._ip = ip
        self._listener = listener
        self._hub = hub
        self._authenticator = authenticator
        self._budget = Windows(limits.stream_messages) if limits else None
        self._shown_limit = limits.stream_messages.most if limits else SHOWN_BUDGET
        self._now_us = now_us
        self._topics: dict[str, None] = {}
        self.account: Account | None = None
        self._methods: Mapping[str, _Method] = {
            "hello": self._hello,
            "ping": self._ping,
            "time": self._time,
            "authenticate": self._authenticate,
            "whoami": self._whoami,
            "subscribe": self._subscribe,
            "unsubscribe": self._unsubscribe,
            "unsubscribeAll": self._unsubscribe_all,
        }

    def answer(self, text: str | bytes, moment: Moment) -> str:
        """Return the response frame to one frame of the client."""
        within = self._budget is None or self._budget.take("", moment.monotonic_s)
        frame_id: rpc.FrameId = None
        try:
            frame_id, value = rpc.parse(text)
            self._check_budget(moment, within=within)
            body: dict[str, object] = {"result": self._result(rpc.request_in(frame_id, value), moment)}
        except RpcError as error:
            body = error.body()
        out_us = self._now_us()
        return codec.encode(
            {
                "jsonrpc": "2.0",
                "id": frame_id,
                **body,
                "usIn": moment.epoch_us,
                "usOut": out_us,
                "usDiff": out_us - moment.epoch_us,
                "rateLimit": {"remaining": self._left(moment), "limit": self._shown_limit},
            }
        )

    def leave(self) -> None:
        """End every subscription."""
        for topic in list(self._topics):
            self._drop(topic)

    def end(self) -> None:
        """Leave everything: the connection is gone."""
        self.leave()
        self._hub.gone(self._listener)

    def _result(self, request: rpc.Request, moment: Moment) -> object:
        method = self._methods.get(request.method)
        if method is None:
            raise RpcError(rpc.METHOD_NOT_FOUND, f"Unknown method {request.method}")
        return method(request.params, moment)

    def _check_budget(self, moment: Moment, *, within: bool) -> None:
        if self._budget is not None and not within:
            wait_ms = int(self._budget.full_in_s("", moment.monotonic_s) * 1000) + 1
            raise RpcError(rpc.TOO_MANY_REQUESTS, "Too many messages", more={"retryAfterMs": wait_ms})

    def _left(self, moment: Moment) -> int:
        if self._budget is None:
            return self._shown_limit
        return self._budget.left("", moment.monotonic_s)

    def _hello(self, _params: Mapping[str, object], _moment: Moment) -> object:
        return {"version": VERSION}

    def _ping(self, _params: Mapping[str, object], _moment: Moment) -> object:
        return "pong"

    def _time(self, _params: Mapping[str, object], moment: Moment) -> object:
        return {"time": moment.epoch_ms}

    def _authenticate(self, params: Mapping[str, object], moment: Moment) -> object:
        account = self._authenticator.account(
            params, ip=self._ip, now_ms=moment.epoch_ms, now_s=moment.monotonic_s
        )
        if self.account is not account:
            for topic in set(self._topics) & set(topics.PRIVATE):
                self._drop(topic)
        self.account = account
        return {"authenticated": True, "permissions": sorted(account.scopes)}

    def _whoami(self, _params: Mapping[str, object], _moment: Moment) -> object:
        account = self._authenticated()
        return {
            "apiKey": account.identity.credentials.key,
            "userId": account.id,
            "permissions": sorted(account.scopes),
        }

    def _subscribe(self, params: Mapping[str, object], _moment: Moment) -> object:
        wanted = _topics_in(params)
        for topic in wanted:
            self._check_topic(topic)
        for topic in wanted:
            self._topics[topic] = None
            self._hub.join(self._listener, topic, self._audience(topic))
        return {"subscribed": wanted}

    def _unsubscribe(self, params: Mapping[str, object], _moment: Moment) -> object:
        unwanted = _topics_in(params)
        for topic in unwanted:
            self._drop(topic)
        return {"unsubscribed": unwanted}

    def _unsubscribe_all(self, _params: Mapping[str, object], _moment: Moment) -> object:
        dropped = list(self._topics)
        self.leave()
        return {"unsubscribed": dropped}

    def _authenticated(self) -> Account:
        if self.account is None:
            raise RpcError(rpc.UNAUTHORIZED, "Not authenticated")
        return self.account

    def _check_topic(self, topic: str) -> None:
        if topic in topics.PUBLIC:
            return
        scope = topics.PRIVATE.get(topic)
        if scope is None:
            raise RpcError(rpc.INVALID_PARAMS, f"Unknown topic {topic}")
        if scope not in self._authenticated().scopes:
            raise RpcError(rpc.FORBIDDEN, f"This key lacks the permission {scope}")

    def _drop(self, topic: str) -> None:
        self._topics.pop(topic, None)
        self._hub.leave(self._listener, topic, self._audience(topic))

    def _audience(self, topic: str) -> str | None:
        return self.account.id if self.account and topic in topics.PRIVATE else None


def _topics_in(params: Mapping[str, object]) -> list[str]:
    values = params.get("topics")
    if not isinstance(values, list) or not values or not all(isinstance(v, str) for v in values):
        raise RpcError(rpc.INVALID_PARAMS, "topics must be a list of at least one text")
    return list(dict.fromkeys(values))
