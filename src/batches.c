/*
 * batches.c
 *		The extension's objects by name.
 *
 * Nothing here caches an OID: the extension and its tables can be dropped and
 * made anew while the library stays loaded.
 */
#include "postgres.h"
#include "compat.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_enum.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

#include "batches.h"

const char *const shard_tables[N_SHARD_TABLES] = {"batch", JOB_COUNT_TABLE, TOTAL_TABLE};

/* What is read in place of the tables; NULL: they themselves. */
static const ShardSet *shards_in_use = NULL;

/* Has shards read in place of the tables, and returns those that were read up to now. */
const ShardSet *
use_shards(const ShardSet *shards)
{
	const ShardSet *previous = shards_in_use;

	shards_in_use = shards;
	return previous;
}

/* The shards that are read in place of a table, and which of them are its own. NULL: it is read itself. */
const ShardSet *
used_shards(const char *table, const Oid **oids)
{
	for (int i = 0; i < N_SHARD_TABLES && shards_in_use != NULL; i++)
		if (strcmp(shard_tables[i], table) == 0)
		{
			*oids = shards_in_use->oids[i];
			return shards_in_use;
		}
	return NULL;
}

/* What a query reads for one of the tables that create_tables() makes. */
const char *
table_expression(const char *table)
{
	const Oid *oids;
	const ShardSet *shards = used_shards(table, &oids);
	StringInfoData sql;

	if (shards == NULL || shards->nshards == 1)
		return quote_qualified_identifier(BATCHES_SCHEMA,
										  shards == NULL ? table : get_rel_name(oids[0]));
	initStringInfo(&sql);
	for (int i = 0; i < shards->nshards; i++)
		appendStringInfo(&sql, "%s select * from %s", i == 0 ? "(" : " union all",
						 quote_qualified_identifier(BATCHES_SCHEMA, get_rel_name(oids[i])));
	appendStringInfoChar(&sql, ')');
	return sql.data;
}

/* The OID of one of the extension's types. */
Oid
extension_type(const char *name)
{
	Oid schema = get_namespace_oid(BATCHES_SCHEMA, false);
	Oid type = GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid, CStringGetDatum(name),
							   ObjectIdGetDatum(schema));

	if (!OidIsValid(type))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("type \"%s.%s\" does not exist", BATCHES_SCHEMA, name),
						errhint("It is part of the extension \"batches\": create that again.")));
	return type;
}

/* The OID of one of the extension's functions without arguments. */
Oid
extension_function(const char *name)
{
	Oid schema = get_namespace_oid(BATCHES_SCHEMA, false);

	return GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid, CStringGetDatum(name),
						   PointerGetDatum(buildoidvector(NULL, 0)), ObjectIdGetDatum(schema));
}

/* An SQL function has an argument, or returns a column, that this library does not know. */
void
fail_on_other_version(Oid function, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("function %s is of another version of the extension than its library",
					format_procedure(function)),
			 errdetail("The library does not have its %s.", what),
			 errhint("If the library is the newer one: ALTER EXTENSION batches UPDATE. A session "
					 "keeps the library that it began with: connect again.")));
}

/* Checks that an SQL function is declared to return columns of these types. */
void
check_result_types(Oid function, TupleDesc descriptor, const Oid *types, int ntypes)
{
	bool fits = descriptor->natts == ntypes;

	for (int i = 0; fits && i < ntypes; i++)
		fits = TupleDescAttr(descriptor, i)->atttypid == types[i];
	if (!fits)
		fail_on_other_version(function, "result");
}

/* The OID of one of the tables that create_tables() makes; while shards are read, of the first one. */
Oid
require_table(const char *name)
{
	Oid schema = get_namespace_oid(BATCHES_SCHEMA, false);
	const Oid *shards;
	Oid table = used_shards(name, &shards) != NULL ? shards[0] : get_relname_relid(name, schema);

	if (!OidIsValid(table))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
						errmsg("table \"%s.%s\" does not exist", BATCHES_SCHEMA, name),
						errhint("Create the tables: SELECT batches.create_tables().")));
	switch (get_rel_relkind(table))
	{
		case RELKIND_RELATION:
		case RELKIND_PARTITIONED_TABLE:
		case RELKIND_FOREIGN_TABLE:
		case RELKIND_VIEW:
		case RELKIND_MATVIEW:
			return table;
	}
	ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
					errmsg("\"%s.%s\" is not a table", BATCHES_SCHEMA, name),
					errhint("Give it another name, and create the tables: SELECT "
							"batches.create_tables().")));
}

/* batches.require_table(name text) returns regclass */
PG_FUNCTION_INFO_V1(batches_require_table);
Datum
batches_require_table(PG_FUNCTION_ARGS)
{
	PG_RETURN_OID(require_table(text_to_cstring(PG_GETARG_TEXT_PP(0))));
}

/* The owner of a table, which need not be open: whose lock might have to be waited for. */
Oid
table_owner(Oid table)
{
	HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(table));
	Oid owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", table);
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

/* Checks that a column has the type that create_tables() gives it: its values are taken for that. */
void
check_column_type(const char *table, const char *column, Oid actual, Oid expected)
{
	if (actual != expected)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of \"%s.%s\" has type %s instead of %s", column,
						BATCHES_SCHEMA, table, format_type_be(actual), format_type_be(expected)),
				 errhint("The columns must have the types that %s.create_tables() gives them.",
						 BATCHES_SCHEMA)));
}

/* The number of a table's column, which must be there and have a type. */
AttrNumber
require_column(TupleDesc descriptor, const char *table, const char *name, Oid type)
{
	for (int i = 0; i < descriptor->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(descriptor, i);

		if (attribute->attisdropped || strcmp(NameStr(attribute->attname), name) != 0)
			continue;
		check_column_type(table, name, attribute->atttypid, type);
		return i + 1;
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("column \"%s\" of \"%s.%s\" does not exist", name, BATCHES_SCHEMA, table),
			 errhint("The tables must have the columns that %s.create_tables() gives them.",
					 BATCHES_SCHEMA)));
}

/*
 * The index of an enumeration's value among its labels, or -1. The values are looked up
 * once, and kept in "known", which is zero at first.
 */
int
find_enum_index(Oid value, const char *const *labels, int nlabels, Oid *known)
{
	HeapTuple tuple;
	NameData label;

	for (int i = 0; i < nlabels; i++)
		if (known[i] == value)
			return i;

	tuple = SearchSysCache1(ENUMOID, ObjectIdGetDatum(value));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for enum value %u", value);
	label = ((Form_pg_enum) GETSTRUCT(tuple))->enumlabel;
	ReleaseSysCache(tuple);
	for (int i = 0; i < nlabels; i++)
		if (strcmp(NameStr(label), labels[i]) == 0)
		{
			known[i] = value;
			return i;
		}
	return -1;
}

/* The same where there must be one. */
int
enum_index(Oid value, const char *const *labels, int nlabels, Oid *known)
{
	int index = find_enum_index(value, labels, nlabels, known);
	HeapTuple tuple;

	if (index >= 0)
		return index;
	tuple = SearchSysCache1(ENUMOID, ObjectIdGetDatum(value));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for enum value %u", value);
	ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					errmsg("unknown label of %s: \"%s\"",
						   format_type_be(((Form_pg_enum) GETSTRUCT(tuple))->enumtypid),
						   NameStr(((Form_pg_enum) GETSTRUCT(tuple))->enumlabel)),
					errhint("The enumerations have the labels that the extension defines: none is "
							"added or renamed.")));
}
