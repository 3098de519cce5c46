# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Fixtures for every test: a real RabbitMQ, a real ActiveMQ, each started once by the worker that first asks for it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import settings

from support.brokers.activemq import ActiveMqNode, require_activemq
from support.brokers.rabbitmq import RabbitNode, require_rabbitmq
from support.forked_module import module_server
from support.hg.command_server import command_servers
from support.hg.forked_hg import fork_servers

#: Most tests wait for a broker, a limit or a process in more than half of their time.
WORKERS_PER_CORE = 3
#: A worker has a RabbitMQ and an ActiveMQ of its own.
WORKER_GIB = 1
#: A worker runs a file as a whole, so those of 20 s and more come first, the longest before the others (measured on
#: 2026-11-30): begun last, one of them would be waited for alone.
SLOWEST_FILES = (
    "faults/test_stream_through_faults.py",
    "brokers/test_time_limits.py",
    "faults/test_broker_away.py",
    "brokers/conformance/test_dead_letters_command.py",
    "webhooks/process/test_gateway_webhooks.py",
    "brokers/conformance/test_connection.py",
    "brokers/test_amqp_faults.py",
    "webhooks/visibility/test_gateway_at_bugzilla.py",
    "brokers/test_deploy_policies.py",
    "brokers/conformance/test_restart.py",
    "doctor/test_doctor_broker.py",
    "hghook/test_tree_status.py",
    "web/live/test_feed.py",
    "webhooks/page/test_hooks_in_browser.py",
    "web/test_gateway_bridge.py",
    "web/test_board_page_keys.py",
    "bugzilla_extension/test_sidecar.py",
    "doctor/test_doctor_hg_settings.py",
    "hghook/test_push_event.py",
    "faults/test_stopped_parts.py",
    "web/test_board_page_live.py",
    "bugzilla_extension/test_public_walk.py",
    "webhooks/page/test_hooks_page_looks.py",
    "hghook/test_relay_wake.py",
    "brokers/conformance/test_dead_letters.py",
    "brokers/test_queues.py",
    "web/test_end_to_end.py",
    "hghook/test_crash.py",
    "brokers/conformance/test_patterns.py",
    "web/live/test_live_reading.py",
    "buildbot_status/test_events_of_a_master.py",
    "shared/test_fenced_blocks.py",
    "webhooks/notices/test_notices_rabbitmq.py",
    "brokers/test_amqp_traps.py",
    "webhooks/send/test_sending.py",
    "hghook/test_files.py",
    "doctor/test_doctor_hg.py",
    "web/test_page_head.py",
    "brokers/test_stomp_traps.py",
    "web/test_board_page_real.py",
    "brokers/test_cut_subscriptions.py",
    "webhooks/send/test_storage.py",
    "buildbot_status/test_missed_messages.py",
    "web/test_gateway_guards.py",
    "shared/test_relay_service.py",
    "brokers/test_stomp_refused_messages.py",
    "webhooks/process/test_sender_child.py",
    "brokers/conformance/test_durable.py",
    "brokers/test_stomp_faults.py",
    "brokers/conformance/test_sharing.py",
    "hghook/test_compatibility.py",
    "doctor/test_doctor_outbox.py",
    "brokers/test_stomp_heartbeats.py",
    "buildbot_status/test_odd_masters.py",
    "brokers/conformance/test_silence.py",
    "hghook/test_strip.py",
    "shared/test_consumer_workers_rabbitmq.py",
    "buildbot_status/test_life_cycle.py",
)


def pytest_xdist_auto_num_workers() -> int:
    """Return the number of workers for `-n auto`: as many as the cores and the memory can serve."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    return max(1, min(WORKERS_PER_CORE * len(os.sched_getaffinity(0)), memory_gib // WORKER_GIB))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest."""
    order = {f"tests/{name}": place for place, name in enumerate(SLOWEST_FILES)}
    items.sort(key=lambda item: order.get(item.nodeid.partition("::")[0], len(order)))


def pytest_configure() -> None:
    """Pass Ctrl-C on to the programs that tests start, also where the tests themselves run in the background.

    No configuration file of this machine or user changes what a command does.
    """
    os.environ["SOURCEPULSE_CONFIG"] = ""
    # hypothesis fails an example that takes more than 200 ms, which on a loaded machine any may.
    settings.register_profile("without a stopwatch", deadline=None)
    settings.load_profile("without a stopwatch")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _loaded_hgs_end() -> Iterator[None]:
    yield
    command_servers().close()
    fork_servers().close()
    module_server().close()


@pytest.fixture(scope="session")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitNode]:
    """A started private node with the users of `support.brokers.rabbitmq`; leave it as it was found."""
    require_rabbitmq()
    # The base folder of a worker is its own, so that each has a node of its own.
    with closing(RabbitNode(tmp_path_factory.mktemp("rabbitmq"), management=True)) as node:
        node.start()
        yield node


@pytest.fixture(scope="session")
def activemq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ActiveMqNode]:
    """A started private broker with the users of `support.brokers.rabbitmq`; leave it as it was found."""
    require_activemq()
    with closing(ActiveMqNode(tmp_path_factory.mktemp("activemq"))) as node:
        node.start()
        yield node
