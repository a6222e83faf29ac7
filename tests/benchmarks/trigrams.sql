-- Copyright: rhpds.litellm_virtual_keys contributors
-- GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
-- SPDX-License-Identifier: GPL-3.0-or-later

-- Measures the index of trigrams that the page Performance describes. It needs a database with the extension pg_trgm, which the
-- PostgreSQL of the sandbox does not have: psql --file tests/benchmarks/trigrams.sql DATABASE

\timing on
CREATE TEMPORARY TABLE keys AS
  SELECT md5(number::text) AS token,
         'virtkey-' || substr(md5((number / 5)::text), 1, 6) || '-user' || (number % 5) AS key_alias,
         repeat('x', 600) AS other_columns
  FROM generate_series(1, 1000000) AS number;
ANALYZE keys;

\echo Without an index: a part of an alias, and a whole alias
SELECT count(*) FROM keys WHERE key_alias LIKE '%virtkey-abc123%';
SELECT count(*) FROM keys WHERE key_alias LIKE '%virtkey-abc123%';
SELECT count(*) FROM keys WHERE key_alias = 'virtkey-abc123-user1';

CREATE EXTENSION IF NOT EXISTS pg_trgm;
CREATE INDEX keys_by_alias ON keys USING gin (key_alias gin_trgm_ops);
SELECT pg_size_pretty(pg_relation_size('keys_by_alias'));

\echo With the index
SELECT count(*) FROM keys WHERE key_alias LIKE '%virtkey-abc123%';
SELECT count(*) FROM keys WHERE key_alias LIKE '%virtkey-abc123%';
SELECT count(*) FROM keys WHERE key_alias = 'virtkey-abc123-user1';
