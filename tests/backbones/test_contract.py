"""All checks of the contract, on all families."""

import inspect

import contract
import pytest
from families import FAMILIES

from lisa.backbones import FAMILIES as REGISTERED

CHECKS = {name.removeprefix("check_"): check for name, check in vars(contract).items() if name.startswith("check_")}


@pytest.fixture(scope="module", params=FAMILIES)
def subject(request):
    return contract.Subject(FAMILIES[request.param])


@pytest.mark.parametrize("check", CHECKS)
def test_contract(subject, check, tmp_path):
    needs_folder = "folder" in inspect.signature(CHECKS[check]).parameters
    CHECKS[check](subject, *[tmp_path] * needs_folder)


def test_every_registered_family_is_under_contract():
    assert {name.split(",")[0] for name in FAMILIES} == set(REGISTERED)
