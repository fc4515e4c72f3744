/* The schema: tables, numbered migrations, the DDL as text.
 *
 * All migrations are one script in one transaction behind an advisory lock; it does what is not done yet, so it may run again, from several nodes at once, or by psql
 * (`rtbroker schema`): then rt_schema_migrate() finds everything there and needs no right but SELECT on "migration". A schema that a newer rtbroker has migrated is
 * accepted, since nodes are replaced one by one; a migration keeps what the version before it needs.
 * Encoding: the database's must be UTF8 (else RT_EINVAL): what is valid for the log could not be stored.
 *
 *   message      what was published, by (epoch, offset); daily partitions by time (UTC) and a default one
 *   messages     view for applications of the classic stack: id, text, created_at
 *   progress     per partition of the topic: what is stored
 *   holder       per session that writes: its lease, and what it holds (store/sink_owner.h)
 *   purged       per epoch: up to where messages may be gone by retention
 *   repeat       records that were skipped as repetitions of an idempotency key
 *   dead_letter  records that could not be stored
 *
 * Thread: a worker's, with its connection; rt_schema_sql(), rt_schema_check() any. */
#ifndef RT_STORE_SCHEMA_H
#define RT_STORE_SCHEMA_H

#include "store/pg.h"

#define RT_SCHEMA_VERSION 3
#define RT_SCHEMA_NAME    63 /* longest name of a schema in PostgreSQL, bytes */

/* Can `schema` be a name of ours? RT_EINVAL with text. */
int rt_schema_check(const char *schema, struct rt_err *err);
/* Brings the schema to RT_SCHEMA_VERSION. RT_EINVAL: name or encoding; RT_EIO as rt_pg_exec(). */
int rt_schema_migrate(struct rt_pg *pg, const char *schema, struct rt_err *err);
/* Appends `text` with every {schema} as the quoted identifier, every {name} as a string literal. */
void rt_schema_sql(struct rt_buf *out, const char *text, const char *schema);
/* The same as a text of its own (rt_free); NULL: out of memory. */
char *rt_schema_statement(const char *text, const char *schema);
/* Appends the script. RT_EINVAL, RT_ENOMEM. Also declared in store/store.h, for the command line. */
int rt_store_ddl(const char *schema, struct rt_buf *out, struct rt_err *err);

#endif
