"""The doors and what lies behind them agree: a role is let into a method exactly if some category grants it what the method does (P1.6a-authorised).

A door without a grant behind it is a mistake waiting to be one; a grant that no door leads to is a promise the vault does not keep.
"""

from collections.abc import Callable, Iterable

import pytest

from vault.catalogue.model import Catalogue, Category, Grant, HeldAs, Operation, Recipient
from vault.policy import access

Which = Callable[[Category, Grant], bool]


def records(operation: Operation) -> Which:
    """Grants on what is kept as records."""
    return lambda category, grant: category.held_as is HeldAs.RECORD and operation in grant.operations


def lasting(operation: Operation) -> Which:
    """Grants on records that are not destroyed on delivery."""
    return lambda category, grant: records(operation)(category, grant) and not category.is_transient


def exported(recipient: Recipient) -> Which:
    return lambda _, grant: Operation.EXPORT in grant.operations and recipient in grant.recipients


# Methods that do something with records of a category, and the grants that this takes.
DOORS: dict[str, Which] = {
    **dict.fromkeys(["VaultService/CreateRecord", "VaultService/BatchCreateRecords"], records(Operation.CREATE)),
    "VaultService/UpdateRecord": records(Operation.UPDATE),
    "VaultService/DeleteRecord": lasting(Operation.DELETE),
    **dict.fromkeys(
        ["VaultService/RevealRecord", "VaultService/BatchRevealRecords", "VaultService/StreamRevealRecords"], records(Operation.REVEAL)
    ),
    "VaultService/ResolveIdentifier": records(Operation.RESOLVE),
    "VaultService/FindSubjects": records(Operation.FIND),
    **dict.fromkeys(["VaultService/GetRecord", "VaultService/ListRecords"], records(Operation.LIST)),
    # P3.4-rec: destroying what was delivered, and nothing else.
    "VaultService/ConfirmDelivery": lambda category, grant: category.is_transient and Operation.DELETE in grant.operations,
    "VaultService/CheckContactable": lambda category, grant: category.code == "C26" and Operation.CHECK in grant.operations,
    "RightsService/ExportSubjectData": exported(Recipient.DATA_SUBJECT),
    **dict.fromkeys(
        ["ErasureService/PreviewErasure", "ErasureService/RequestErasure"], lambda _, grant: Operation.ERASE in grant.operations
    ),
    "LegalService/CreateExport": exported(Recipient.AUTHORITY),
    "TenantService/ReturnTenantData": exported(Recipient.TENANT),
}
# Doors narrower than the grants, and why.
NARROWER: dict[str, tuple[Which, set[str], str]] = {
    "VaultService/ImportRecords": (
        records(Operation.CREATE),
        {"account-manager", "reporting"},
        "files are brought in by services that have them",
    ),
    "VaultService/GetSubject": (
        records(Operation.LIST),
        {"messaging-engine", "billing", "second-number-app", "security-investigator", "fraud-investigator"},
        "how much there is about a person is told to those who answer the person or the customer",
    ),
    "ErasureService/ApproveErasure": (lambda _, grant: Operation.ERASE in grant.operations, {"tenant-admin"}, "four eyes"),
}
# Doors that lead to no category's records: registers, logs, tenants, the vault itself.
ELSEWHERE = {
    "VaultService": {"CreateSubject"},
    "RightsService": {
        *("RecordConsent", "WithdrawConsent", "SetMarketingPreference", "RestrictSubject", "LiftRestriction", "ObjectToProcessing"),
        "RegisterGuardianConsent",
        "WithdrawGuardianConsent",
        "OpenSubjectRequest",
        "VerifySubjectRequest",
        "ExtendSubjectRequest",
        "CloseSubjectRequest",
        "ListSubjectRequests",
    },
    "ErasureService": {"GetErasure", "ListErasures", "GetErasureCertificate"},
    "LegalService": {
        *("RegisterOrder", "AuthenticateOrder", "SetOrderScope", "PreviewExport", "ApproveOrder", "RejectOrder", "RevokeOrder", "GetOrder"),
        *("ListOrders", "GetExport", "ApproveExport", "DownloadExport", "ConfirmExportDelivery", "PlaceHold", "ReleaseHold", "ListHolds"),
        *("SuspendOrder", "ResumeOrder", "CloseOrder", "EndGag"),
    },
    "TenantService": {
        *("CreateTenant", "GetTenant", "ListTenants", "UpdateTenant", "OpenCustomerRequest", "CloseCustomerRequest", "OpenJob", "CloseJob"),
        *("TerminateTenant", "ApproveTermination", "GetTerminationReport", "GetSurplusReport"),
        *("ListNotifications", "AcknowledgeNotification"),
    },
}
WHOLE_SERVICES = {"AccessService", "AuditService", "OperationsService"}


def granted(catalogue: Catalogue, which: Which) -> set[str]:
    return {
        role for category in catalogue.categories.values() for grant in category.grants if which(category, grant) for role in grant.roles
    }


def let_in(method: str) -> set[str]:
    return set(access.load()[f"/vault.v1.{method}"].roles)


@pytest.mark.parametrize("method", list(DOORS))
def test_a_door_opens_for_exactly_those_who_are_granted_something_behind_it(catalogue: Catalogue, method: str) -> None:
    assert let_in(method) == granted(catalogue, DOORS[method])


@pytest.mark.parametrize("method", list(NARROWER))
def test_a_narrower_door_leaves_out_those_it_names_and_nobody_else(catalogue: Catalogue, method: str) -> None:
    which, left_out, _ = NARROWER[method]

    assert let_in(method) == granted(catalogue, which) - left_out
    assert left_out <= granted(catalogue, which)


def test_every_door_is_spoken_of_once() -> None:
    """I9: a new method without a place here fails."""
    elsewhere: Iterable[str] = (f"{service}/{method}" for service, methods in ELSEWHERE.items() for method in methods)
    spoken = [*DOORS, *NARROWER, *elsewhere]

    doors = {path.removeprefix("/vault.v1.") for path in access.load()}

    assert sorted(spoken) == sorted(door for door in doors if door.split("/")[0] not in WHOLE_SERVICES)


def test_every_role_of_a_door_is_one_of_the_catalogue(catalogue: Catalogue) -> None:
    named = {role for row in access.load().values() for role in row.roles | row.system_log}

    assert named == catalogue.roles.keys()


def test_every_record_can_be_stored_by_somebody_and_erased_by_somebody(catalogue: Catalogue) -> None:
    def operations(category: Category) -> set[Operation]:
        return {operation for grant in category.grants for operation in grant.operations}

    kept = [category for category in catalogue.categories.values() if category.held_as is HeldAs.RECORD]

    assert {category.code for category in kept if not operations(category) >= {Operation.CREATE, Operation.ERASE}} == set()
    # An order and the log of accesses are not erased on request (§2B).
    assert {c.code for c in catalogue.categories.values() if Operation.ERASE not in operations(c)} == {"C29", "C30"}
