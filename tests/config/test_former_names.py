"""Names of earlier versions lead to classes of this one, and hashes of runs stay."""

import pytest

from learnsym.config.allowed_classes import get_class
from learnsym.config.former_names import CURRENT, EARLIER, with_current_names, with_former_names


@pytest.mark.parametrize("former", [*CURRENT, *EARLIER])
def test_a_former_name_leads_to_a_class(former):
    node = {
        "net": {"_target_": f"learnsym.{former}", "parts": [{"_target_": f"learnsym.{former}"}]}
    }
    renamed = with_current_names(node)
    target = renamed["net"]["_target_"]
    assert renamed["net"]["parts"][0]["_target_"] == target
    assert get_class("net", target).__name__ == target.rpartition(".")[2]


@pytest.mark.parametrize("former", CURRENT)
def test_hashes_are_made_of_the_names_of_the_first_version(former):
    node = {"_target_": f"learnsym.{former}", "size": 3}
    drawn = {"stratify": False} if former.endswith(("ImageFolder", "NpzImages")) else {}
    assert with_former_names(with_current_names(node)) == node | drawn


def test_splits_of_before_are_not_drawn_by_class():
    node = {"_target_": "learnsym.data.images.npz.NpzImages"}
    assert with_current_names(node)["stratify"] is False
    assert with_current_names(node | {"stratify": True})["stratify"] is True


def test_other_names_stay():
    node = {"_target_": "torch.optim.Adam", "lr": 0.1, "net": "learnsym.kernels.siren.Siren"}
    assert with_current_names(node) == node
