/*
 * user.c
 *		The authenticated user.
 *
 * It is the setting batches.user_id, which takes a superuser or a granted role to
 * set. With batches.trust_jwt_claims on it is, failing that, the subject of the
 * claims that PostgREST has verified and put into request.jwt.claims. Any role can
 * set that one, so trusting it is the superuser's decision.
 */
#include "postgres.h"
#include "compat.h"

#include "common/jsonapi.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#include "batches.h"

#define MAX_CLAIMS_DEPTH 1000

static char *user_id = NULL;
static bool trust_jwt_claims = false;

/* Looks for the member "sub" of the outermost object. */
typedef struct SubjectSearch
{
	int depth;
	bool in_subject;
	char *subject; /* NULL if it is no string */
} SubjectSearch;

void
define_user_settings(void)
{
	DefineCustomStringVariable(
		"batches.user_id", "The authenticated user, whose projects' batches are listed.",
		"Empty means that there is none.", &user_id, "", PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable(
		"batches.trust_jwt_claims",
		"Without batches.user_id, the authenticated user is the \"sub\" of request.jwt.claims.",
		NULL, &trust_jwt_claims, false, PGC_SUSET, 0, NULL, NULL, NULL);
}

static JSON_ACTION_RESULT
enter(void *arg)
{
	((SubjectSearch *) arg)->depth++;
	return JSON_ACTION_DONE;
}

static JSON_ACTION_RESULT
leave(void *arg)
{
	((SubjectSearch *) arg)->depth--;
	return JSON_ACTION_DONE;
}

static JSON_ACTION_RESULT
enter_member(void *arg, char *name, bool isnull)
{
	SubjectSearch *search = arg;

	/* A repeated member replaces the one before. */
	if (search->depth == 1)
	{
		search->in_subject = strcmp(name, "sub") == 0;
		if (search->in_subject)
			search->subject = NULL;
	}
	return JSON_ACTION_DONE;
}

static JSON_ACTION_RESULT
take_scalar(void *arg, char *token, JsonTokenType type)
{
	SubjectSearch *search = arg;

	if (search->depth == 1 && search->in_subject && type == JSON_TOKEN_STRING)
		search->subject = token;
	return JSON_ACTION_DONE;
}

/*
 * Whether PostgreSQL's parser could raise an error on a JSON text, instead of saying
 * that it is none: it recurses, and where the database is not UTF-8, it fails on
 * escapes for characters that the database lacks. PostgREST writes neither.
 */
static bool
is_unparsable(const char *json)
{
	bool utf8 = GetDatabaseEncoding() == PG_UTF8;
	int depth = 0;

	/* A brace within a string counts, too: claims have not that many. */
	for (; *json != '\0' && depth <= MAX_CLAIMS_DEPTH; json++)
	{
		if (*json == '[' || *json == '{')
			depth++;
		else if (*json == ']' || *json == '}')
			depth--;
		else if (!utf8 && strncmp(json, "\\u", 2) == 0 &&
				 !(strncmp(json + 2, "00", 2) == 0 && json[4] >= '0' && json[4] <= '7'))
			return true;
	}
	return depth > MAX_CLAIMS_DEPTH;
}

/* The subject of a JSON object, or NULL if there is none or it is not JSON. */
static const char *
subject_of(const char *claims)
{
	SubjectSearch search = {0};
	JsonSemAction actions = {
		.semstate = &search,
		.object_start = enter,
		.object_end = leave,
		.array_start = enter,
		.array_end = leave,
		.object_field_start = enter_member,
		.scalar = take_scalar,
	};

	if (is_unparsable(claims) ||
		pg_parse_json(make_json_lex_context(unconstify(char *, claims), strlen(claims),
											GetDatabaseEncoding()),
					  &actions) != JSON_SUCCESS)
		return NULL;
	return search.subject;
}

/*
 * The authenticated user, or NULL. A setting of the server's or of the connection's start
 * may have bytes that are no text of this database: such a user is an error.
 */
const char *
authenticated_user_id(void)
{
	const char *user = user_id;

	if (trust_jwt_claims && (user == NULL || user[0] == '\0'))
	{
		const char *claims = GetConfigOption("request.jwt.claims", true, false);

		user = claims == NULL ? NULL : subject_of(claims);
	}
	if (user == NULL || user[0] == '\0')
		return NULL;
	if (!pg_verifymbstr(user, (int) strlen(user), true))
		ereport(ERROR,
				(errcode(ERRCODE_CHARACTER_NOT_IN_REPERTOIRE),
				 errmsg("the authenticated user is no text in the encoding \"%s\"",
						GetDatabaseEncodingName()),
				 errhint("Give %s.user_id a value in the database's encoding.", BATCHES_SCHEMA)));
	return user;
}

/* Without an authenticated user, an error. */
void
require_user(void)
{
	if (authenticated_user_id() == NULL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
						errmsg("no authenticated user"),
						errhint("Set batches.user_id to the user's id, for example: SET LOCAL "
								"batches.user_id = 'user-123'.")));
}

/* batches.require_user() returns boolean */
PG_FUNCTION_INFO_V1(batches_require_user);
Datum
batches_require_user(PG_FUNCTION_ARGS)
{
	require_user();
	PG_RETURN_BOOL(true);
}

/* batches.current_user_id() returns text */
PG_FUNCTION_INFO_V1(batches_current_user_id);
Datum
batches_current_user_id(PG_FUNCTION_ARGS)
{
	const char *user = authenticated_user_id();

	if (user == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(user));
}
