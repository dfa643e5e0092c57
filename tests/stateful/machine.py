"""The machine: what may happen in a story, step by step; after each step everything must hold."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from django.core.exceptions import ValidationError
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from accounts.gateway import client_for, live_view, redis_client
from accounts.models import Account, Installation
from accounts.switch import Switch
from automations import reconciling, tasks
from automations.models import AutoEntry, Automation, Execution, MarginGuard, TakeProfitStopLoss
from automations.models.kinds import Kind, find
from automations.reading import read
from automations.remembering import memory_of
from automations.triggers import Level
from exchange.config import Network
from exchange.market import Quote, Source
from exchange.money import UsdPerBtc
from exchange.position import CROSS, PositionId, PositionsSnapshot, Regime
from tests.automations.queues import waiting
from tests.stateful import hand
from tests.stateful.configurations import REST_S, Configured, configurations, exits, guards
from tests.stateful.looking import look, look_at_once
from tests.stateful.properties import ALWAYS
from tests.stateful.stage import DATA_MAX_AGE_S, Look, Person, Stage
from tests.stateful.trouble import NONE, Trouble, lost_answers, troubles

_any = st.integers(min_value=0, max_value=59)
"""Chooses one of however many there are."""
_MINUTES: Final = timedelta(seconds=2 * REST_S)
_LONG_AGO: Final = timedelta(seconds=2 * DATA_MAX_AGE_S)
_STOPS: Final = (hand.sets_a_close_stop, hand.sets_a_stop, hand.takes_the_stop_away)
_limits = st.fixed_dictionaries(
    {
        "reserve_sats": st.sampled_from([0, 840_000]),
        "budget_per_day_sats": st.sampled_from([None, 60_000, 250_000]),
        "commands_per_minute": st.sampled_from([60, 4]),
    }
)


class Platform(RuleBasedStateMachine):
    """Accounts, automations, prices, owners and faults on one paper exchange."""

    def __init__(self) -> None:
        super().__init__()
        self.stage = Stage().__enter__()
        self._named = 0

    def teardown(self) -> None:
        """Settle what is open, look at everything once more, and leave the stage empty."""
        try:
            self.what_was_left_open_is_settled_later()
            self.everything_holds()
        finally:
            self.stage.__exit__(None, None, None)

    @initialize(
        limits=st.tuples(_limits, _limits, _limits),
        some=st.lists(st.tuples(_any, configurations), min_size=2, max_size=6),
        guarded=st.tuples(guards(), guards()),
        exited=st.tuples(exits(), exits(), exits()),
    )
    def people_join(
        self,
        limits: tuple[dict[str, Any], ...],
        some: list[tuple[int, Configured]],
        guarded: tuple[Configured, ...],
        exited: tuple[Configured, ...],
    ) -> None:
        """Begin with a long, a short and a cross position each; one has guards, another exits."""
        for each in limits:
            person = self.stage.join(**each)
            hand.opens(person, side="buy", quantity=500, leverage=10)
            hand.opens(person, side="sell", quantity=500, leverage=10)
            hand.deposits(person, 40_000)
            hand.orders_cross(person, side="buy", quantity=300)
        configured = [*some, *((0, each) for each in guarded), *((1, each) for each in exited)]
        for who, what in configured:
            self.someone_configures(who, what)

    @rule(who=_any, configured=configurations)
    def someone_configures(self, who: int, configured: Configured) -> None:
        self._named += 1
        market = UsdPerBtc(self.stage.venue.price())
        try:
            configured.made(self._person(who).account, f"automation {self._named}", market)
        except ValidationError:
            return  # refused in the form, as what could never work is

    @rule(
        who=_any,
        side=st.sampled_from(["buy", "sell"]),
        quantity=st.sampled_from([300, 1000]),
        leverage=st.sampled_from([5, 10, 25]),
        cross=st.booleans(),
    )
    def an_owner_trades(
        self, who: int, side: str, quantity: int, leverage: int, *, cross: bool
    ) -> None:
        person = self._person(who)
        if cross:
            hand.orders_cross(person, side=side, quantity=quantity)
        else:
            hand.opens(person, side=side, quantity=quantity, leverage=leverage)

    @rule(who=_any, which=_any, touch=st.sampled_from(hand.TOUCHES))
    def an_owner_touches_a_position(self, who: int, which: int, touch: hand.Touch) -> None:
        person = self._person(who)
        touch(person, self._position(person, which))

    @rule(percent=st.sampled_from([-30, -6, -3, -1, 1, 3, 6, 30]), heard=st.booleans())
    def the_price_moves(self, percent: int, *, heard: bool) -> None:
        price = int(self.stage.venue.price()) * (100 + percent) // 100
        self._price(UsdPerBtc(Decimal(min(max(price, 20_000), 400_000))), heard=heard)

    @rule(which=_any, where=_any, trouble=troubles, heard=st.booleans())
    def a_level_is_reached(self, which: int, where: int, trouble: Trouble, *, heard: bool) -> None:
        self._look(which, where, trouble, aimed=True, heard=heard)

    @rule(which=_any, where=_any, trouble=troubles, after=troubles)
    def a_level_is_reached_again_after_a_rest(
        self, which: int, where: int, trouble: Trouble, after: Trouble
    ) -> None:
        self._look(which, where, trouble, aimed=True, heard=False)
        self.everything_holds()
        self.stage.later(_MINUTES)
        self._look(which, where, after, aimed=True, heard=True)

    @rule(which=_any, where=_any, trouble=troubles, touch=st.sampled_from(hand.TOUCHES))
    def an_owner_touches_what_an_automation_acted_on(
        self, which: int, where: int, trouble: Trouble, touch: hand.Touch
    ) -> None:
        looked = self._look(which, where, trouble, aimed=True, heard=False)
        if looked is None or looked.position_id is None:
            return
        self.everything_holds()
        touch(self.stage.person_with(looked.account_id), str(looked.position_id))
        self.stage.later(_MINUTES)
        self._look(which, where, NONE, aimed=True, heard=False)

    @rule(which=_any, where=_any, trouble=troubles)
    def a_guard_is_needed_again_and_again(self, which: int, where: int, trouble: Trouble) -> None:
        guards = list(MarginGuard.objects.order_by("id"))
        for each in (trouble, NONE, NONE, NONE) if guards else ():
            self._look_with(guards[which % len(guards)], where, each, aimed=True, heard=False)
            self.everything_holds()
            self.stage.later(_MINUTES)

    @rule(which=_any, where=_any, trouble=lost_answers)
    def an_answer_is_lost_and_settled_later(self, which: int, where: int, trouble: Trouble) -> None:
        self._look(which, where, trouble, aimed=True, heard=False)
        self.everything_holds()
        self.what_was_left_open_is_settled_later()

    @rule(which=_any, other=_any, where=_any, touch=st.sampled_from(_STOPS))
    def exits_are_moved(self, which: int, other: int, where: int, touch: hand.Touch) -> None:
        moving = list(TakeProfitStopLoss.objects.order_by("id"))
        for number in (which, other) if moving else ():
            automation = moving[number % len(moving)]
            person = self.stage.person_with(automation.account_id)
            touch(person, str(self._position_for(automation, person, where)))
            self._look_with(automation, where, NONE, aimed=True, heard=False)
            self.everything_holds()
            self.stage.later(_MINUTES)

    @rule(which=_any, where=_any, trouble=troubles)
    def a_worker_looks(self, which: int, where: int, trouble: Trouble) -> None:
        self._look(which, where, trouble, aimed=False, heard=False)

    @rule(which=_any, where=_any, times=st.integers(2, 4), heard=st.booleans())
    def one_message_comes_many_times_at_once(
        self, which: int, where: int, times: int, *, heard: bool
    ) -> None:
        automation = self._automation(which)
        if automation is None:
            return
        person = self.stage.person_with(automation.account_id)
        position_id = self._position_for(automation, person, where)
        self._aim(automation, position_id, where, heard=heard)
        look_at_once(self.stage, automation.pk, position_id, person=person, times=times)

    @rule(
        ill=_any,
        which=_any,
        where=_any,
        status=st.sampled_from([400, 400, 400, 504]),
        twice=st.booleans(),
    )
    def beat_sweeps(self, ill: int, which: int, where: int, status: int, *, twice: bool) -> None:
        """Sweep with the exchange out of order for one account, then anew; then let workers look."""
        automation = self._automation(which)
        if automation is None:
            return
        patient = self._person(ill)
        to_act_for = self.stage.person_with(automation.account_id)
        position_id = self._position_for(automation, to_act_for, where)
        self._aim(automation, position_id, where, heard=False)
        redis_client().flushdb()
        self.stage.venue.fault("status", status=status, account=patient.key, next=1000)
        self._sweep(patient.account.pk)
        self.stage.venue.clear_faults()
        messages = self._sweep(None)
        for automation_id, position_id in messages * (1 + twice):
            person = self.stage.person_with(_account_of(automation_id))
            look(self.stage, automation_id, position_id, person=person, trouble=NONE)

    @rule(what=st.sampled_from(["minutes", "a day", "funding", "reconcile"]))
    def time_passes(self, what: str) -> None:
        match what:
            case "minutes":
                self.stage.later(_MINUTES)
            case "a day":
                self.stage.later(timedelta(hours=25))
            case "funding":
                self.stage.venue.settle_funding()
                self.stage.everything_changed()
            case _:
                tasks.reconcile()

    @rule()
    def what_was_left_open_is_settled_later(self) -> None:
        self.stage.later(_MINUTES)
        reconciling.settle_all()
        assert not Execution.objects.unsettled().exists(), "what can be told by now is told"

    @rule(
        over=st.sampled_from(["all", "account", "automation"]),
        which=_any,
        where=_any,
        to=st.sampled_from([Switch.HALTED, Switch.REDUCE_ONLY]),
        trouble=troubles,
    )
    def a_switch_is_thrown_for_a_while(
        self, over: str, which: int, where: int, to: Switch, trouble: Trouble
    ) -> None:
        automation = self._automation(which)
        if automation is None:
            return
        match over:
            case "all":
                Installation.objects.update(switch=to)
            case "account":
                Account.objects.filter(pk=automation.account_id).update(switch=to)
            case _:
                Automation.objects.filter(pk=automation.pk).update(switch=to)
        self._look(which, where, trouble, aimed=True, heard=True)
        self.everything_holds()
        for table in (Installation.objects, Account.objects, Automation.objects):
            table.update(switch=Switch.ACTIVE)

    @rule(which=_any, does=st.sampled_from(["enable", "live", "shadow", "verify", "verify"]))
    def an_operator_acts(self, which: int, does: str) -> None:
        automation = self._automation(which)
        if does == "verify":
            Account.objects.update(verified_at=datetime.now(UTC), fault="")
        elif automation is not None:
            change = {"enabled": True} if does == "enable" else {"shadow": does == "shadow"}
            Automation.objects.filter(pk=automation.pk).update(**change)

    @rule()
    def redis_is_flushed(self) -> None:
        redis_client().flushdb()

    @rule(which=_any, where=_any, percent=st.sampled_from([-9, 9]))
    def a_worker_looks_while_the_stream_is_frozen(self, which: int, where: int, percent: int) -> None:
        """What it left in the live view is a price that is wrong by now, and no positions."""
        at = datetime.now(UTC) - _LONG_AGO
        price = UsdPerBtc(Decimal(int(self.stage.venue.price()) * (100 + percent) // 100))
        redis_client().flushdb()
        live_view().put_price(Network.PAPER, _quote(price, at))
        for person in self.stage.people:
            nothing = PositionsSnapshot(positions=(), at=at, source=Source.STREAM)
            live_view().put_positions(person.account.pk, nothing)
        self._look(which, where, NONE, aimed=False, heard=False)

    @invariant()
    def everything_holds(self) -> None:
        for property_ in ALWAYS:
            property_(self.stage)
        self.stage.begin_step()

    def _person(self, which: int) -> Person:
        return self.stage.people[which % len(self.stage.people)]

    def _automation(self, which: int) -> Kind | None:
        numbers = list(Automation.objects.order_by("id").values_list("pk", flat=True))
        return find(numbers[which % len(numbers)]) if numbers else None

    def _position(self, person: Person, which: int) -> str:
        positions = [*person.standing().trades, str(CROSS)]
        return positions[which % len(positions)]

    def _position_for(self, automation: Kind, person: Person, which: int) -> PositionId | None:
        if isinstance(automation, AutoEntry):
            return None
        standing = person.standing()
        if Regime(automation.regime) is Regime.CROSS:
            if not standing.cross["quantity"]:
                hand.orders_cross(person, side="buy" if which % 2 else "sell", quantity=200)
            return CROSS
        if not standing.trades:
            hand.opens(person, side="buy" if which % 2 else "sell", quantity=300, leverage=10)
        trades = list(person.standing().trades)
        return PositionId(trades[which % len(trades)] if trades else "gone")

    def _look(
        self, which: int, where: int, trouble: Trouble, *, aimed: bool, heard: bool
    ) -> Look | None:
        automation = self._automation(which)
        if automation is None:
            return None
        return self._look_with(automation, where, trouble, aimed=aimed, heard=heard)

    def _look_with(
        self, automation: Kind, where: int, trouble: Trouble, *, aimed: bool, heard: bool
    ) -> Look:
        person = self.stage.person_with(automation.account_id)
        position_id = self._position_for(automation, person, where)
        if aimed:
            person.account.mark_verified(datetime.now(UTC))
            self._aim(automation, position_id, where, heard=heard)
        return look(self.stage, automation.pk, position_id, person=person, trouble=trouble)

    def _aim(
        self, automation: Kind, position_id: PositionId | None, where: int, *, heard: bool
    ) -> None:
        """Move the price to where the automation begins to act."""
        level = self._level(automation, position_id, where)
        if level is not None and 20_000 <= level <= 400_000:
            self._price(level, heard=heard)

    def _level(self, automation: Kind, position_id: PositionId | None, where: int) -> UsdPerBtc | None:
        levels: tuple[Level, ...] = ()
        if isinstance(automation, AutoEntry):
            levels = automation.rule().levels()
        elif position_id is not None:
            seen = read(client_for(automation.account), Regime(automation.regime))
            position = seen.position(position_id)
            if position is not None:
                memory = memory_of(automation, position_id)
                levels = automation.rule(position_id).levels(position, memory)
        return levels[where % len(levels)].price if levels else None

    def _price(self, price: UsdPerBtc, *, heard: bool) -> None:
        self.stage.price_moves(str(price))
        if heard:
            live_view().put_price(Network.PAPER, _quote(price, datetime.now(UTC)))
        else:
            redis_client().flushdb()

    def _sweep(self, ill: int | None) -> list[tuple[int, PositionId | None]]:
        for sweep in (tasks.sweep_margin_guards, tasks.sweep_exits, tasks.sweep_entries):
            sweep()
        messages = [each for queue in ("urgent", "automation-execute") for each in waiting(queue)]
        redis_client().delete("urgent", "automation-execute")
        self.stage.messages += [message.raw for message in messages]
        due = [(message.arguments[0], message.arguments[1]) for message in messages]
        self.stage.swept.append((ill, set(due)))
        return due


def _account_of(automation_id: int) -> int:
    return Automation.objects.values_list("account_id", flat=True).get(pk=automation_id)


def _quote(price: UsdPerBtc, at: datetime) -> Quote:
    return Quote(price=price, at=at, time_ms=int(at.timestamp() * 1000), source=Source.STREAM)
