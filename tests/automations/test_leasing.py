"""Leases: one holder for an account whatever happens, even shares, and nothing after the fence."""

import random
from collections.abc import Callable
from datetime import timedelta

import psycopg2
import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, connection
from django.db.models import F
from django.utils import timezone

from accounts.models import Account
from automations.leasing import Fence, Leases, Terms
from automations.models import Lease, MarginGuard, StreamProcess
from exchange.auth import Credentials

pytestmark = pytest.mark.django_db(transaction=True)
TERMS = Terms(lease_s=6, heartbeat_s=2, margin_s=1)


class Clock:
    """A process's own clock."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def accounts(count: int) -> list[int]:
    owner, _ = User.objects.get_or_create(username="owner")
    made = []
    for number in range(count):
        account = Account(owner=owner, name=f"{number}", network="paper")
        account.set_credentials(Credentials(key=f"key {number}", secret="s", passphrase="p"))
        account.verified_at = timezone.now()
        account.save()
        MarginGuard.objects.create(enabled=True, account=account, name="guard")
        made.append(account.pk)
    return made


def process(clock: Callable[[], float] | None = None) -> Leases:
    leases = Leases(TERMS, clock=clock or Clock())
    assert leases.renew()
    return leases


def silence(leases: Leases) -> None:
    """Let the database believe that a process was not heard for as long as a lease."""
    past = F("alive_until") - timedelta(seconds=60)
    StreamProcess.objects.filter(pk=leases.process_id or 0).update(alive_until=past)


def held(leases: Leases) -> set[int]:
    return set(Lease.objects.filter(holder=leases.process_id).values_list("account_id", flat=True))


def test_a_lone_process_takes_everything_at_once() -> None:
    made = accounts(5)
    alone = process()
    alone.offer_all()
    alone.renew()

    assert alone.take() == alone.held == held(alone) == set(made)
    assert alone.take() == set()


def test_only_what_wants_watching_is_put_up() -> None:
    made = accounts(5)
    Account.objects.filter(pk=made[0]).update(is_active=False)
    Account.objects.filter(pk=made[1]).update(verified_at=None)
    MarginGuard.objects.filter(account=made[2]).update(enabled=False)
    alone = process()

    alone.offer(made[:4])
    assert set(Lease.objects.values_list("account_id", flat=True)) == {made[3]}
    alone.offer_all()
    assert set(Lease.objects.values_list("account_id", flat=True)) == set(made[3:])


def test_one_that_joins_gets_its_part_once_another_gives_it() -> None:
    accounts(5)
    first = process()
    first.offer_all()
    first.renew()
    first.take()
    second = process()
    first.renew()
    assert (first.share, first.surplus) == (3, 2)
    assert second.take() == set(), "nobody is robbed"

    first.release(sorted(first.held)[:2])
    second.renew()

    assert len(second.take()) == 2
    assert held(first) | held(second) == set(Lease.objects.values_list("account_id", flat=True))
    assert not first.take()


def test_what_a_dead_process_held_goes_to_others() -> None:
    accounts(4)
    dead = process()
    dead.offer_all()
    dead.renew()
    dead.take()
    other = process()
    assert other.take() == set()

    silence(dead)
    other.renew()

    assert len(other.take()) == 4
    assert not dead.renew(), "it hears that it is dead"
    assert dead.held == set()
    assert not dead.fence.stands
    assert dead.renew()
    assert dead.take() == set()


def test_a_late_process_that_nobody_missed_goes_on() -> None:
    accounts(2)
    late = process()
    late.offer_all()
    late.renew()
    late.take()
    silence(late)

    assert late.renew()

    assert held(late) == late.held
    assert len(late.held) == 2


def test_the_database_gives_nothing_to_a_process_that_has_ended() -> None:
    accounts(1)
    dead, other = process(), process()
    other.offer_all()
    dead.renew()
    silence(dead)
    other.renew()

    with pytest.raises(IntegrityError):
        dead.take()

    assert dead.held == set()


def test_one_that_leaves_gives_everything_up_at_once() -> None:
    accounts(3)
    first, second = process(), process()
    first.offer_all()
    first.renew()
    first.take()

    first.leave()

    assert not first.fence.stands
    second.renew()
    second.take()
    assert len(second.held) == 3
    assert StreamProcess.objects.count() == 1


def test_an_account_without_automations_is_taken_down_and_one_switched_on_since_is_not() -> None:
    made = accounts(2)
    alone = process()
    alone.offer_all()
    alone.renew()
    alone.take()
    MarginGuard.objects.filter(account=made[0]).update(enabled=False)

    alone.drop(made)

    assert alone.held == {made[1]}
    assert set(Lease.objects.values_list("account_id", flat=True)) == {made[1]}


def test_after_a_lost_answer_a_process_reads_what_it_holds() -> None:
    made = accounts(2)
    alone = process()
    alone.offer_all()
    Lease.objects.filter(account=made[0]).update(holder=alone.process_id)

    alone.check()

    assert alone.held == {made[0]}


def test_a_lease_that_another_is_just_taking_is_passed_over() -> None:
    made = accounts(3)
    alone = process()
    alone.offer_all()
    alone.renew()
    session = psycopg2.connect(**connection.get_connection_params())
    try:
        with session.cursor() as cursor:
            cursor.execute("SELECT FROM automations_lease WHERE account_id = %s FOR UPDATE", [made[0]])
        assert alone.take() == set(made[1:])
    finally:
        session.close()


def test_a_process_stops_before_its_lease_ends() -> None:
    clock = Clock()
    leases = process(clock)
    assert leases.fence.left_s == 5

    clock.now_s += 4.9
    assert leases.fence.stands
    clock.now_s += 0.2
    assert leases.fence.left_s == 0
    leases.renew()
    assert leases.fence.left_s == 5


def test_a_slow_answer_makes_the_fence_no_longer() -> None:
    clock = Clock()
    fence = Fence(5, clock=clock)
    asked_s = clock.now_s
    clock.now_s += 3

    fence.renew(asked_s)

    assert fence.left_s == 2


@pytest.mark.parametrize("seed", range(4))
def test_whatever_happens_no_account_has_two_holders(seed: int) -> None:
    """A few processes do anything in any order; each serves only what its fence and leases allow."""
    chance = random.Random(seed)  # noqa: S311 - a seeded test
    made = accounts(7)
    processes = [process() for _ in range(3)]
    for _ in range(120):
        one = chance.choice(processes)
        deed = chance.choice(DEEDS)
        deed(one, chance)
        served = [each for it in processes if it.fence.stands for each in it.held]
        assert len(served) == len(set(served)), f"no account is served twice, after {deed.__name__}"

    processes[0].offer_all()
    for _ in range(4):  # what one gives another takes
        for leases in processes:
            if not leases.renew():
                leases.renew()
            leases.release(sorted(leases.held)[: max(0, leases.surplus)])
            leases.take()
    assert sorted(each for it in processes for each in it.held) == made
    assert max(len(it.held) for it in processes) <= 3


def _renew(leases: Leases, _: random.Random) -> None:
    leases.renew()


def _take(leases: Leases, _: random.Random) -> None:
    if leases.process_id is None:
        return
    try:
        leases.take()
    except IntegrityError:
        assert not StreamProcess.objects.filter(pk=leases.process_id).exists()


def _release(leases: Leases, chance: random.Random) -> None:
    leases.release(chance.sample(sorted(leases.held), len(leases.held) // 2))


def _offer(leases: Leases, chance: random.Random) -> None:
    everyone = list(Account.objects.values_list("pk", flat=True))
    leases.offer(chance.sample(everyone, 3))


def _fall_silent(leases: Leases, _: random.Random) -> None:
    leases.fence.drop()  # its own clock passes the fence before the database's ends the lease
    silence(leases)


def _leave(leases: Leases, chance: random.Random) -> None:
    if chance.random() < 0.3:
        leases.leave()


DEEDS = (_renew, _renew, _take, _take, _release, _offer, _fall_silent, _leave)
