"""From a configuration to a running vault: build the parts, register the services, serve, stop.

The order of the start is the order of what can go wrong: certificates, catalogue and policy, keys, database schema, system log, erasure ledger,
interrupted erasures, and only then the port. There is no insecure port: the one that is opened wants a client certificate.
"""

import asyncio
import fcntl
import signal
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import unquote

import grpc
import structlog
import uvloop
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection
from opentelemetry.trace import Tracer

from vault import crypto
from vault.audit.watch import Alarm
from vault.bundle.countersign import Countersigning, Organisation, fingerprint_of
from vault.catalogue import loader
from vault.config import Checkpoints, Orders, Settings
from vault.errors import AbortedError, FailedPreconditionError, VaultError
from vault.exporting import Exporting, open_exporting
from vault.hygiene import forbid_dumps
from vault.keys.open import open_provider
from vault.keys.provider import RootKeyProvider
from vault.names import SYSTEM_LOG
from vault.operations import checkpoint, detect, gauges, health, ledger, log, signing, tenant, upkeep
from vault.operations import prune as retention
from vault.operations.attempt import Attempt
from vault.operations.budget import ReleaseBudgets
from vault.operations.core import Limits, SigningKey, Vault
from vault.operations.keyring import Keyring
from vault.operations.meters import Meters
from vault.operations.root_key import WatchedRootKey
from vault.operations.sink import DirectorySink, Sink
from vault.operations.webhook import Webhooks
from vault.policy import access
from vault.policy.decide import Policy
from vault.rpc.access_servicer import AccessServicer
from vault.rpc.audit_servicer import AuditServicer
from vault.rpc.certificates import CertificateFiles, Rotating, read_file
from vault.rpc.edge import Edge
from vault.rpc.erasure_servicer import ErasureServicer
from vault.rpc.identity import Authenticator, ServicePrincipal, TokenRules
from vault.rpc.jwks import Jwks
from vault.rpc.legal_servicer import LegalServicer
from vault.rpc.observed import Observer
from vault.rpc.operations_servicer import OperationsServicer
from vault.rpc.pages import PageTokens
from vault.rpc.rights_servicer import RightsServicer
from vault.rpc.tenant_servicer import TenantServicer
from vault.rpc.vault_servicer import VaultServicer
from vault.store import audit as audit_store
from vault.store import schema, subjects
from vault.store.database import Database
from vault.store.ledger import LedgerDirectory
from vault.telemetry import NO_TRACER, configure_logging, mute_crashes
from vault.v1 import (
    access_service_pb2_grpc,
    audit_service_pb2_grpc,
    erasure_service_pb2_grpc,
    legal_service_pb2_grpc,
    operations_service_pb2_grpc,
    rights_service_pb2_grpc,
    tenant_service_pb2_grpc,
    vault_service_pb2_grpc,
)

SERVICES = (
    "vault.v1.VaultService",
    "vault.v1.RightsService",
    "vault.v1.ErasureService",
    "vault.v1.LegalService",
    "vault.v1.TenantService",
    "vault.v1.AccessService",
    "vault.v1.AuditService",
    "vault.v1.OperationsService",
)
# Names that probes ask for: whether the process turns, whether it has started, whether it can be sent calls.
_ALIVE, _READY = ("liveness", "startup"), "readiness"
_SERVING = health_pb2.HealthCheckResponse.SERVING
_MESSAGE_BYTES = 4 << 20
_HEALTH_EVERY = timedelta(seconds=5)
# Checkpoints that are late by this much are an incident.
_STALLED = timedelta(minutes=10)
# A database that does not say no but nothing at all, behind a broken network, is gone as well.
_HEALTH_WITHIN = timedelta(seconds=5)

_log = structlog.get_logger()


def _now() -> datetime:
    return datetime.now(UTC)


async def open_vault(
    settings: Settings, *, clock: Callable[[], datetime] = _now, meters: Meters | None = None, tracer: Tracer = NO_TRACER
) -> tuple[Vault, RootKeyProvider]:
    """The parts of a vault, checked: keys that wrap and unwrap, a schema that this version may serve, a system log.

    Raises:
        VaultError: whatever stops the start, by its reason.
    """
    catalogue = loader.load()
    policy = Policy(catalogue)
    meters = meters or Meters()
    provider = WatchedRootKey(open_provider(settings.keys_uri), meters, tracer)
    await provider.health()
    others = {name: WatchedRootKey(open_provider(uri), meters, tracer) for name, uri in settings.root_keys.items()}
    signing_key = signing_key_in(settings.signing_key)
    countersigning = _countersigning(settings.orders)
    webhooks = Webhooks.of(settings.notification_hosts, settings.notification_ca)
    database = Database(settings.database_url.get_secret_value(), pool_size=settings.database_pool_size, tracer=tracer)
    key_database = _key_database(settings, tracer)
    try:
        await schema.check(database)
        await _check_keys_are_there(database, key_database)
        vault = Vault(
            name=settings.name,
            database=database,
            key_database=key_database,
            keyring=Keyring(provider, ttl=timedelta(seconds=settings.key_cache_seconds), clock=clock, others=others),
            catalogue=catalogue,
            policy=policy,
            signing=SigningKey(signing_key, lambda: signing_key_in(settings.signing_key)),
            clock=clock,
            region=settings.region,
            limits=Limits(preservation_days=settings.preservation_days, bulk_records=settings.bulk_records),
            budgets=ReleaseBudgets(clock),
            webhooks=webhooks,
            ledger=LedgerDirectory(settings.erasure_ledger),
            meters=meters,
            tracer=tracer,
            sinks=_sinks(settings.checkpoints),
            countersigning=countersigning,
        )
        await _among_workers(tenant.bootstrap, vault)
        # Before the transaction that needs them: a root key that is slow is waited for here.
        await vault.keyring.warm(database, SYSTEM_LOG)
        await _among_workers(ledger.open_ledger, vault)
        await signing.introduce(vault, upkeep.upkeep_caller(), former=_former_signing_key(settings.signing_key))
    except BaseException:
        await database.close()
        if key_database is not None:
            await key_database.close()
        raise
    return vault, provider


async def _among_workers(begin: Callable[[Vault], Awaitable[None]], vault: Vault) -> None:
    """Make what the first start makes; if another worker made it at the same moment, it is there now."""
    try:
        await begin(vault)
    except AbortedError:
        await begin(vault)


async def prune_ledger(settings: Settings, *, before_days: int) -> int:
    """Take entries off the erasure ledger that are older than so many days; how many.

    Raises:
        VaultError: LEDGER_TOO_YOUNG, a backup may still need them, or whatever stops the start.
    """
    vault, _ = await open_vault(settings)
    try:
        return await ledger.prune(vault, before_days=before_days, backup_days=settings.backup_retention_days)
    finally:
        await close_vault(vault)


async def close_vault(vault: Vault) -> None:
    """Close what `open_vault` opened."""
    await vault.database.close()
    if vault.key_database is not None:
        await vault.key_database.close()


async def prune(settings: Settings, logs: Sequence[str], *, kept_for: timedelta) -> dict[str, int]:
    """Remove entries of logs, or of all, whose retention is over. How many went of each; under the database role of the settings.

    Raises:
        VaultError: whatever stops a start, or BELOW_FLOOR.
    """
    vault, _ = await open_vault(settings)
    try:
        async with vault.database.read() as connection:
            known = await audit_store.logs(connection)
        removed = {}
        for name in logs or known:
            removed[name], _ = await retention.prune_log(vault, Attempt(upkeep.upkeep_caller()), name, kept_for=kept_for)
        return removed
    finally:
        await close_vault(vault)


@dataclass(slots=True)
class Running:
    """A vault that serves; `port` is the one that was bound."""

    vault: Vault
    port: int
    _server: grpc.aio.Server
    _health: health_aio.HealthServicer
    _background: tuple[asyncio.Task[None], ...]
    _stopping: asyncio.Event
    _exporting: Exporting
    observer: Observer
    authenticator: Authenticator
    _lock: TextIO | None
    _grace: timedelta

    @property
    def metrics_port(self) -> int:
        """Where metrics can be scraped; 0 if nowhere."""
        return self._exporting.metrics_port

    async def failed(self) -> None:
        """Wait until a background task fails; raises what it failed with."""
        done, _ = await asyncio.wait(self._background, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def stop(self) -> None:
        """Say NOT_SERVING, let calls under way finish within the grace period, then close everything."""
        await self._health.enter_graceful_shutdown()
        # Asked to end and not cut off: a statement that is cancelled midway leaves its connection to nobody.
        self._stopping.set()
        await asyncio.wait(self._background, timeout=self._grace.total_seconds())
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self._server.stop(self._grace.total_seconds())
        await close_vault(self.vault)
        await asyncio.to_thread(self._exporting.shutdown)
        if self._lock is not None:
            self._lock.close()


async def start(settings: Settings, *, clock: Callable[[], datetime] = _now) -> Running:
    """Start serving.

    Raises:
        VaultError: CONFIG_INVALID, SCHEMA_OUTDATED, SCHEMA_UNKNOWN, KEYS_UNAVAILABLE, CATALOGUE_INVALID, DATABASE_IN_USE, PORT_UNAVAILABLE, …
    """
    async with AsyncExitStack() as undo:
        lock = single_process(settings)
        if lock is not None:
            undo.callback(lock.close)
        certificates = Rotating(CertificateFiles(settings.tls.certificate, settings.tls.private_key, settings.tls.client_ca))
        exporting = open_exporting(settings.telemetry, certificates)
        undo.callback(exporting.shutdown)
        vault, provider = await open_vault(settings, clock=clock, meters=Meters(exporting.meters), tracer=exporting.tracer)
        undo.push_async_callback(close_vault, vault)
        authenticator = _authenticator(settings, vault)
        observer = Observer(vault.meters, vault.tracer, settings.telemetry.access_log)
        if not vault.standing.reason:
            await upkeep.resume_erasures(vault)
        server = grpc.aio.server(
            interceptors=[Edge(vault, authenticator, access.load(sha256=vault.catalogue.access_sha256), observer)],
            options=[
                ("grpc.max_receive_message_length", _MESSAGE_BYTES),
                ("grpc.max_send_message_length", _MESSAGE_BYTES),
                # Two processes on one SQLite file would fight for its lock; on PostgreSQL any number may share a port.
                ("grpc.so_reuseport", 0 if vault.database.is_sqlite else 1),
            ],
        )
        pages = await _pages(vault)
        records = VaultServicer(vault, pages, max_batch=settings.batch_size)
        _register(server, vault, records, pages)
        gauges.watch(vault, waiting=lambda: records.waiting, certificates=lambda: certificates.ends)
        told = health_aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(told, server)
        reflection.enable_server_reflection(
            (*SERVICES, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME), server
        )
        port = _bind(server, settings.listen, certificates.credentials())
        await server.start()
        for service in _ALIVE:
            await told.set(service, _SERVING)
        await _set_health(told, await _healthy(vault, provider))
        stopping = asyncio.Event()
        background = (
            _task(_watch_health(vault, provider, told, stopping)),
            _task(_publish_checkpoints(vault, settings.checkpoints, stopping)),
            _task(upkeep.run(vault, stopping)),
        )
        undo.pop_all()
    grace = timedelta(seconds=settings.grace_seconds)
    return Running(vault, port, server, told, background, stopping, exporting, observer, authenticator, lock, grace)


def run(settings: Settings, *, reread: Callable[[], Settings]) -> None:
    """Serve until SIGTERM or SIGINT; returns when everything is closed. SIGHUP reads the configuration again.

    Args:
        settings: the configuration.
        reread: reads it again.
    """
    forbid_dumps()
    configure_logging(settings.telemetry.log_level)
    mute_crashes()
    uvloop.run(_run(settings, reread))


async def _run(settings: Settings, reread: Callable[[], Settings]) -> None:
    running = await start(settings)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload, running, settings, reread)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    database = "sqlite" if running.vault.database.is_sqlite else "postgresql"
    _log.info("serving", port=running.port, database=database, version=running.vault.catalogue.policy_version)
    stopped, failed = asyncio.create_task(stop.wait()), asyncio.create_task(running.failed())
    await asyncio.wait((stopped, failed), return_when=asyncio.FIRST_COMPLETED)
    await running.stop()
    await _leave_nothing()
    if not failed.cancelled() and failed.done() and failed.exception():
        failed.result()
    _log.info("stopped")


def reload(running: Running, began_with: Settings, reread: Callable[[], Settings]) -> None:
    """Take what may change while the vault runs from the configuration: who calls, what is logged. Certificates follow their files by themselves.

    The rest waits for a restart; the log says of how many keys. What is not valid changes nothing.
    """
    try:
        settings = reread()
        principals = _principals(settings, running.vault)
    except VaultError as error:
        _log.error("configuration not reloaded", reason=error.reason)
        return
    running.authenticator.principals = principals
    running.observer.logged = settings.telemetry.access_log
    configure_logging(settings.telemetry.log_level)
    _log.info("configuration reloaded", count=len(_waiting(began_with, settings)))


def _waiting(before: Settings, after: Settings) -> set[str]:
    """Keys that differ and are read at the start only."""
    telemetry = {"access_log": before.telemetry.access_log, "log_level": before.telemetry.log_level}
    same = after.model_copy(update={"principals": before.principals, "telemetry": after.telemetry.model_copy(update=telemetry)})
    return {name for name in type(before).model_fields if getattr(before, name) != getattr(same, name)}


async def _leave_nothing() -> None:
    """Cancel what is left, twice.

    A SQLite connection that was cut off in the middle of a statement answers the first time by waiting for its thread, which is gone, and the
    process would never end.
    """
    for _ in range(2):
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=1)


def _register(server: grpc.aio.Server, vault: Vault, records: VaultServicer, pages: PageTokens) -> None:
    vault_service_pb2_grpc.add_VaultServiceServicer_to_server(records, server)
    rights_service_pb2_grpc.add_RightsServiceServicer_to_server(RightsServicer(vault, pages), server)
    erasure_service_pb2_grpc.add_ErasureServiceServicer_to_server(ErasureServicer(vault, pages), server)
    legal_service_pb2_grpc.add_LegalServiceServicer_to_server(LegalServicer(vault, pages), server)
    tenant_service_pb2_grpc.add_TenantServiceServicer_to_server(TenantServicer(vault, pages), server)
    access_service_pb2_grpc.add_AccessServiceServicer_to_server(AccessServicer(vault, pages), server)
    audit_service_pb2_grpc.add_AuditServiceServicer_to_server(AuditServicer(vault, pages), server)
    operations_service_pb2_grpc.add_OperationsServiceServicer_to_server(OperationsServicer(vault, pages), server)


def _bind(server: grpc.aio.Server, listen: str, credentials: grpc.ServerCredentials) -> int:
    try:
        return server.add_secure_port(listen, credentials)
    except RuntimeError:
        raise FailedPreconditionError("PORT_UNAVAILABLE", "the address to listen on is taken or not this machine's") from None


def _key_database(settings: Settings, tracer: Tracer) -> Database | None:
    if settings.keys_url is None:
        return None
    return Database(settings.keys_url.get_secret_value(), pool_size=settings.database_pool_size, of_keys=True, tracer=tracer)


async def _check_keys_are_there(database: Database, key_database: Database | None) -> None:
    """Refuse to serve people whose keys are somewhere else: their data would look erased."""
    async with database.read() as connection:
        people, beside = await subjects.has_subjects(connection), await subjects.has_subject_keys(connection)
    if key_database is None:
        if people and not beside:
            raise FailedPreconditionError("SUBJECT_KEYS_MISSING", "there are people and no keys of theirs, is keys_url missing?")
        return
    await schema.check(key_database)
    if beside:
        message = "subject keys stand beside the data still, run `pii-vault keys move-subject-keys`"
        raise FailedPreconditionError("SUBJECT_KEYS_NOT_MOVED", message)
    async with key_database.read() as connection:
        apart = await subjects.has_subject_keys(connection)
    if people and not apart:
        raise FailedPreconditionError("SUBJECT_KEYS_MISSING", "there are people and no keys of theirs in the database of keys_url")


def _countersigning(orders: Orders) -> Countersigning:
    try:
        organisation = (
            Organisation.of(orders.certificate.read_bytes(), orders.private_key.read_bytes())
            if orders.certificate and orders.private_key
            else None
        )
        root = orders.timestamp_root.read_bytes() if orders.timestamp_root else b""
        if root:
            fingerprint_of(root)
    except (OSError, ValueError, IndexError):
        raise FailedPreconditionError("CONFIG_INVALID", "a certificate or key of orders cannot be read") from None
    return Countersigning(organisation, orders.timestamp_url, root)


def _former_signing_key(path: Path) -> Ed25519PrivateKey | None:
    """The key that was replaced, if it is still there, beside the one that replaced it."""
    former = path.with_name(path.name + ".old")
    return signing_key_in(former) if former.exists() else None


def signing_key_in(path: Path) -> Ed25519PrivateKey:
    """The key that signs checkpoints, certificates and packages.

    Raises:
        FailedPreconditionError: CONFIG_INVALID, the file is not an Ed25519 private key in PEM form.
    """
    try:
        key = load_pem_private_key(read_file(path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise FailedPreconditionError("CONFIG_INVALID", "signing_key is not an Ed25519 private key in PEM form")
    return key


def _principals(settings: Settings, vault: Vault) -> Mapping[str, ServicePrincipal]:
    principals = {
        name: ServicePrincipal(
            item.roles,
            None if item.tenants == "*" else frozenset(item.tenants),
            item.carries_people,
            item.hourly_releases,
            item.hourly_releases_for,
            item.products,
        )
        for name, item in settings.principals.items()
    }
    unknown = sorted({role for item in principals.values() for role in item.roles} - vault.catalogue.roles.keys())
    if unknown:
        raise FailedPreconditionError("CONFIG_INVALID", f"principals: unknown role {', '.join(unknown)}")
    locked: set[str] = {product for item in principals.values() for product in item.products or ()}
    if unknown := sorted(locked - vault.catalogue.products.keys()):
        raise FailedPreconditionError("CONFIG_INVALID", f"principals: unknown product {', '.join(unknown)}")
    limited = {purpose for item in settings.principals.values() for purpose in item.hourly_releases_for}
    limited |= settings.oidc.hourly_releases_for.keys() if settings.oidc else set()
    if unknown := sorted(limited - vault.catalogue.purposes.keys()):
        raise FailedPreconditionError("CONFIG_INVALID", f"hourly_releases_for: unknown purpose {', '.join(unknown)}")
    return principals


def _authenticator(settings: Settings, vault: Vault) -> Authenticator:
    rules, jwks, oidc = None, None, settings.oidc
    if oidc is not None:
        rules = TokenRules(
            issuer=oidc.issuer,
            audience=oidc.audience,
            algorithms=oidc.algorithms,
            leeway=timedelta(seconds=oidc.leeway_seconds),
            employee_claim=oidc.employee_claim,
            roles_claim=oidc.roles_claim,
            tenants_claim=oidc.tenants_claim,
            products_claim=oidc.products_claim,
            device_claim=oidc.device_claim,
            managed_devices_only=oidc.managed_devices_only,
            hourly_releases=oidc.hourly_releases,
            hourly_releases_for=oidc.hourly_releases_for,
        )
        jwks = Jwks(oidc.jwks, refresh=timedelta(seconds=oidc.refresh_seconds), clock=vault.clock)
    return Authenticator(
        _principals(settings, vault), rules=rules, jwks=jwks, known_roles=frozenset(vault.catalogue.roles), clock=vault.clock
    )


async def _pages(vault: Vault) -> PageTokens:
    """Page tokens under a key that every worker derives alike."""
    async with vault.database.read() as connection:
        keys = await log.system_keys(vault, connection)
    return PageTokens(crypto.derive_index_key(keys.newest("index").material, tenant=SYSTEM_LOG, kind="page-token"))


def single_process(settings: Settings) -> TextIO | None:
    """A SQLite file is served by one process: the log's order is kept by a lock inside it. However a path to it is spelled, it is one file."""
    url = settings.database_url.get_secret_value()
    if not url.startswith("sqlite"):
        return None
    try:
        file = Path(unquote(url.partition("///")[2].partition("?")[0])).resolve()
        handle = file.with_name(file.name + ".lock").open("w")
    except OSError:
        raise FailedPreconditionError("CONFIG_INVALID", "the folder of the database cannot be written") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.close()
        raise FailedPreconditionError("DATABASE_IN_USE", "another process serves this SQLite file; PostgreSQL takes several") from None
    return handle


def _task(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    return asyncio.create_task(work)


async def _watch_health(vault: Vault, provider: RootKeyProvider, told: health_aio.HealthServicer, stopping: asyncio.Event) -> None:
    was_healthy = True
    while not await upkeep.is_set_within(stopping, _HEALTH_EVERY):
        healthy = await _healthy(vault, provider)
        if healthy and not was_healthy:
            _log.info("healthy again")
        was_healthy = healthy
        await _set_health(told, healthy)


async def _healthy(vault: Vault, provider: RootKeyProvider) -> bool:
    failed = health.failures(await health.look(vault, provider, within=_HEALTH_WITHIN))
    for check, reason in failed.items():
        _log.warning("not healthy", check=check, reason=reason)
    return not failed


async def _set_health(told: health_aio.HealthServicer, healthy: bool) -> None:
    for service in ("", _READY, *SERVICES):
        await told.set(service, _SERVING if healthy else health_pb2.HealthCheckResponse.NOT_SERVING)


def _sinks(settings: Checkpoints) -> tuple[Sink, ...]:
    sinks: list[Sink] = [DirectorySink(settings.directory)]
    if settings.object_store:
        from vault.operations.object_sink import ObjectSink  # noqa: PLC0415 - an extra of its own

        sinks.append(ObjectSink(settings.object_store, endpoint=settings.object_store_endpoint))
    return tuple(sinks)


def _timestamp(url: str) -> checkpoint.Timestamp | None:
    if not url:
        return None
    from vault.operations.timestamp import timestamp  # noqa: PLC0415 - an extra of its own

    return partial(timestamp, url=url)


async def _publish_checkpoints(vault: Vault, settings: Checkpoints, stopping: asyncio.Event) -> None:
    await _look_outside(vault)
    timestamp, published = _timestamp(settings.timestamp_url), vault.clock()
    while True:
        try:
            if not await signing.follow(vault):
                _log.error("signing key outdated")
            await _tell_of_broken(vault, await checkpoint.publish_checkpoints(vault, timestamp=timestamp))
            await signing.publish_hand_overs(vault)
            published = vault.clock()
        except VaultError as error:
            # Published checkpoints are late then, which those who watch the folder see; releases go on.
            _log.error("checkpoints not published", reason=error.reason)
            await _tell_of_stall(vault, published)
        if await upkeep.is_set_within(stopping, timedelta(seconds=settings.interval_seconds)):
            return


async def _look_outside(vault: Vault) -> None:
    """What was published before this start, and whether the logs still say so."""
    try:
        await checkpoint.look_outside(vault)
        await _tell_of_broken(vault, await checkpoint.check_logs(vault))
    except VaultError as error:
        _log.error("audit logs not compared with what was published", reason=error.reason)


async def _tell_of_broken(vault: Vault, broken: Sequence[str]) -> None:
    """Incidents for logs that are not what was written or published, unless a restore explains them, which the replay tells of."""
    if broken and not (await ledger.check(vault)).reason:
        await detect.check_broken(vault, upkeep.upkeep_caller(), broken)


async def _tell_of_stall(vault: Vault, published: datetime) -> None:
    """An incident if nothing was published for so long that an opponent had time to rewrite what nobody vouches for."""
    if vault.clock() - published < _STALLED:
        return
    alarm = Alarm("stalled-head", f"logs/{SYSTEM_LOG}", published, vault.clock())
    try:
        await detect.raise_alarm(vault, upkeep.upkeep_caller(), SYSTEM_LOG, alarm)
    except VaultError as error:
        _log.error("incident not opened", reason=error.reason)
