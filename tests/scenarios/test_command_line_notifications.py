"""Notifications on the command line, on a real vault process that may call nobody."""

from collections.abc import Iterator

import pytest

from tests.commands import Commands, commands


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def database_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def cli(database_kind: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    with commands(database_kind, request, tmp_path_factory.mktemp("vault")) as started:
        yield started


def test_a_tenant_lists_and_acknowledges_what_it_is_told(cli: Commands) -> None:
    """L32."""
    subject = cli.put_contact("050-2345611").rpartition("/records/")[0]
    cli.answer("acme-admin", "rights", "restrict", subject, "--reason", "the person asked us in writing")

    [task] = cli.answer("acme-admin", "tenant", "notifications", "list", "acme")["notifications"]
    done = cli.answer("acme-admin", "tenant", "notifications", "acknowledge", task["name"])["notification"]

    assert (task["kind"], task["recipient"], task["subject"]) == ("NOTIFICATION_KIND_RESTRICTION", "tenant", subject)
    assert done["state"] == "NOTIFICATION_STATE_ACKNOWLEDGED"
    assert not cli.answer("acme-admin", "tenant", "notifications", "list", "acme").get("notifications")
    [kept] = cli.answer("acme-admin", "tenant", "notifications", "list", "acme", "--acknowledged")["notifications"]
    assert kept["name"] == task["name"]


def test_no_address_is_called_that_the_configuration_does_not_name(cli: Commands) -> None:
    error = cli.error("acme-admin", "tenant", "update", "acme", "--notification-url", "https://hooks.acme.example/vault")

    assert error["reason"] == "NOTIFICATION_HOST_NOT_ALLOWED"


def test_another_tenants_tasks_are_not_there(cli: Commands) -> None:
    """I11."""
    error = cli.error("globex-admin", "tenant", "notifications", "list", "acme")

    assert error["reason"] == "TENANT_NOT_FOUND"
