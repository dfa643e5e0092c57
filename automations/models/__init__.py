"""What people configure, what was done for them, and the journal of why."""

from automations.models.auto_entry import AutoEntry
from automations.models.automation import Automation, PositionAutomation
from automations.models.execution import Execution
from automations.models.exit_disarmed import ExitDisarmed
from automations.models.journal import JournalChain, JournalEntry
from automations.models.known_position import KnownPosition
from automations.models.margin_guard import GuardStep, MarginGuard, PositionThreshold, SpentStep
from automations.models.notification import Notification
from automations.models.quarantine import Quarantine
from automations.models.sharing import Lease, PlanChange, StreamProcess
from automations.models.take_profit_stop_loss import TakeProfitStopLoss

__all__ = [
    "AutoEntry",
    "Automation",
    "Execution",
    "ExitDisarmed",
    "GuardStep",
    "JournalChain",
    "JournalEntry",
    "KnownPosition",
    "Lease",
    "MarginGuard",
    "Notification",
    "PlanChange",
    "PositionAutomation",
    "PositionThreshold",
    "Quarantine",
    "SpentStep",
    "StreamProcess",
    "TakeProfitStopLoss",
]
