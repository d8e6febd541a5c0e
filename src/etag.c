/*
 * etag.c
 *		The entity tag of a body, and whether a client's If-None-Match has it.
 */
#include "etag.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define WEAK "W/"

/* A step that can be undone: no two words lead from one state to the same other one. */
static inline uint64_t
mix(uint64_t state, uint64_t word)
{
	state = (state ^ word) * UINT64_C(0x9e3779b97f4a7c15);
	return state ^ state >> 32;
}

/*
 * Writes the tag of a body, ETAG_LENGTH characters and a zero. It depends on the bytes alone,
 * and on their order in the machine's words. Two sums, of every other word, are several times
 * as fast as the server's hash functions.
 */
void
make_etag(char *etag, const char *body, size_t length)
{
	const char *end = body + length;
	uint64_t first = mix(length, 1);
	uint64_t second = mix(length, 2);
	uint64_t words[2];

	for (; (size_t) (end - body) >= sizeof(words); body += sizeof(words))
	{
		memcpy(words, body, sizeof(words));
		first = mix(first, words[0]);
		second = mix(second, words[1]);
	}
	memset(words, 0, sizeof(words));
	memcpy(words, body, end - body);
	snprintf(etag, ETAG_LENGTH + 1, WEAK "\"%016" PRIx64 "%016" PRIx64 "\"",
			 mix(mix(first, words[0]), 0), mix(mix(second, words[1]), 0));
}

static const char *
skip_space(const char *p, const char *end)
{
	while (p < end && (*p == ' ' || *p == '\t'))
		p++;
	return p;
}

static bool
is_tag_character(unsigned char c)
{
	return c == '!' || (c > '"' && c != 0x7f);
}

/*
 * Whether an If-None-Match has a tag, by the weak comparison; "*" has all. What is not as
 * RFC 9110 wants it, anywhere, has none.
 */
bool
etag_is_listed(const char *etag, const char *header, size_t length)
{
	const char *wanted = etag + strlen(WEAK);
	size_t wanted_length = ETAG_LENGTH - strlen(WEAK);
	const char *end = header + length;
	const char *p = skip_space(header, end);
	bool found = false;

	if (p < end && *p == '*')
		return skip_space(p + 1, end) == end;
	while (p < end)
	{
		/* An element may be empty. */
		if (*p != ',')
		{
			const char *tag;

			if (end - p > 2 && memcmp(p, WEAK, 2) == 0)
				p += 2;
			tag = p;
			if (*p++ != '"')
				return false;
			while (p < end && is_tag_character(*p))
				p++;
			if (p == end || *p++ != '"')
				return false;
			found |= (size_t) (p - tag) == wanted_length && memcmp(tag, wanted, wanted_length) == 0;
			p = skip_space(p, end);
		}
		if (p < end && *p++ != ',')
			return false;
		p = skip_space(p, end);
	}
	return found;
}
