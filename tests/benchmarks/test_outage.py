"""After an outage prices and accounts are live again soon, within the caps of the exchange."""

import pytest

from benchmarks.outage import Fails, Found, Outage, aims, cases, most_within, simulated, worst


def found(accounts: int, minutes: float, fails: Fails) -> Found:
    return simulated(Outage(accounts=accounts, minutes=minutes, fails=fails))


@pytest.mark.parametrize("fails", Fails)
@pytest.mark.parametrize(("accounts", "minutes"), [(10, 30), (31, 25)])
def test_prices_and_the_first_accounts_are_live_within_a_minute_of_the_exchange(
    accounts: int, minutes: float, fails: Fails
) -> None:
    seen = found(accounts, minutes, fails)

    assert seen.prices_s < 60
    assert seen.accounts_s[9] < 60
    assert seen.accounts_s[-1] < 60 + 66, "what 20 sign-ins a minute leave to the last of 31"
    assert most_within(seen.dials, 3600) <= 500, "though the exchange counted the refused ones, too"
    assert most_within(seen.sign_ins, 60) <= 20


def test_while_all_are_down_one_session_probes() -> None:
    seen = found(31, 25, Fails.REFUSES)

    an_hour = most_within(seen.dials, 3600)
    assert an_hour < 300, "31 sessions by themselves would dial 5,000 times"


def test_aims_are_of_the_worst_case() -> None:
    by_case = [worst(cases()[0])]

    assert aims(by_case)["prices_live_s"].measured == by_case[0]["prices_live_s"]
    assert aims(by_case)["prices_live_s"].met
