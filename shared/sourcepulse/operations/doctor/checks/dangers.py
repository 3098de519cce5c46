# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Ways past the rights at RabbitMQ, by which restricted events leak or others forge events; users are not looked at."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from sourcepulse.brokers.management.api import Management
from sourcepulse.errors import BrokerError, BrokerRefusedUsError, ConfigError
from sourcepulse.operations.broker_setup.flows import Flows
from sourcepulse.operations.doctor.finding import Finding, Job, unchecked, warning, well
from sourcepulse.operations.doctor.situation import Situation
from sourcepulse.operations.doctor.table import Words

LIMIT_SECONDS = 5.0
_ID = "SP311"


def jobs(situation: Situation) -> Iterator[Job]:
    """Yield a job for each virtual host, if the management API is set."""
    try:
        url = situation.config.management()
    except ConfigError:
        # The check of the clock names it.
        return
    urls = [place.url for place in situation.places.values()]
    vhosts = {each.vhost for each in urls if each.scheme != "file" and not each.scheme.endswith("+activemq")}
    if url is not None:
        for vhost in sorted(vhosts):
            api = Management(url, limit_s=LIMIT_SECONDS)
            yield Job(id=_ID, about=f"{vhost} at {api}", run=partial(_dangers, situation, api, vhost))


def _dangers(situation: Situation, api: Management, vhost: str) -> Iterator[Finding]:
    about = f"{vhost} at {api}"
    names = {key: situation.config.require(key) for key in ("exchange", "restricted_exchange")}
    flows = Flows(api, vhost, public=names["exchange"], restricted=names["restricted_exchange"])
    unseen: list[str] = []
    seen: list[str] = []
    is_well = True
    for part in flows.parts():
        word = part.__name__.replace("_", " ")
        try:
            for found in part():
                is_well = False
                about_it = f"{found.kind} {found.name}"
                yield warning(_ID, about_it, f"{about_it} {found.detail}", remove=Words(found.repair))
            seen.append(word)
        except BrokerRefusedUsError:
            unseen.append(word)
        except BrokerError as error:
            yield unchecked(_ID, about, str(error), counts=False)
            return
    if unseen:
        why = f"the login of management_url does not see {', '.join(unseen)}; `setup-broker --check` does"
        yield unchecked(_ID, about, why, counts=False)
    if is_well and seen:
        yield well(_ID, about, f"nothing gets past the rights by {', '.join(seen)}")


__all__ = ["jobs"]
