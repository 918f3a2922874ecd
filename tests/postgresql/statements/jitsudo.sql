-- Copyright (c) 2026, bulwark.hardening contributors
-- GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
-- SPDX-License-Identifier: GPL-3.0-or-later
--
-- The objects that jitsudo's migrations leave at schema version 5, as far as privileges depend on them.
CREATE TYPE request_state AS ENUM ('PENDING', 'APPROVED', 'REJECTED', 'ACTIVE', 'EXPIRED', 'REVOKED');
CREATE TYPE policy_type AS ENUM ('ELIGIBILITY', 'APPROVAL');
CREATE TABLE schema_migrations (version bigint PRIMARY KEY, dirty boolean NOT NULL);
INSERT INTO schema_migrations VALUES (5, false);
CREATE TABLE elevation_requests (
  id text PRIMARY KEY,
  state request_state NOT NULL DEFAULT 'PENDING',
  requester_identity text NOT NULL,
  provider text NOT NULL,
  role text NOT NULL,
  resource_scope text NOT NULL DEFAULT '',
  duration_seconds bigint NOT NULL,
  reason text NOT NULL DEFAULT '',
  break_glass boolean NOT NULL DEFAULT false,
  metadata jsonb NOT NULL DEFAULT '{}',
  approver_identity text,
  approver_comment text,
  expires_at timestamptz,
  revoke_token text,
  credentials_json jsonb,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  approver_tier text NOT NULL DEFAULT 'human' CHECK (approver_tier IN ('auto', 'ai_review', 'human')),
  ai_reasoning_json text
);
CREATE INDEX ON elevation_requests (state);
CREATE TABLE policies (
  id text PRIMARY KEY,
  name text NOT NULL UNIQUE,
  type policy_type NOT NULL,
  rego text NOT NULL,
  description text NOT NULL DEFAULT '',
  enabled boolean NOT NULL DEFAULT true,
  updated_by text NOT NULL DEFAULT '',
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE audit_events (
  id bigserial PRIMARY KEY,
  "timestamp" timestamptz NOT NULL DEFAULT now(),
  actor_identity text NOT NULL,
  action text NOT NULL,
  request_id text,
  provider text NOT NULL DEFAULT '',
  resource_scope text NOT NULL DEFAULT '',
  outcome text NOT NULL,
  details_json text NOT NULL DEFAULT '{}',
  prev_hash text NOT NULL DEFAULT '',
  hash text NOT NULL
);
CREATE INDEX ON audit_events (request_id);
CREATE TABLE principals (
  identity text PRIMARY KEY,
  trust_tier integer NOT NULL DEFAULT 0 CHECK (trust_tier BETWEEN 0 AND 4),
  enrolled_by text NOT NULL DEFAULT '',
  enrolled_at timestamptz NOT NULL DEFAULT now(),
  last_seen_at timestamptz NOT NULL DEFAULT now(),
  notes text NOT NULL DEFAULT ''
);
INSERT INTO audit_events (actor_identity, action, outcome, hash) VALUES ('first', 'request.created', 'ok', 'h0');
INSERT INTO elevation_requests (id, requester_identity, provider, role, duration_seconds)
  VALUES ('r0', 'a@example.org', 'aws', 'admin', 60);
INSERT INTO policies (id, name, type, rego) VALUES ('p0', 'first', 'APPROVAL', 'package x');
INSERT INTO principals (identity) VALUES ('a@example.org');
