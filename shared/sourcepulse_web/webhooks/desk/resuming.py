# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What happens to the waits of a hook that its owner has tried at once."""

from __future__ import annotations

from dataclasses import replace

from sourcepulse_web.webhooks.hook import Standing, State
from sourcepulse_web.webhooks.send.judge import HOOK, ROW
from sourcepulse_web.webhooks.store.store import HookStore


def resume(store: HookStore, name: str, now: float) -> None:
    """Try all that waits at once; a hook that did not send begins again.

    Of one that is failing this is one more try: the refusals of each event go on being counted. Otherwise one who has
    it tried every few minutes would keep an event from ever being set aside.
    """
    if store.standing(name).state is State.ON:
        store.troubles.make_due(name, now, (HOOK, ROW))
    else:
        store.troubles.clear(name)
    store.update_standing(name, lambda was: _resumed(was, now))


def begin_again(store: HookStore, name: str) -> None:
    """Forget what failed, because the receiver is another one."""
    store.troubles.clear(name)
    store.update_standing(name, lambda was: replace(was, failing_since=None, next_at=None))


def _resumed(was: Standing, now: float) -> Standing:
    was = replace(was, failing_since=None, next_at=None)
    return was if was.state is State.ON else replace(was, state=State.ON, reason="", since=now)
