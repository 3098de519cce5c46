# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""How the private ActiveMQ broker of the tests is configured: users, rights, connectors, limits, keys."""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, load_pem_private_key, pkcs12

from support.brokers.messages import SMALL_MESSAGE_BYTES
from support.brokers.rabbitmq import ADMIN, KEEPER, NARROW, READER, RELAY

USERS = (ADMIN, RELAY, READER, KEEPER, NARROW)

STORE_LIMIT_BYTES = 1_000_000_000
#: How far a consumer of a topic without a queue may lag behind before its oldest messages are dropped.
PENDING_LIMIT = 1_000
#: How often a standby looks whether the store has become free.
LOCK_POLL_MS = 200

#: Who may read, write and create; each user is a group of its own, and the keeper is a reader too. The entries of
#: a name add up: one for `sourcepulse.hg` takes nothing away from `sourcepulse`.
RIGHTS = (
    ("topic", ">", "admin", "admin", "admin"),
    ("queue", ">", "admin", "admin", "admin"),
    ("topic", "VirtualTopic.sourcepulse.>", "reader", "relay", "relay,reader"),
    ("topic", "VirtualTopic.sourcepulse.hg.>", "", "narrow", "narrow"),
    ("queue", "Consumer.*.VirtualTopic.sourcepulse.>", "reader", "", "reader"),
    ("queue", "Consumer.*.dead", "keeper", "keeper", "keeper"),
    ("queue", "sub.>", "reader", "reader", "reader"),
    ("topic", "ActiveMQ.Advisory.>", "relay,reader,narrow", "relay,reader,narrow", "relay,reader,narrow"),
)

LOG_SETTINGS = """\
log4j.rootLogger=INFO, file
log4j.appender.file=org.apache.log4j.FileAppender
log4j.appender.file.file={folder}/activemq.log
log4j.appender.file.layout=org.apache.log4j.PatternLayout
log4j.appender.file.layout.ConversionPattern=%d | %-5p | %m | %c | %t%n
"""

_BROKER = """\
<?xml version="1.0" encoding="UTF-8"?>
<beans xmlns="http://www.springframework.org/schema/beans" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
 xsi:schemaLocation="http://www.springframework.org/schema/beans
 http://www.springframework.org/schema/beans/spring-beans.xsd
 http://activemq.apache.org/schema/core http://activemq.apache.org/schema/core/activemq-core.xsd">
<broker xmlns="http://activemq.apache.org/schema/core" brokerName="tests" useJmx="{managed}" persistent="true"
 dataDirectory="{data}">
<managementContext><managementContext createConnector="false"/></managementContext>
<destinationPolicy><policyMap><policyEntries>
 <policyEntry topic="&gt;" producerFlowControl="false" memoryLimit="16mb">
  <dispatchPolicy><strictOrderDispatchPolicy/></dispatchPolicy>
  <pendingMessageLimitStrategy><constantPendingMessageLimitStrategy limit="{pending_limit}"/>
  </pendingMessageLimitStrategy>
  <messageEvictionStrategy><oldestMessageEvictionStrategy/></messageEvictionStrategy>
 </policyEntry>
 <policyEntry queue="&gt;" producerFlowControl="false" memoryLimit="16mb" useCache="false">
  <deadLetterStrategy><individualDeadLetterStrategy queuePrefix="DLQ." processExpired="false"/></deadLetterStrategy>
 </policyEntry>
</policyEntries></policyMap></destinationPolicy>
<persistenceAdapter><kahaDB directory="{data}/kahadb" journalMaxFileLength="{journal_bytes}b"
 enableJournalDiskSyncs="true"><locker><shared-file-locker lockAcquireSleepInterval="{lock_poll_ms}"/></locker>
 </kahaDB></persistenceAdapter>
<plugins>
 <simpleAuthenticationPlugin anonymousAccessAllowed="false"><users>
{users}
 </users></simpleAuthenticationPlugin>
 <authorizationPlugin><map><authorizationMap><authorizationEntries>
{rights}
 </authorizationEntries></authorizationMap></map></authorizationPlugin>
</plugins>
<sslContext><sslContext keyStore="file:{folder}/broker.p12" keyStorePassword="{password}" keyStoreType="PKCS12"
 trustStore="file:{folder}/trust.p12" trustStorePassword="{password}" trustStoreType="PKCS12"/></sslContext>
<systemUsage><systemUsage sendFailIfNoSpace="true"><memoryUsage><memoryUsage limit="64 mb"/></memoryUsage>
 <storeUsage><storeUsage limit="{store_limit_bytes} b"/></storeUsage>
 <tempUsage><tempUsage limit="256 mb"/></tempUsage></systemUsage></systemUsage>
<transportConnectors>
 <transportConnector name="stomp" uri="stomp+nio://127.0.0.1:{port}?{options}"/>
 <transportConnector name="stomps" uri="stomp+nio+ssl://127.0.0.1:{tls_port}?{options}&amp;{tls}"/>
 <transportConnector name="stomp-small" uri="stomp+nio://127.0.0.1:{small_port}?{options}&amp;{small}"/>
 <transportConnector name="stomps-small" uri="stomp+nio+ssl://127.0.0.1:{small_tls_port}?{options}&amp;{tls}&amp;{small}"/>
 <transportConnector name="stomps-client-cert"
  uri="stomp+nio+ssl://127.0.0.1:{client_cert_port}?{options}&amp;{tls}&amp;needClientAuth=true"/>
</transportConnectors>
</broker></beans>
"""

_REMOVE_QUEUE = """\
<beans xmlns="http://www.springframework.org/schema/beans" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
 xsi:schemaLocation="http://www.springframework.org/schema/beans
 http://www.springframework.org/schema/beans/spring-beans.xsd">
<bean id="mbeans" class="org.springframework.jmx.support.MBeanServerConnectionFactoryBean">
 <property name="serviceUrl" value="service:jmx:rmi:///jndi/rmi://127.0.0.1:{port}/jmxrmi"/></bean>
<bean class="org.springframework.beans.factory.config.MethodInvokingFactoryBean">
 <property name="targetObject" ref="mbeans"/><property name="targetMethod" value="invoke"/>
 <property name="arguments"><list>
  <bean class="javax.management.ObjectName">
   <constructor-arg value="org.apache.activemq:type=Broker,brokerName=tests"/></bean>
  <value>removeQueue</value>
  <array value-type="java.lang.Object"><value>{queue}</value></array>
  <array value-type="java.lang.String"><value>java.lang.String</value></array>
 </list></property></bean>
</beans>
"""


def remove_queue_xml(port: int, queue: str) -> str:
    """Return a Spring context that makes the broker behind this JMX port remove a queue; no program is to be built."""
    return _REMOVE_QUEUE.format(port=port, queue=escape(queue))


def broker_xml(
    folder: Path,
    data: Path,
    password: str,
    *,
    port: int,
    tls_port: int,
    client_cert_port: int,
    small_port: int,
    small_tls_port: int,
    store_limit_bytes: int | None = None,
    managed: bool = False,
) -> str:
    """Return the broker's whole configuration; `password` opens the key stores of `write_stores`."""
    limit = store_limit_bytes or STORE_LIMIT_BYTES
    users = (
        f' <authenticationUser username="{name}" password="{secret}" groups="{_groups(name)}"/>'
        for name, secret in USERS
    )
    rights = (
        f" <authorizationEntry {kind}={quoteattr(name)} read={quoteattr(read)} write={quoteattr(write)}"
        f" admin={quoteattr(create)}/>"
        for kind, name, read, write, create in RIGHTS
    )
    return _BROKER.format(
        folder=folder,
        data=data,
        managed=str(managed).lower(),
        lock_poll_ms=LOCK_POLL_MS,
        password=password,
        port=port,
        tls_port=tls_port,
        client_cert_port=client_cert_port,
        small_port=small_port,
        small_tls_port=small_tls_port,
        options="transport.hbGracePeriodMultiplier=1.5",
        small=f"wireFormat.maxFrameSize={SMALL_MESSAGE_BYTES}",
        tls="transport.enabledProtocols=TLSv1.2,TLSv1.3",
        pending_limit=PENDING_LIMIT,
        store_limit_bytes=limit,
        # The limit is looked at in whole journal files.
        journal_bytes=min(16_000_000, max(limit // 4, 64_000)),
        users="\n".join(users),
        rights="\n".join(rights),
    )


def _groups(name: str) -> str:
    return f"{name},{READER[0]}" if name == KEEPER[0] else name


def write_stores(folder: Path, ca: trustme.CA, password: str) -> None:
    """Write the broker's certificate for `localhost` and its key, and the CA that it trusts, as Java wants them."""
    locked = BestAvailableEncryption(password.encode())
    issued = ca.issue_cert("localhost", "127.0.0.1")
    chain = [x509.load_pem_x509_certificate(blob.bytes()) for blob in issued.cert_chain_pems]
    key = load_pem_private_key(issued.private_key_pem.bytes(), None)
    assert isinstance(key, EllipticCurvePrivateKey)
    store = pkcs12.serialize_key_and_certificates(b"broker", key, chain[0], chain[1:], locked)
    (folder / "broker.p12").write_bytes(store)
    trusted = pkcs12.PKCS12Certificate(x509.load_pem_x509_certificate(ca.cert_pem.bytes()), b"ca")
    (folder / "trust.p12").write_bytes(pkcs12.serialize_java_truststore([trusted], locked))
