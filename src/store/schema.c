#include "store/schema.h"

#include "base/alloc.h"
#include "base/utf8.h"

#define TIMEOUT_MS    10000u
#define MIGRATE_MS    300000u /* includes waiting for another node that migrates */
#define TAG           "$rtbroker$"
#define STRINGIFY_(x) #x
#define STRINGIFY(x)  STRINGIFY_(x)

/* ---- migrations: only ever add to the end, and keep what the version before needs ---------------------------- */

static const char *const migrations[] = {
    /* 1 */
    "    CREATE TABLE {schema}.message (\n"
    "        epoch       text COLLATE \"C\" NOT NULL,\n"
    "        \"offset\"    bigint NOT NULL,\n"
    "        time        timestamptz NOT NULL,\n"
    "        channel     text COLLATE \"C\" NOT NULL,\n"
    "        id          uuid NOT NULL,\n"
    "        event       text,\n"
    "        kind        smallint NOT NULL,\n"
    "        flags       smallint NOT NULL DEFAULT 0,\n"
    "        data        bytea NOT NULL,\n"
    "        attachments bytea[],\n"
    "        publisher   text,\n"
    "        key         text,\n"
    "        PRIMARY KEY (epoch, \"offset\", time)\n"
    "    ) PARTITION BY RANGE (time);\n"
    "    CREATE INDEX message_by_position ON {schema}.message (channel, epoch, \"offset\");\n"
    "    CREATE INDEX message_by_time ON {schema}.message (channel, time);\n"
    "    CREATE INDEX message_with_key ON {schema}.message (epoch, \"offset\") WHERE key IS NOT NULL;\n"
    "    CREATE TABLE {schema}.message_default PARTITION OF {schema}.message DEFAULT;\n"
    "    COMMENT ON TABLE {schema}.message IS 'What was published. offset: position in the log; kind: 0 JSON, 1 text, 2 bytes';\n"
    "\n"
    "    CREATE TABLE {schema}.progress (\n"
    "        topic    text COLLATE \"C\" NOT NULL,\n"
    "        part     int NOT NULL,\n"
    "        epoch    text COLLATE \"C\" NOT NULL,\n"
    "        next     bigint NOT NULL,\n"
    "        purged   bigint NOT NULL DEFAULT 0,\n"
    "        epoch_at bigint NOT NULL DEFAULT 0,\n"
    "        PRIMARY KEY (topic, part)\n"
    "    );\n"
    "    COMMENT ON TABLE {schema}.progress IS 'Per partition of the topic: everything below next is stored; up to purged it may be gone';\n"
    "    CREATE TABLE {schema}.purged (\n"
    "        epoch text COLLATE \"C\" PRIMARY KEY,\n"
    "        upto  bigint NOT NULL\n"
    "    );\n"
    "    COMMENT ON TABLE {schema}.purged IS 'Per epoch: up to this offset retention may have dropped messages';\n"
    "    CREATE TABLE {schema}.holder (\n"
    "        topic       text COLLATE \"C\" NOT NULL,\n"
    "        pid         int NOT NULL,\n"
    "        node        text NOT NULL,\n"
    "        since       timestamptz NOT NULL,\n"
    "        lease_until timestamptz NOT NULL,\n"
    "        parts       int[] NOT NULL,\n"
    "        PRIMARY KEY (topic, pid)\n"
    "    );\n"
    "    COMMENT ON TABLE {schema}.holder IS 'Sessions that write the topic: until when their word counts, and which partitions they hold';\n"
    "\n"
    "    CREATE TABLE {schema}.repeat (\n"
    "        epoch     text COLLATE \"C\" NOT NULL,\n"
    "        \"offset\"  bigint NOT NULL,\n"
    "        first     bigint NOT NULL,\n"
    "        time      timestamptz NOT NULL,\n"
    "        publisher text,\n"
    "        key       text NOT NULL,\n"
    "        channel   text COLLATE \"C\" NOT NULL,\n"
    "        id        uuid NOT NULL,\n"
    "        PRIMARY KEY (epoch, \"offset\")\n"
    "    );\n"
    "    CREATE INDEX repeat_by_time ON {schema}.repeat (time);\n"
    "    COMMENT ON TABLE {schema}.repeat IS 'Records skipped: the idempotency key was used before, by the record at first';\n"
    "    CREATE TABLE {schema}.dead_letter (\n"
    "        topic    text COLLATE \"C\" NOT NULL,\n"
    "        part     int NOT NULL,\n"
    "        \"offset\" bigint NOT NULL,\n"
    "        epoch    text COLLATE \"C\" NOT NULL,\n"
    "        time     timestamptz,\n"
    "        channel  bytea,\n"
    "        headers  bytea,\n"
    "        data     bytea,\n"
    "        sqlstate text,\n"
    "        error    text,\n"
    "        at       timestamptz NOT NULL DEFAULT now(),\n"
    "        PRIMARY KEY (topic, part, epoch, \"offset\")\n"
    "    );\n"
    "    COMMENT ON TABLE {schema}.dead_letter IS 'Records that could not be stored, as they are in the log';\n"
    "\n"
    "    -- Text of a message, whatever is stored: NUL, which text cannot hold, becomes U+FFFD; bytes become base64.\n"
    "    CREATE FUNCTION {schema}.message_text(kind smallint, data bytea) RETURNS text\n"
    "        LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog AS $text$\n"
    "    BEGIN\n"
    "        -- A JSON text is what it says, without its quotes: a classic stack has the chat's JSON in its text.\n"
    "        IF kind = 0 AND substring(data FROM 1 FOR 1) = '\\x22'::bytea THEN\n"
    "            RETURN convert_from(data, 'UTF8')::json #>> '{}';\n"
    "        END IF;\n"
    "        IF kind IN (0, 1) THEN\n"
    "            RETURN convert_from(data, 'UTF8');\n"
    "        END IF;\n"
    "        RETURN replace(encode(data, 'base64'), E'\\n', '');\n"
    "    EXCEPTION WHEN OTHERS THEN\n"
    "        BEGIN\n"
    "            -- \"escape\" writes each byte as \\nnn or as itself and a backslash as two; these go first, so that no \\000 is misread.\n"
    "            RETURN convert_from(decode(replace(replace(encode(data, 'escape'), E'\\\\\\\\', E'\\\\134'),\n"
    "                E'\\\\000', E'\\\\357\\\\277\\\\275'), 'escape'), 'UTF8');\n"
    "        EXCEPTION WHEN OTHERS THEN\n"
    "            RETURN replace(encode(substring(data FROM 1 FOR 100000000), 'base64'), E'\\n', '');\n"
    "        END;\n"
    "    END $text$;\n"
    "    CREATE VIEW {schema}.messages AS\n"
    "        SELECT id::text AS id, {schema}.message_text(kind, data) AS text,\n"
    "            (time AT TIME ZONE 'UTC')::timestamp(3) AS created_at FROM {schema}.message;\n"
    "    COMMENT ON VIEW {schema}.messages IS 'Messages as applications of a classic Socket.IO, Kafka and Prisma stack read them';\n",
    /* 2 */
    "    ALTER TABLE {schema}.progress ADD COLUMN ticks text COLLATE \"C\" NOT NULL DEFAULT '';\n"
    "    COMMENT ON COLUMN {schema}.progress.ticks IS 'Where the window of idempotency keys begins: epoch, and the ticks of the log''s clock';\n",
    /* 3 */
    "    ALTER TABLE {schema}.message ADD COLUMN except_in text;\n"
    "    COMMENT ON COLUMN {schema}.message.except_in IS 'Channels whose members did not get it, one a line';\n",
};

_Static_assert(sizeof(migrations) / sizeof(migrations[0]) == RT_SCHEMA_VERSION,
               "one text per version");

static const char HEAD[] = "-- Schema of rtbroker's history, version " STRINGIFY(
    RT_SCHEMA_VERSION) ", in {schema}. It may be run again.\n"
                       "-- psql -v ON_ERROR_STOP=1 -f FILE, as the role that rtbroker connects as, or that role must own the tables afterwards:\n"
                       "-- partitions are made and dropped by it.\n"
                       "BEGIN;\n"
                       "SET LOCAL statement_timeout = 0;\n"
                       "SET LOCAL lock_timeout = 0;\n"
                       "DO " TAG "\n"
                       "BEGIN\n"
                       "    PERFORM pg_advisory_xact_lock(hashtextextended('rtbroker schema ' || {name}, 0));\n"
                       "    IF to_regnamespace(quote_ident({name})) IS NULL THEN\n"
                       "        CREATE SCHEMA {schema};\n"
                       "    END IF;\n"
                       "    IF to_regclass(quote_ident({name}) || '.migration') IS NULL THEN\n"
                       "        CREATE TABLE {schema}.migration (\n"
                       "            version    int PRIMARY KEY,\n"
                       "            applied_at timestamptz NOT NULL DEFAULT now()\n"
                       "        );\n"
                       "    END IF;\n"
                       "END " TAG ";\n";

static const char *const FOOT = "COMMIT;\n";

/* ---- text ---------------------------------------------------------------------------------------------------- */

void rt_schema_sql(struct rt_buf *out, const char *text, const char *schema)
{
    for (const char *p = text; *p;) {
        size_t plain = strcspn(p, "{");
        rt_buf_add(out, p, plain);
        p += plain;
        if (strncmp(p, "{schema}", 8) == 0) {
            rt_pg_add_identifier(out, schema);
            p += 8;
        } else if (strncmp(p, "{name}", 6) == 0) {
            rt_pg_add_literal(out, schema);
            p += 6;
        } else if (*p) {
            rt_buf_add_byte(out, (uint8_t)*p++);
        }
    }
}

char *rt_schema_statement(const char *text, const char *schema)
{
    struct rt_buf out = RT_BUF_INIT;
    rt_schema_sql(&out, text, schema);
    return rt_buf_take_text(&out);
}

int rt_schema_check(const char *schema, struct rt_err *err)
{
    size_t len = schema ? strlen(schema) : 0;
    if (len == 0 || len > RT_SCHEMA_NAME)
        return rt_err_set(err, RT_EINVAL, "postgres.schema: a name has 1 to %d bytes, this one %zu",
                          RT_SCHEMA_NAME, len);
    if (!rt_utf8_valid(schema, len))
        return rt_err_set(err, RT_EINVAL, "postgres.schema: not UTF-8");
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)schema[i] < 0x20 || schema[i] == 0x7f || schema[i] == '$')
            return rt_err_set(err, RT_EINVAL,
                              "postgres.schema: \"%s\" has a dollar sign or a control character",
                              schema);
    if (strncmp(schema, "pg_", 3) == 0)
        return rt_err_set(err, RT_EINVAL,
                          "postgres.schema: \"%s\": names that begin with pg_ are PostgreSQL's own",
                          schema);
    return RT_OK;
}

int rt_store_ddl(const char *schema, struct rt_buf *out, struct rt_err *err)
{
    int code = rt_schema_check(schema, err);
    if (code < 0)
        return code;
    rt_schema_sql(out, HEAD, schema);
    for (int version = 1; version <= RT_SCHEMA_VERSION; version++) {
        rt_buf_add_c(out, "DO " TAG "\nBEGIN\n");
        rt_schema_sql(out,
                      "    IF EXISTS (SELECT FROM {schema}.migration WHERE version = ", schema);
        rt_buf_printf(out, "%d) THEN\n        RETURN;\n    END IF;\n\n", version);
        rt_schema_sql(out, migrations[version - 1], schema);
        rt_schema_sql(out, "\n    INSERT INTO {schema}.migration (version) VALUES (", schema);
        rt_buf_printf(out, "%d);\nEND " TAG ";\n", version);
    }
    rt_buf_add_c(out, FOOT);
    return rt_buf_ok(out) ? RT_OK : rt_err_nomem(err);
}

/* ---- migrating ----------------------------------------------------------------------------------------------- */

static int check_encoding(struct rt_pg *pg, struct rt_err *err)
{
    const char *encoding = PQparameterStatus(pg->conn, "server_encoding");
    if (!encoding || strcmp(encoding, "UTF8") == 0)
        return RT_OK;
    pg->failure = RT_PG_PROGRAM;
    return rt_err_set(err, RT_EINVAL,
                      "the database \"%s\" has the encoding %s; UTF8 is needed "
                      "(CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0)",
                      PQdb(pg->conn), encoding);
}

static int query_number(struct rt_pg *pg, const char *text, const char *schema, int64_t *ret_value,
                        struct rt_err *err)
{
    PGresult *result = NULL;
    char *sql = rt_schema_statement(text, schema);
    int code = sql ? rt_pg_exec(pg, sql, NULL, TIMEOUT_MS, &result, err) : rt_err_nomem(err);
    if (code == RT_OK)
        *ret_value = rt_pg_int(result, 0, 0);
    PQclear(result);
    rt_free(sql);
    return code;
}

/* 0: there is none. */
static int read_version(struct rt_pg *pg, const char *schema, int64_t *ret_version,
                        struct rt_err *err)
{
    int64_t exists = 0;
    int code =
        query_number(pg, "SELECT to_regclass(quote_ident({name}) || '.migration') IS NOT NULL",
                     schema, &exists, err);
    *ret_version = 0;
    if (code < 0 || !exists)
        return code;
    return query_number(pg, "SELECT coalesce(max(version), 0) FROM {schema}.migration", schema,
                        ret_version, err);
}

int rt_schema_migrate(struct rt_pg *pg, const char *schema, struct rt_err *err)
{
    int64_t version = 0;
    int code = rt_schema_check(schema, err);
    if (code < 0)
        pg->failure = RT_PG_PROGRAM;
    if (code == RT_OK)
        code = check_encoding(pg, err);
    if (code == RT_OK)
        code = read_version(pg, schema, &version, err);
    if (code < 0 || version >= RT_SCHEMA_VERSION)
        return code;
    struct rt_buf sql = RT_BUF_INIT;
    code = rt_store_ddl(schema, &sql, err);
    const char *script = code == RT_OK ? rt_buf_cstr(&sql) : NULL;
    code = script ? rt_pg_run(pg, script, MIGRATE_MS, err) : rt_err_nomem(err);
    rt_buf_deinit(&sql);
    if (code == RT_OK || !rt_pg_usable(pg))
        return code;
    /* The script ends early on a failure and leaves its transaction open. */
    enum rt_pg_failure failure = pg->failure;
    (void)rt_pg_run(pg, "ROLLBACK", TIMEOUT_MS, NULL);
    pg->failure = failure;
    (void)rt_err_wrap(err, "schema \"%s\"", schema);
    return code;
}
