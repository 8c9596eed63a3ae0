"""One catalogue and one policy for all tests that only ask."""

import pytest

from vault.catalogue.loader import load
from vault.catalogue.model import Catalogue
from vault.policy.decide import Policy


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    return load()


@pytest.fixture(scope="session")
def policy(catalogue: Catalogue) -> Policy:
    return Policy(catalogue)
