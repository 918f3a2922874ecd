-- Copyright (c) 2026, bulwark.hardening contributors
-- GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
-- SPDX-License-Identifier: GPL-3.0-or-later
--
-- What ZITADEL's init and setup leave, as far as privileges depend on it: its schemas, the event store with its function
-- push, and one table for each way in which the rest is used.
CREATE SCHEMA eventstore;
CREATE SCHEMA projections;
CREATE SCHEMA system;
CREATE SCHEMA auth;
CREATE SCHEMA adminapi;
CREATE SCHEMA cache;
CREATE SCHEMA queue;
CREATE TABLE eventstore.events2 (
  instance_id text NOT NULL,
  aggregate_type text NOT NULL,
  aggregate_id text NOT NULL,
  event_type text NOT NULL,
  sequence bigint NOT NULL,
  revision smallint NOT NULL,
  created_at timestamptz NOT NULL,
  payload jsonb,
  creator text NOT NULL,
  owner text NOT NULL,
  position numeric NOT NULL,
  in_tx_order integer NOT NULL,
  PRIMARY KEY (instance_id, aggregate_type, aggregate_id, sequence)
);
CREATE TABLE eventstore.unique_constraints (
  instance_id text, unique_type text, unique_field text, PRIMARY KEY (instance_id, unique_type, unique_field)
);
CREATE TABLE eventstore.fields (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(), instance_id text NOT NULL, field_name text NOT NULL, value jsonb
);
CREATE TYPE eventstore.command AS (
  instance_id text, aggregate_type text, aggregate_id text, command_type text, revision smallint, payload jsonb,
  creator text, owner text
);
CREATE FUNCTION eventstore.latest_sequence(command eventstore.command) RETURNS bigint LANGUAGE sql STABLE AS $f$
  SELECT coalesce(max(sequence), 0) FROM eventstore.events2
  WHERE instance_id = command.instance_id AND aggregate_type = command.aggregate_type
    AND aggregate_id = command.aggregate_id
$f$;
CREATE FUNCTION eventstore.push(commands eventstore.command[]) RETURNS SETOF eventstore.events2 LANGUAGE sql AS $f$
  INSERT INTO eventstore.events2
  SELECT c.instance_id, c.aggregate_type, c.aggregate_id, c.command_type,
    eventstore.latest_sequence(c) + row_number() OVER (), c.revision, statement_timestamp(), c.payload, c.creator,
    c.owner, extract(epoch FROM clock_timestamp()), row_number() OVER ()
  FROM unnest(commands) AS c
  RETURNING *
$f$;
CREATE TABLE projections.current_states (
  projection_name text, instance_id text, position numeric, last_updated timestamptz, PRIMARY KEY (projection_name, instance_id)
);
CREATE TABLE projections.locks (
  locker_id text, locked_until timestamptz, projection_name text, instance_id text, PRIMARY KEY (projection_name, instance_id)
);
CREATE TABLE projections.failed_events2 (projection_name text PRIMARY KEY, failure_count integer, error text);
CREATE TABLE projections.users14 (id text PRIMARY KEY, state integer);
CREATE TABLE system.encryption_keys (id text PRIMARY KEY, key text NOT NULL);
CREATE TABLE auth.user_sessions (id text PRIMARY KEY, state integer);
CREATE TABLE adminapi.styling2 (id text PRIMARY KEY, state integer);
CREATE UNLOGGED TABLE cache.objects (cache_name text, id uuid DEFAULT gen_random_uuid(), payload jsonb);
CREATE UNLOGGED TABLE cache.string_keys (cache_name text, index_key text, object_id uuid);
CREATE TABLE queue.river_job (id bigserial PRIMARY KEY, state text NOT NULL DEFAULT 'available', args jsonb);
INSERT INTO eventstore.events2 VALUES ('i', 'user', '1', 'user.added', 1, 1, now(), '{}', 'system', 'o', 1, 1);
INSERT INTO system.encryption_keys VALUES ('first', 'k');
