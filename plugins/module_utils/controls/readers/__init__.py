# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The readers by the names that the catalogue uses.

``COND`` is a condition (conditions.py: a value, or ``{at_least: 1, at_most: 9, one_of: [], contains: w, lacks: w,
matches: regex, not: v, set: true|false}``). Everything is optional unless marked *.

sysctl                 keys*: {net.ipv4.conf.*.accept_redirects: COND}; ``*`` = every interface, and ``default``,
                       each combined with ``all`` as the kernel does
kernel_module_denied   names*: [cramfs]
kernel_command_line    values: {audit: COND}, flags: [slab_nomerge], absent: [mitigations=off, nopti]
cpu_vulnerabilities    except: [name]
package_present        names*: [auditd], any_of: false
package_absent         names*: [telnet, "xserver-xorg*"]
apt_policy             settings: {"APT::Get::AllowUnauthenticated": COND}, signed_by: false, key_files: false,
                       security_origin_only: false, last_run_days: 2   (Debian's unattended-upgrades)
unit                   units*: [{name*, active: true|false, enabled: true|false, masked: true|false,
                       absent: true (not there, or masked and not active), only_if_exists: false,
                       only_if_conditions_met: false}]
systemd_show           manager: {DefaultLimitCORE: COND}, units: {rsyslog.service: {ProtectSystem: COND}},
                       only_if_active: false
process_limit          limit*: core, soft: COND, hard: COND, of: [login, services], except: [unit.service]
file_mode              entries*: [{path* (glob), owner: root, group: name or [names], mode: "0640", at_most: true,
                       type: file|directory|any, required: false, except: [glob]}]
file_setting           path*: /etc/x.conf, format: equals|space|ini|systemd, section: Journal, values*: {key: COND},
                       drop_ins: [globs, in the order read], drop_ins_first: false, wins: last|first,
                       defaults: {key: what the program takes when it is not set}, comments: "#;", ignore_case: false
file_line              paths*: [globs], present: [regex for a whole line], absent: [regex], comments: "#"
banner                 files*: [/etc/issue], text: the exact text, forbidden: ["\\v"], words: [legal words],
                       minimum_words: 5
walk                   forbid*: [world_writable, not_sticky, orphan, set_id], set_id_allowed: [paths, globs],
                       skip: [directories]
mount                  path*: /tmp, mounted: true, type: [tmpfs], options: [nodev], options_absent: [],
                       only_if_mounted: false
pam_stack              services*: [sshd, login], stack*: auth|account|password|session,
                       modules: [{module*: pam_faillock, arguments: {preauth: true, deny: COND}, settings_file: path,
                       defaults: {deny: 3}, before: [pam_unix], after: [pam_rootok], control: required,
                       reached_on: [success, failure]}],
                       absent: [{module*: pam_unix, arguments: [nullok]}], sound: true
sudo_defaults          values*: {use_pty: COND, logfile: COND, timestamp_timeout: COND (minutes)}
sudo_rules             forbid*: [nopasswd, negation, all], except: [users or %groups]
account_aging          maximum_days, minimum_days, warning_days, inactive_days: COND, accounts: true, except: [user]
system_accounts        except: [user], locked: true, shell: true
root_account           password: [locked, strong], home_mode: "0700", path: true
account_database       checks*: [uid_zero, gid_zero, unique, consistent, shadowed, shadow_group_empty, passwords]
home_directories       mode: "0750", dotfiles_mode: "0740", forbidden_files: [.rhosts], skeleton: true, except: [user]
group_members          group*: sugroup, members: [] (exactly these)
login_defs             values*: {UMASK: COND}
shell_umask            umask*: "027" (at least these bits), of: [login_shell, interactive_shell, pam], services: [sshd]
shell_variable         values: {TMOUT: COND}, read_only: [TMOUT], core_limit: COND
audit_rules            rules*: [lines], exact: false
audit_privileged       skip: [directories]: each program with a SUID or SGID bit has a rule
audit_status           values*: {enabled: COND, lost: COND, backlog_limit: COND, failure: COND}, daemon: true
boot_password          superuser: name (of Debian's boot menu)
lockdown               (nothing: at least integrity)
secure_boot            (nothing: the firmware must have it on)
apparmor               enforce: true, except: [profile globs]
selinux                mode: enforcing
listeners              allowed*: [{port* (number or "*"), protocol: tcp|udp, process: name}],
                       only_loopback: [25]
resolver               servers*: [addresses], dnssec: true|false
aide_database          databases*: [paths, one of which must exist], running: [units that make it: pending]
wireless_interfaces    (nothing: there must be none)
fail2ban_jails         jails*: [sshd], maximum_attempts, find_seconds, ban_seconds: COND, growing: false
tls_versions           certificates*: DECLARED, suites*: [of TLS 1.2]
tls_served             certificates*: DECLARED, suites*: [of TLS 1.2]
tls_client_certificates  certificates*: DECLARED
certificate_lives      certificates*: DECLARED, life_days*: COND, renewal_timers: {kind of issuer: unit.timer}
key_files              certificates*: DECLARED
postgresql_settings    values*: {ssl: COND}, only_if_exists: [reserved_connections], PLACE
postgresql_authentication_rules  methods_denied: [trust, password, md5, ident], superusers_remote: false, PLACE
postgresql_product     PLACE
postgresql_encryption_at_rest    PLACE
postgresql_role_separation  except_roles: [], PLACE
postgresql_least_privilege  except_databases: [postgres], PLACE
postgresql_append_only      tables*: [eventstore.events2], migration_roles: [], timer: x.timer, PLACE
postgresql_transition_log   tables*: [elevation_requests], log_schema: bulwark_audit, PLACE
postgresql_approval_guards  tables*: [elevation_requests], stuck_minutes: 15, PLACE
time_sync              daemons*: [systemd-timesyncd, chrony], synchronised: true, offset_seconds: COND

``DECLARED`` are certificates as the role tls has them: [{name*, issuer_kind, owner, group, mode, listeners:
[{address*, port*, server_name*, protocol: tls|https|postgresql, require_client_certificate}]}]; the catalogue writes
``$tls_declared``. ``PLACE`` is where a cluster is: socket_directory, port, system_user.
"""

from __future__ import annotations
