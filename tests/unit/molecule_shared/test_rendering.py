# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files written for Ansible, for ssh and for the hosts; recognising our own processes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from disposable_hosts import cli, container, image, inventory, machine, network, root, virtual_machine
from disposable_hosts.common import HostsError, tail, write_file
from disposable_hosts.model import Checkout, Host

CHECKOUT = Checkout(Path("/srv/checkout"), 37)
EDGE = Host("edge", "site", "debian13", "container", (10, 12), CHECKOUT)
DB = Host("db", "site", "debian12", "vm", (11,), CHECKOUT)
PREFIX = str(CHECKOUT.ipv6_network.network_address)

# JSON writes what lies outside the basic plane as two surrogates, which YAML does not read; no name of ours does.
text = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]))
leaves = st.none() | st.booleans() | st.integers() | text | st.lists(text)
keys = st.from_regex(r"[a-z_]{2,9}", fullmatch=True).filter(lambda key: key not in ("yes", "no", "on", "off", "null"))


@given(st.recursive(st.dictionaries(keys, leaves), lambda inner: st.dictionaries(keys, leaves | inner)))
def test_rendered_yaml_reads_back(data: dict[str, object]) -> None:
    assert (yaml.safe_load(inventory.render_yaml(data)) or {}) == data


def test_inventory_lets_ansible_log_in_and_checks_host_keys() -> None:
    content = yaml.safe_load(inventory.render_yaml(inventory.inventory(CHECKOUT, "site", [EDGE, DB])))["all"]
    edge, shared = content["hosts"]["edge"], content["vars"]
    assert edge["ansible_host"] == "10.213.37.10"
    assert edge["bulwark_addresses"] == ["10.213.37.10", f"{PREFIX}10"]
    assert edge["disposable_extra_addresses"] == ["10.213.37.12", f"{PREFIX}12"]
    assert (edge["disposable_kind"], content["hosts"]["db"]["disposable_kind"]) == ("container", "vm")
    assert (shared["ansible_user"], shared["ansible_become"]) == ("admin", True)
    assert "StrictHostKeyChecking=yes" in shared["ansible_ssh_common_args"]
    assert f"UserKnownHostsFile={CHECKOUT.directory}/groups/site/known_hosts" in shared["ansible_ssh_common_args"]
    assert shared["disposable_controller_addresses"] == ["10.213.37.1", f"{PREFIX}1"]


def test_inventory_script_says_the_same() -> None:
    content = inventory.dynamic_inventory(CHECKOUT, "site", [EDGE, DB])
    static = inventory.inventory(CHECKOUT, "site", [EDGE, DB])["all"]
    assert content["all"]["hosts"] == ["edge", "db"]
    for name, variables in content["_meta"]["hostvars"].items():
        assert variables == {**static["vars"], **static["hosts"][name]}


def test_each_host_has_a_place_of_its_own_for_shared_connections() -> None:
    blocks = inventory.ssh_config(CHECKOUT, "site", [EDGE, DB]).split("\n\n")
    assert [block.splitlines()[0] for block in blocks] == ["Host edge", "Host db", "Host *"]
    assert "ControlPath /run/bulwark-disposable/37/10/%C" in blocks[0]
    assert "ControlPath /run/bulwark-disposable/37/11/%C" in blocks[1]
    assert "StrictHostKeyChecking yes" in blocks[2]


def test_known_hosts_name_every_address() -> None:
    lines = root.known_hosts_lines(EDGE, ["ssh-ed25519 AAAA", "ssh-rsa BBBB"])
    names = f"edge,10.213.37.10,{PREFIX}10,10.213.37.12,{PREFIX}12"
    assert lines == [f"{names} ssh-ed25519 AAAA", f"{names} ssh-rsa BBBB"]


def test_hosts_know_themselves_their_group_and_the_controller() -> None:
    lines = root.hosts_file(EDGE, [EDGE, DB]).splitlines()
    assert lines[0] == "127.0.0.1 localhost"
    assert lines[2:] == [
        "10.213.37.10 edge",
        f"{PREFIX}10 edge",
        "10.213.37.11 db",
        f"{PREFIX}11 db",
        "10.213.37.1 controller",
        f"{PREFIX}1 controller",
    ]


def test_network_file_has_every_address_and_the_way_out() -> None:
    text = root.network_file(EDGE)
    for address in ("10.213.37.10/24", f"{PREFIX}10/64", "10.213.37.12/24", f"{PREFIX}12/64"):
        assert f"\n[Address]\nAddress={address}\n" in text
    assert "\nGateway=10.213.37.1\n" in text


def test_nft_table_is_replaced_as_a_whole_and_is_the_checkouts_own() -> None:
    text = network.nft_ruleset(CHECKOUT)
    assert text.startswith("table ip bulwark_disposable_37\ndelete table ip bulwark_disposable_37\n")
    assert 'ip saddr 10.213.37.0/24 oifname != "bulwark37" masquerade' in text


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["/usr/bin/systemd-nspawn", f"--directory={EDGE.directory}/root"], True),
        (["qemu-system-x86_64", "-drive", f"file={EDGE.directory}/disk.img,format=raw"], True),
        (["unshare", "--mount", "python3", "/x/hosts.py", "supervise", str(EDGE.directory)], True),
        (["systemd-nspawn", f"--directory={EDGE.directory}0/root"], False),
        (["python3", "/x/hosts.py", "supervise", f"{EDGE.directory}0"], False),
        (["tail", "-f", f"{EDGE.directory}/console.log"], False),
        (["vi", f"{EDGE.directory}/root/etc/hosts"], False),
        ([""], False),
    ],
)
def test_only_our_own_processes_are_recognised(arguments: list[str], expected: bool) -> None:
    assert machine.belongs(arguments, EDGE) is expected


def test_container_runs_without_systemd_outside_and_with(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("disposable_hosts.model.BASE_DIRECTORY", tmp_path)
    EDGE.directory.mkdir(parents=True)
    monkeypatch.setattr(container, "systemd_outside", lambda: False)
    without = container.command(EDGE, Path("/root-of-it"))
    monkeypatch.setattr(container, "systemd_outside", lambda: True)
    assert set(without) - set(container.command(EDGE, Path("/root-of-it"))) == {"--keep-unit"}
    assert {"--directory=/root-of-it", "--machine=bw37-10", "--network-bridge=bulwark37"} <= set(without)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("fpu vmx sse", True), ("fpu svm", True), ("fpu hypervisor", False), ("fpu avmx svm_lock", False)],
)
def test_kvm_is_trusted_only_with_the_processors_help(flags: str, expected: bool) -> None:
    assert virtual_machine.has_kvm(f"processor\t: 0\nflags\t\t: {flags}\nbugs\t\t: svm\n") is expected


def test_kvm_that_failed_is_not_tried_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("disposable_hosts.model.BASE_DIRECTORY", tmp_path)
    monkeypatch.setattr(virtual_machine, "has_kvm", lambda cpuinfo: True)
    DB.directory.mkdir(parents=True)
    assert virtual_machine.accelerators(DB) == ["-accel", "kvm", "-accel", "tcg,thread=multi"]
    DB.console.write_text("KVM internal error. Suberror: 1\n")
    assert virtual_machine.accelerators(DB) == ["-accel", "tcg,thread=multi"]


def test_each_file_system_of_a_machine_is_a_disk_with_the_directorys_own_mode(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if shutil.which("mke2fs", path=f"{os.environ['PATH']}:/sbin:/usr/sbin") is None:
        pytest.skip("mke2fs is not installed")
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:/sbin:/usr/sbin")
    monkeypatch.setattr("disposable_hosts.model.BASE_DIRECTORY", tmp_path)
    monkeypatch.setattr(virtual_machine, "DISK_BYTES", 4 * 1024**2)
    DB.directory.mkdir(parents=True)
    tree = tmp_path / "tree"
    for path in ("boot", "etc", "var/log"):
        (tree / path).mkdir(parents=True)
    for name in ("boot/vmlinuz-1", "boot/initrd.img-1", "var/log/messages"):
        (tree / name).touch()
    (tree / "etc/fstab").write_text("/dev/vda / ext4 defaults 0 1\n")
    (tree / "var/log").chmod(0o1770)
    virtual_machine.make_disks(DB, tree, ["/home", "/var/log"])
    assert (tree / "etc/fstab").read_text().splitlines()[1:] == [
        "/dev/vdb /home ext4 defaults 0 2",
        "/dev/vdc /var/log ext4 defaults 0 2",
    ]
    assert "messages" in virtual_machine.debugfs(DB.directory / "disk2.img", "ls /")
    assert "Mode:  01770" in virtual_machine.debugfs(DB.directory / "disk2.img", "stat <2>")
    drives = [word for word in virtual_machine.command(DB) if word.startswith("file=")]
    assert [Path(word.partition(",")[0]).name for word in drives] == ["disk.img", "disk1.img", "disk2.img"]


def test_image_key_follows_every_part_of_the_recipe() -> None:
    recipes = [
        image.Recipe("debian12", "container", ("deb a",), "", ()),
        image.Recipe("debian13", "container", ("deb a",), "", ()),
        image.Recipe("debian12", "vm", ("deb a",), "", ()),
        image.Recipe("debian12", "container", ("deb b",), "", ()),
        image.Recipe("debian12", "container", ("deb a",), "Acquire::Check-Date 0;\n", ()),
        image.Recipe("debian12", "container", ("deb a",), "", (("own.crt", "text"),)),
    ]
    assert len({recipe.key for recipe in recipes}) == len(recipes)
    assert recipes[0].key == image.Recipe("debian12", "container", ("deb a",), "", ()).key


def test_images_by_name() -> None:
    assert cli.wanted_images(["debian12", "debian13:vm"]) == {("debian12", "container"), ("debian13", "vm")}
    assert len(cli.wanted_images([])) == 4
    with pytest.raises(HostsError, match="accepted: debian12, debian13"):
        cli.wanted_images(["debian11"])


def test_errors_end_in_one_sentence_and_exit_code_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert cli.main(["list"]) == 1
    assert capsys.readouterr().err == (
        "hosts.py: disposable hosts need root: namespaces, a bridge and file owners; run this with sudo.\n"
    )


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "PACKAGES", {"there": "sh", "missing": "no-such-program", "file": "/no/such/file"})
    assert cli.missing_packages() == ["missing", "file"]


def test_written_file_has_its_mode_and_no_remains(tmp_path: Path) -> None:
    target = tmp_path / "made" / "file"
    write_file(target, "one", 0o600)
    write_file(target, "two", 0o440)
    assert (target.read_text(), target.stat().st_mode & 0o777) == ("two", 0o440)
    assert [path.name for path in target.parent.iterdir()] == ["file"]


def test_tail_is_short() -> None:
    assert tail("\n".join("abcdef"), lines=2) == "    e\n    f"
