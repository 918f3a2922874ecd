# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Host specifications, subnet numbers, addresses, and who gets which."""

from __future__ import annotations

import ipaddress
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disposable_hosts import model
from disposable_hosts.common import HostsError
from disposable_hosts.model import Checkout, Host, Specification, allocate, busy_numbers, choose_number

CHECKOUT = Checkout(Path("/srv/checkout"), 37)


def host(name: str, *numbers: int, group: str = "g", release: str = "debian12", kind: str = "container") -> Host:
    return Host(name, group, release, kind, numbers, CHECKOUT)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("edge=debian13", Specification("edge", "debian13", "container")),
        ("db-2=debian12:vm", Specification("db-2", "debian12", "vm")),
        ("a=debian12:container", Specification("a", "debian12", "container")),
    ],
)
def test_specification_is_read(text: str, expected: Specification) -> None:
    assert model.parse_specification(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("edge", "write NAME=RELEASE"),
        ("edge=debian11", "'debian11' of host 'edge' is unknown; accepted: debian12, debian13"),
        ("edge=debian12:docker", "'docker' of host 'edge' is unknown; accepted: container, vm"),
        ("edge=", "release ''"),
        ("Edge=debian12", "'Edge' is not accepted"),
        ("-o=debian12", "'-o' is not accepted"),
        ("../x=debian12", "'../x' is not accepted"),
        ("=debian12", "'' is not accepted"),
        (f"{'a' * 41}=debian12", "at most 40"),
    ],
)
def test_bad_specification_is_refused(text: str, message: str) -> None:
    with pytest.raises(HostsError) as error:
        model.parse_specification(text)
    assert message in str(error.value)


def test_extra_addresses_belong_to_their_host() -> None:
    wishes = model.parse_specifications(["a=debian12", "b=debian13"], ["b=3"])
    assert [wish.extra_addresses for wish in wishes] == [0, 3]


def test_packages_belong_to_their_host() -> None:
    wishes = model.parse_specifications(["a=debian12:vm", "b=debian13"], install=["a=ufw,libstdc++6"])
    assert [wish.packages for wish in wishes] == [("ufw", "libstdc++6"), ()]


@pytest.mark.parametrize(
    ("install", "message"),
    [
        ("b=ufw", "no host 'b'"),
        ("a", "names of Debian packages"),
        ("a=", "names of Debian packages"),
        ("a=ufw,", "names of Debian packages"),
        ("a=-o=Dir::Bin=x", "names of Debian packages"),
        ("a=ufw firewalld", "names of Debian packages"),
    ],
)
def test_bad_packages_are_refused(install: str, message: str) -> None:
    with pytest.raises(HostsError, match=message):
        model.parse_specifications(["a=debian12"], install=[install])


def test_file_systems_belong_to_their_machine() -> None:
    wishes = model.parse_specifications(["a=debian12:vm", "b=debian12"], file_systems=["a=/var,/var/log"])
    assert [wish.file_systems for wish in wishes] == [("/var", "/var/log"), ()]


@pytest.mark.parametrize(
    ("file_systems", "message"),
    [
        ("c=/var", "no virtual machine 'c'"),
        ("b=/var", "no virtual machine 'b'"),
        ("a", "write HOST=/PATH"),
        ("a=var", "write HOST=/PATH"),
        ("a=/", "write HOST=/PATH"),
        ("a=/var/../etc", "write HOST=/PATH"),
        ("a=/var,/var", "each path once"),
    ],
)
def test_bad_file_systems_are_refused(file_systems: str, message: str) -> None:
    with pytest.raises(HostsError, match=message):
        model.parse_specifications(["a=debian12:vm", "b=debian12"], file_systems=[file_systems])


@pytest.mark.parametrize(
    ("hosts", "extra", "message"),
    [
        (["a=debian12", "a=debian13"], [], "given twice"),
        (["a=debian12"], ["b=1"], "no host 'b'"),
        (["a=debian12"], ["a=x"], "N from 0 to 20"),
        (["a=debian12"], ["a=21"], "N from 0 to 20"),
        (["a=debian12"], ["a"], "N from 0 to 20"),
    ],
)
def test_bad_command_lines_are_refused(hosts: list[str], extra: list[str], message: str) -> None:
    with pytest.raises(HostsError, match=message):
        model.parse_specifications(hosts, extra)


def test_registered_checkout_keeps_its_number_whatever_is_busy() -> None:
    assert choose_number(Path("/a"), {5: "/b", 9: "/a"}, busy={9}) == 9


@given(st.sets(st.integers(0, 255)), st.sets(st.integers(0, 255)), st.text(string.ascii_letters, min_size=1))
def test_chosen_number_is_free(registered: set[int], busy: set[int], name: str) -> None:
    path = Path("/other") / name
    registry = {number: f"/registered/{number}" for number in registered}
    if len(registered | busy) == 256:
        with pytest.raises(HostsError, match="all 256 subnets"):
            choose_number(path, registry, busy)
    else:
        assert choose_number(path, registry, busy) in set(range(256)) - registered - busy


def test_collision_goes_to_the_next_number() -> None:
    path = Path("/srv/checkout")
    first = model.preferred_number(path)
    assert choose_number(path, {first: "/elsewhere"}, busy={(first + 1) % 256}) == (first + 2) % 256


def test_routes_make_their_subnets_busy() -> None:
    routes = ["default", "10.0.0.0/8", "0.0.0.0/0", "10.213.4.0/24", "10.213.6.0/23", "10.213.9.9", "fe80::/64", ""]
    assert busy_numbers(routes) == {4, 6, 7, 9}


@given(st.integers(0, 255), st.sampled_from(model.HOST_NUMBERS))
def test_addresses_lie_in_the_networks_and_end_in_the_same_digits(number: int, host_number: int) -> None:
    checkout = Checkout(Path("/srv/checkout"), number)
    ipv4, ipv6 = checkout.addresses(host_number)
    assert ipaddress.ip_address(ipv4) in checkout.ipv4_network
    assert ipaddress.ip_address(ipv6) in checkout.ipv6_network
    assert ipaddress.ip_address(ipv6).is_private
    assert ipv4.rpartition(".")[2] == ipv6.rpartition(":")[2] == str(host_number)


@given(st.integers(0, 255), st.sampled_from(model.HOST_NUMBERS), st.sampled_from(model.KINDS))
def test_names_fit_into_an_interface_name(number: int, host_number: int, kind: str) -> None:
    example = Host("a", "g", "debian12", kind, (host_number,), Checkout(Path("/srv/checkout"), number))
    assert len(example.interface) <= 15
    assert len(example.checkout.bridge) <= 15
    # ssh appends 17 characters to the 40 of %C while it binds the socket.
    assert len(f"{example.control_directory}/") + 40 + 17 <= 107


def test_matching_hosts_are_kept_and_others_get_new_numbers() -> None:
    existing = [host("a", 10), host("b", 11), host("b", 12, group="other")]
    wishes = [Specification("b", "debian12", "container"), Specification("a", "debian13", "container")]
    result = allocate(CHECKOUT, existing, "g", wishes)
    assert result[0] is existing[1]
    assert (result[1].name, result[1].numbers) == ("a", (13,))


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 20)), unique_by=lambda wish: wish[0]))
def test_no_number_is_given_twice(wishes: list[tuple[str, int]]) -> None:
    existing = [host("x", 10, 11), host("y", 14, group="other")]
    specifications = [Specification(name, "debian12", "vm", extra) for name, extra in wishes]
    result = allocate(CHECKOUT, existing, "g", specifications)
    numbers = [number for item in [*existing, *result] for number in item.numbers]
    assert len(numbers) == len(set(numbers))
    assert [len(item.numbers) for item in result] == [1 + extra for _name, extra in wishes]


def test_full_subnet_is_said() -> None:
    existing = [host(f"h{number}", number, group="full") for number in model.HOST_NUMBERS]
    with pytest.raises(HostsError, match="no free address is left for g/a"):
        allocate(CHECKOUT, existing, "g", [Specification("a", "debian12", "container")])


def test_hosts_survive_being_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "BASE_DIRECTORY", tmp_path)
    CHECKOUT.directory.mkdir()
    hosts = [host("a", 10, 11), host("b", 12, kind="vm", release="debian13", group="other")]
    model.save_hosts(CHECKOUT, hosts)
    assert model.load_hosts(CHECKOUT) == hosts


def test_registry_gives_every_checkout_its_own_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "BASE_DIRECTORY", tmp_path)
    monkeypatch.setattr(model, "preferred_number", lambda path: 7)
    first = model.open_checkout(Path("/one"), [])
    second = model.open_checkout(Path("/two"), ["10.213.8.0/24"])
    assert (first.number, second.number) == (7, 9)
    assert model.open_checkout(Path("/one"), ["10.213.7.0/24"]) == first
    model.forget_checkout(first)
    assert model.registered_checkouts() == [second]
