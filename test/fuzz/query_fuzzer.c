/*
 * query_fuzzer.c
 *		Feeds query strings, and headers If-None-Match, to their parsers, outside the
 *		server, and checks what these say: libFuzzer's entry point.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "etag.h"
#include "query.h"

#define MUST(condition)                                                                            \
	do                                                                                             \
	{                                                                                              \
		if (!(condition))                                                                          \
		{                                                                                          \
			fprintf(stderr, "line %d: not so: %s\n", __LINE__, #condition);                        \
			abort();                                                                               \
		}                                                                                          \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Decoded text is UTF-8, by a reading of its own. */
static void
check_utf8(QueryText text)
{
	const unsigned char *p = (const unsigned char *) text.data;
	const unsigned char *end = p + text.length;

	while (p < end)
	{
		uint32_t c = *p++;
		int more = c < 0x80 ? 0 : c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : 1;
		static const uint32_t smallest[] = {0, 0x80, 0x800, 0x10000};

		MUST(c < 0x80 || c >= 0xc0);
		if (more > 0)
			c &= 0x3fu >> more;
		for (int i = 0; i < more; i++)
		{
			MUST(p < end && (*p & 0xc0) == 0x80);
			c = c << 6 | (*p++ & 0x3f);
		}
		MUST(c >= smallest[more] && c <= 0x10ffff && (c < 0xd800 || c > 0xdfff));
		MUST(c != 0);
	}
}

/* Reads a text as each of the parameters, and checks that the answer makes sense. */
static void
check_values(QueryText text)
{
	char *copy = malloc(text.length + 1);

	memcpy(copy, text.data, text.length);
	copy[text.length] = '\0';
	for (int id = 0; id < N_PARAMETERS; id++)
	{
		const Parameter *parameter = &parameters[id];
		QueryValue value;
		QueryError error = read_query_value(parameter, text, &value);

		MUST((value.reason != NULL) ==
			 (error == QUERY_UUID_PARSING || error == QUERY_DATETIME_PARSING ||
			  error == QUERY_DATETIME_FROM_DATE_PARSING));
		if (error != QUERY_OK)
			continue;
		switch (parameter->type)
		{
			case PARAMETER_TYPE_LITERAL:
			case PARAMETER_TYPE_ENUM:
				MUST(strcmp(copy, parameter->labels[value.as.label]) == 0);
				break;
			case PARAMETER_TYPE_INTEGER:
				MUST(strpbrk(copy, "0123456789") != NULL);
				if (strlen(copy) == text.length && text.length < 18 &&
					strspn(copy, "0123456789") == text.length)
					MUST(value.as.integer == strtoll(copy, NULL, 10));
				break;
			case PARAMETER_TYPE_BOOLEAN:
				MUST(text.length >= 1 && text.length <= 5);
				break;
			case PARAMETER_TYPE_TIMESTAMP:
				/* 0001-01-01 to 9999-12-31, and what an offset adds */
				MUST(value.as.microseconds >= (INT64_C(-62135596800) - 86400) * 1000000);
				MUST(value.as.microseconds < (INT64_C(253402300800) + 86400) * 1000000);
				break;
			case PARAMETER_TYPE_UUID:
				MUST(text.length == 32 || text.length == 36 || text.length == 38 ||
					 text.length == 45);
				break;
			case PARAMETER_TYPE_TEXT:
				break;
		}
	}
	free(copy);
}

/* Whether a tag is in a header that is put together of three pieces. */
static bool
is_listed(const char *etag, const char *before, const uint8_t *data, size_t size, const char *behind)
{
	size_t length = strlen(before) + size + strlen(behind);
	char *header = malloc(length);
	bool listed;

	memcpy(header, before, strlen(before));
	memcpy(header + strlen(before), data, size);
	memcpy(header + strlen(before) + size, behind, strlen(behind));
	listed = etag_is_listed(etag, header, length);
	free(header);
	return listed;
}

/* Reads a header as it is, and with more in it: the tag is in none, and "*" in all. */
static void
check_etag(const uint8_t *data, size_t size)
{
	char etag[ETAG_LENGTH + 1];
	char other[ETAG_LENGTH + 1];
	char list[ETAG_LENGTH + 2];
	char *body = malloc(size);
	bool is_list;

	memcpy(body, data, size);
	make_etag(etag, body, size);
	MUST(strlen(etag) == ETAG_LENGTH && strspn(etag + 3, "0123456789abcdef") == ETAG_LENGTH - 4);
	for (size_t i = 0; i < size && i < 32; i++)
	{
		body[i] ^= 1;
		make_etag(other, body, size);
		MUST(strcmp(etag, other) != 0);
		body[i] ^= 1;
	}
	free(body);

	/* What has it is the asterisk alone. */
	if (is_listed(etag, "", data, size, ""))
	{
		MUST(memchr(data, '*', size) != NULL);
		for (size_t i = 0; i < size; i++)
			MUST(data[i] == '*' || data[i] == ' ' || data[i] == '\t');
	}
	snprintf(list, sizeof(list), ",%s", etag);
	is_list = is_listed(etag, "", data, size, list);
	snprintf(list, sizeof(list), "%s,", etag);
	MUST(is_listed(etag, list, data, size, "") == is_list);
	MUST(is_listed(etag, list + 2, data, size, " ,\t") == is_list);
	MUST(!is_listed(etag, list + 3, data, size, ""));
	MUST(!is_listed(etag, "*,", data, size, ""));
	MUST(!is_listed(etag, "w/", data, size, list));
	if (is_list)
		for (size_t i = 0; i < size; i++)
			MUST(data[i] == '\t' || (data[i] >= ' ' && data[i] != 0x7f));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* Of just the size that is asked for, so that the sanitizer sees one byte more. */
	char *query = malloc(size);
	char *buffer = malloc(QUERY_BUFFER_SIZE(size));
	QueryCursor cursor;
	QueryText name;
	QueryText value;

	memcpy(query, data, size);
	begin_query(&cursor, query, size, buffer);
	while (next_query_pair(&cursor, &name, &value))
	{
		const Parameter *parameter = parameter_named(name, false);
		const Parameter *extended = parameter_named(name, true);

		check_utf8(name);
		check_utf8(value);
		MUST(parameter == NULL || (parameter == extended && parameter->scope == SCOPE_ENDPOINT));
		MUST(extended == NULL || extended->scope != SCOPE_SQL);
		check_values(value);
	}
	free(buffer);
	free(query);
	check_etag(data, size);
	return 0;
}
