/*
 * query.c
 *		Reads query strings, application/x-www-form-urlencoded, and the values in them.
 *
 * Values are read as pydantic v2 reads them from strings, in its lax mode: the
 * same spellings are taken, and the same errors found. Plain C, nothing of the
 * server, so that a fuzzer can run it by itself: no recursion, no allocation, and
 * time in proportion to the input.
 */
#include <math.h>
#include <string.h>

#include "query.h"

/* The value of a hexadecimal digit, or -1. */
int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/*
 * Pairs
 */

/*
 * The length of the UTF-8 character at the beginning of some bytes. If there is
 * none, valid is false, and the length is that of what one replacement character
 * stands for: the beginning of a character, or a byte that begins none.
 */
static size_t
utf8_length(const unsigned char *bytes, size_t available, bool *valid)
{
	unsigned char lead = bytes[0];
	unsigned char low = 0x80;
	unsigned char high = 0xbf;
	size_t length;
	size_t i;

	*valid = lead < 0x80;
	if (lead < 0x80)
		return 1;
	if (lead < 0xc2 || lead > 0xf4)
		return 1;
	length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
	/* No overlong forms, no surrogates, nothing beyond U+10FFFF. */
	if (lead == 0xe0)
		low = 0xa0;
	else if (lead == 0xed)
		high = 0x9f;
	else if (lead == 0xf0)
		low = 0x90;
	else if (lead == 0xf4)
		high = 0x8f;
	for (i = 1; i < length && i < available; i++)
	{
		if (bytes[i] < low || bytes[i] > high)
			return i;
		low = 0x80;
		high = 0xbf;
	}
	*valid = i == length;
	return i;
}

/* Decodes a name or a value into the cursor's buffer. */
static QueryText
decode(QueryCursor *cursor, const char *text, const char *end)
{
	/*
	 * The bytes first, behind the room for what they become: a byte that is not
	 * UTF-8, or zero, becomes the three of U+FFFD.
	 */
	size_t length = (size_t) (end - text);
	unsigned char *bytes = (unsigned char *) cursor->buffer + 3 * length;
	size_t nbytes = 0;
	QueryText decoded = {.data = cursor->buffer, .storable = true};

	while (text < end)
	{
		unsigned char c = (unsigned char) *text;

		if (c == '+')
			c = ' ';
		else if (c == '%' && end - text > 2 && hex_digit(text[1]) >= 0 && hex_digit(text[2]) >= 0)
		{
			c = (unsigned char) (hex_digit(text[1]) << 4 | hex_digit(text[2]));
			text += 2;
		}
		bytes[nbytes++] = c;
		text++;
	}

	for (size_t i = 0; i < nbytes;)
	{
		bool valid;
		size_t used = utf8_length(bytes + i, nbytes - i, &valid);

		if (valid && bytes[i] != '\0')
		{
			memcpy(cursor->buffer, bytes + i, used);
			cursor->buffer += used;
		}
		else
		{
			memcpy(cursor->buffer, "\xef\xbf\xbd", 3);
			cursor->buffer += 3;
			decoded.storable = false;
		}
		i += used;
	}
	decoded.length = (size_t) (cursor->buffer - decoded.data);
	return decoded;
}

void
begin_query(QueryCursor *cursor, const char *query, size_t length, char *buffer)
{
	cursor->next = query;
	cursor->end = query + length;
	cursor->buffer = buffer;
}

/* Reads the next pair; false at the end. A name without "=" has an empty value. */
bool
next_query_pair(QueryCursor *cursor, QueryText *name, QueryText *value)
{
	const char *begin;
	const char *end;
	const char *equals;

	while (cursor->next < cursor->end && *cursor->next == '&')
		cursor->next++;
	if (cursor->next == cursor->end)
		return false;

	begin = cursor->next;
	end = memchr(begin, '&', (size_t) (cursor->end - begin));
	if (end == NULL)
		end = cursor->end;
	cursor->next = end;
	equals = memchr(begin, '=', (size_t) (end - begin));
	if (equals == NULL)
		equals = end;
	*name = decode(cursor, begin, equals);
	*value = decode(cursor, equals < end ? equals + 1 : end, end);
	return true;
}

static bool
text_is(QueryText text, const char *string)
{
	return text.length == strlen(string) && memcmp(text.data, string, text.length) == 0;
}

/* The parameter of a name that query strings can give, or NULL. */
const Parameter *
parameter_named(QueryText name, bool extended)
{
	for (int id = 0; id < N_PARAMETERS; id++)
		if (parameters[id].scope <= (extended ? SCOPE_EXTENDED : SCOPE_ENDPOINT) &&
			text_is(name, parameters[id].name))
			return &parameters[id];
	return NULL;
}

/*
 * Literals, booleans and uuids
 */

static bool
read_label(const Parameter *parameter, QueryText text, QueryValue *value)
{
	for (int i = 0; parameter->labels[i] != NULL; i++)
		if (text_is(text, parameter->labels[i]))
		{
			value->as.label = i;
			return true;
		}
	return false;
}

/* Whether the text is the string, which is in lower case, in whatever case. */
static bool
text_is_any_case(QueryText text, const char *string)
{
	if (text.length != strlen(string))
		return false;
	for (size_t i = 0; i < text.length; i++)
	{
		char c = text.data[i];

		if (c >= 'A' && c <= 'Z')
			c = (char) (c - 'A' + 'a');
		if (c != string[i])
			return false;
	}
	return true;
}

static QueryError
read_boolean(QueryText text, QueryValue *value)
{
	static const char *const spellings[2][6] = {
		{"0", "f", "n", "no", "off", "false"},
		{"1", "t", "y", "yes", "on", "true"},
	};

	for (int i = 0; i < 6; i++)
		for (int boolean = 0; boolean <= 1; boolean++)
			if (text_is_any_case(text, spellings[boolean][i]))
			{
				value->as.boolean = boolean == 1;
				return QUERY_OK;
			}
	return QUERY_BOOL_PARSING;
}

/* 32 digits, or these with hyphens: by themselves, in braces or as a URN. */
static QueryError
read_uuid(QueryText text, QueryValue *value)
{
	const char *p = text.data;
	bool hyphens = text.length != 32;

	if (text.length == 38 && p[0] == '{' && p[37] == '}')
		p++;
	else if (text.length == 45 && memcmp(p, "urn:uuid:", 9) == 0)
		p += 9;
	else if (text.length != 32 && text.length != 36)
	{
		value->reason = "invalid length: expected 32 digits, or 36 characters with hyphens";
		return QUERY_UUID_PARSING;
	}
	for (int i = 0; i < 16; i++)
	{
		int high;
		int low;

		if (hyphens && (i == 4 || i == 6 || i == 8 || i == 10) && *p++ != '-')
		{
			value->reason = "invalid group: expected hyphens after 8, 12, 16 and 20 digits";
			return QUERY_UUID_PARSING;
		}
		high = hex_digit(*p++);
		low = high < 0 ? -1 : hex_digit(*p++);
		if (low < 0)
		{
			value->reason = "invalid character: expected hexadecimal digits";
			return QUERY_UUID_PARSING;
		}
		value->as.uuid[i] = (uint8_t) (high << 4 | low);
	}
	return QUERY_OK;
}

/*
 * Integers
 */

#define MAX_INTEGER_LENGTH 4300

/* Removes a white space character of Unicode from the beginning or the end. */
static bool
trim_one(QueryText *text, bool at_end)
{
	static const char *const spaces[] = {
		"\t",           "\n",           "\v",
		"\f",           "\r",           " ",
		"\xc2\x85",     "\xc2\xa0",     "\xe1\x9a\x80",
		"\xe2\x80\x80", "\xe2\x80\x81", "\xe2\x80\x82",
		"\xe2\x80\x83", "\xe2\x80\x84", "\xe2\x80\x85",
		"\xe2\x80\x86", "\xe2\x80\x87", "\xe2\x80\x88",
		"\xe2\x80\x89", "\xe2\x80\x8a", "\xe2\x80\xa8",
		"\xe2\x80\xa9", "\xe2\x80\xaf", "\xe2\x81\x9f",
		"\xe3\x80\x80",
	};

	for (size_t i = 0; i < sizeof(spaces) / sizeof(spaces[0]); i++)
	{
		size_t length = strlen(spaces[i]);

		if (text->length >= length &&
			memcmp(at_end ? text->data + text->length - length : text->data, spaces[i], length) ==
				0)
		{
			if (!at_end)
				text->data += length;
			text->length -= length;
			return true;
		}
	}
	return false;
}

/*
 * Adds a digit to a number, which stays at the end of the range that it passes.
 */
static int64_t
add_digit(int64_t number, bool negative, int digit)
{
	if (negative)
		return number < (INT64_MIN + digit) / 10 ? INT64_MIN : number * 10 - digit;
	return number > (INT64_MAX - digit) / 10 ? INT64_MAX : number * 10 + digit;
}

/*
 * [+-]digits, where single underscores may stand between digits, white space
 * around it all and a fraction of zeros behind. Zeros may lead, and underscores
 * may stand among and behind these in any number.
 */
static QueryError
read_integer(QueryText text, QueryValue *value)
{
	QueryText rest = text;
	bool negative = false;
	bool any_digit = false;
	int64_t number = 0;
	int ndigits = 0;
	size_t i = 0;
	size_t run = text.length > 0 && text.data[0] == '-';

	/* Too long is what says so at once, by a run of digits that begins the text. */
	if (run < text.length && text.data[run] != '0')
	{
		while (run < text.length && is_digit(text.data[run]))
			run++;
		if (run > MAX_INTEGER_LENGTH)
			return QUERY_INT_PARSING_SIZE;
	}

	while (trim_one(&rest, false))
		;
	while (trim_one(&rest, true))
		;
	if (i < rest.length && (rest.data[i] == '+' || rest.data[i] == '-'))
		negative = rest.data[i++] == '-';

	/* Leading zeros; pydantic takes a minus, and an underscore, behind them, too */
	if (i < rest.length && rest.data[i] == '0')
	{
		any_digit = true;
		for (i++; i < rest.length && (rest.data[i] == '0' || rest.data[i] == '_'); i++)
			;
		if (rest.data[i - 1] == '_' && (i == rest.length || rest.data[i] == '.'))
			return QUERY_INT_PARSING;
		if (i < rest.length && rest.data[i] == '-' && !negative)
		{
			negative = true;
			any_digit = false;
			i++;
			if (i < rest.length && rest.data[i] == '_')
				i++;
			if (i + 1 < rest.length && rest.data[i] == '0' && rest.data[i + 1] != '.')
				return QUERY_INT_PARSING;
		}
	}
	for (; i < rest.length && rest.data[i] != '.'; i++)
	{
		char c = rest.data[i];

		if (c == '_' && any_digit && i + 1 < rest.length && is_digit(rest.data[i + 1]))
			continue;
		if (!is_digit(c) || ++ndigits + negative > MAX_INTEGER_LENGTH)
			return QUERY_INT_PARSING;
		any_digit = true;
		number = add_digit(number, negative, c - '0');
	}
	if (!any_digit)
		return QUERY_INT_PARSING;
	/* A fraction of zeros, one at least */
	if (i < rest.length)
	{
		if (i + 1 == rest.length)
			return QUERY_INT_PARSING;
		for (i++; i < rest.length; i++)
			if (rest.data[i] != '0')
				return QUERY_INT_PARSING;
	}
	value->as.integer = number;
	return QUERY_OK;
}

static QueryError
check_bounds(const Parameter *parameter, int64_t integer)
{
	Bound lower = parameter->lower;
	Bound upper = parameter->upper;

	if (upper.given && integer >= upper.value)
		return QUERY_LESS_THAN;
	if (lower.given && !lower.inclusive && integer <= lower.value)
		return QUERY_GREATER_THAN;
	if (lower.given && lower.inclusive && integer < lower.value)
		return QUERY_GREATER_THAN_EQUAL;
	return QUERY_OK;
}

/*
 * Timestamps
 */

#define MICROSECONDS INT64_C(1000000)
#define MIN_UNIX_TIME INT64_C(-62167219200) /* 0000-01-01T00:00:00Z */
#define MAX_UNIX_TIME INT64_C(253402300799) /* 9999-12-31T23:59:59Z */
#define YEAR_1 INT64_C(-62135596800)        /* 0001-01-01T00:00:00Z */

/* A number farther from zero than this is of milliseconds. */
#define MILLISECONDS_FROM INT64_C(20000000000)

/* What a text says that is a time since 1970. */
typedef struct UnixTime
{
	int64_t seconds;
	int64_t microseconds;
	bool in_year_0; /* which Python's calendar does not have */
} UnixTime;

/* Reads some digits into a number. */
static bool
read_digits(QueryText text, size_t at, int count, int *number)
{
	*number = 0;
	for (int i = 0; i < count; i++, at++)
	{
		if (at >= text.length || !is_digit(text.data[at]))
			return false;
		*number = *number * 10 + (text.data[at] - '0');
	}
	return true;
}

static bool
is_leap_year(int year)
{
	return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

/* YYYY-MM-DD at the beginning of the text: its midnight. */
static const char *
read_date(QueryText text, UnixTime *time)
{
	static const int month_days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	int year;
	int month;
	int day;
	int max_day;
	int64_t years;
	int64_t days;

	if (text.length < 10)
		return "input is too short";
	if (!read_digits(text, 0, 4, &year) || !read_digits(text, 5, 2, &month) ||
		!read_digits(text, 8, 2, &day) || text.data[4] != '-' || text.data[7] != '-')
		return "a date is written YYYY-MM-DD";
	if (month < 1 || month > 12)
		return "month is out of range";
	max_day = month_days[month - 1] + (month == 2 && is_leap_year(year));
	if (day < 1 || day > max_day)
		return "day is out of range";

	/* Leap days up to the year before; the year 0 is a leap year. */
	years = year - 1;
	days = INT64_C(365) * year;
	if (year > 0)
		days += years / 4 - years / 100 + years / 400 + 1;
	for (int i = 1; i < month; i++)
		days += month_days[i - 1] + (i == 2 && is_leap_year(year));
	days += day - 1;
	time->seconds = MIN_UNIX_TIME + days * 86400;
	time->microseconds = 0;
	time->in_year_0 = year == 0;
	return NULL;
}

/* [sign]HH[:]MM at a position, as seconds that the local time is ahead. */
static const char *
read_offset(QueryText text, size_t *at, int *offset)
{
	static const char minus[] = "\xe2\x88\x92"; /* U+2212 */
	size_t i = *at;
	int sign = 1;
	int hours;
	int minutes;

	if (text.data[i] == '+' || text.data[i] == '-')
		sign = text.data[i++] == '-' ? -1 : 1;
	else if (text.length - i >= 3 && memcmp(text.data + i, minus, 3) == 0)
	{
		sign = -1;
		i += 3;
	}
	else
		return "an offset begins with + or -";
	if (!read_digits(text, i, 2, &hours))
		return "an offset is written +HH:MM";
	i += 2;
	if (i < text.length && text.data[i] == ':')
		i++;
	if (!read_digits(text, i, 2, &minutes))
		return "an offset is written +HH:MM";
	if (minutes > 59 || hours > 23)
		return "offset is out of range";
	*offset = sign * (hours * 3600 + minutes * 60);
	*at = i + 2;
	return NULL;
}

/* YYYY-MM-DD{T|t|space|_}HH:MM[:SS[{.|,}digits]][Z|offset] */
static const char *
read_date_and_time(QueryText text, UnixTime *time)
{
	const char *reason;
	int hour;
	int minute;
	int second = 0;
	int offset = 0;
	size_t at = 16;

	reason = read_date(text, time);
	if (reason != NULL)
		return reason;
	if (text.length < 11 || strchr("Tt _", text.data[10]) == NULL || text.data[10] == '\0')
		return "date and time are separated by T, a space or _";
	if (!read_digits(text, 11, 2, &hour) || !read_digits(text, 14, 2, &minute) ||
		text.data[13] != ':')
		return "a time is written HH:MM or HH:MM:SS";
	if (at < text.length && text.data[at] == ':')
	{
		if (!read_digits(text, at + 1, 2, &second))
			return "a time is written HH:MM or HH:MM:SS";
		at += 3;
		if (at < text.length && (text.data[at] == '.' || text.data[at] == ','))
		{
			size_t begin = ++at;
			int64_t unit = MICROSECONDS / 10;

			/* What is beyond microseconds is cut off. */
			for (; at < text.length && is_digit(text.data[at]); at++, unit /= 10)
				time->microseconds += unit * (text.data[at] - '0');
			if (at == begin)
				return "the fraction of the second is missing";
		}
	}
	if (hour > 23 || minute > 59 || second > 59)
		return "time is out of range";
	if (at < text.length && (text.data[at] == 'Z' || text.data[at] == 'z'))
		at++;
	else if (at < text.length)
	{
		reason = read_offset(text, &at, &offset);
		if (reason != NULL)
			return reason;
	}
	if (at < text.length)
		return "unexpected characters at the end";
	time->seconds += hour * 3600 + minute * 60 + second - offset;
	return NULL;
}

/* Seconds, or milliseconds if there are too many of them. */
static const char *
time_of_number(int64_t number, int64_t microseconds, UnixTime *time)
{
	time->seconds = number;
	time->microseconds = microseconds;
	if (number > MILLISECONDS_FROM || number < -MILLISECONDS_FROM)
	{
		time->seconds = number / 1000 - (number % 1000 < 0);
		time->microseconds += (number - time->seconds * 1000) * 1000;
	}
	time->seconds += time->microseconds / MICROSECONDS;
	time->microseconds %= MICROSECONDS;
	if (time->seconds < MIN_UNIX_TIME || time->seconds > MAX_UNIX_TIME)
		return "number is out of range";
	time->in_year_0 = time->seconds < YEAR_1;
	return NULL;
}

/* [+-]digits[.digits] since 1970. False if the text is not such a number. */
static bool
read_unix_time(QueryText text, UnixTime *time, const char **reason)
{
	bool negative = text.length > 0 && text.data[0] == '-';
	size_t i = text.length > 0 && (negative || text.data[0] == '+');
	int64_t integer = 0;
	double number;
	double divisor = 10;

	if (i == text.length || !is_digit(text.data[i]))
		return false;
	for (; i < text.length && is_digit(text.data[i]); i++)
	{
		int digit = text.data[i] - '0';

		if (integer > (INT64_MAX - digit) / 10)
			return false;
		integer = integer * 10 + digit;
	}
	if (i == text.length)
	{
		*reason = time_of_number(negative ? -integer : integer, 0, time);
		return true;
	}
	if (text.data[i++] != '.')
		return false;
	number = (double) integer;
	for (; i < text.length; i++)
	{
		if (!is_digit(text.data[i]))
			return false;
		number += (text.data[i] - '0') / divisor;
		divisor *= 10;
	}
	if (negative)
		number = -number;
	if (fabs(number) > (double) MILLISECONDS_FROM)
		number /= 1000;
	*reason =
		time_of_number((int64_t) floor(number),
					   (int64_t) round((number - floor(number)) * (double) MICROSECONDS), time);
	return true;
}

/* A date and time, a number of seconds or milliseconds, or a date alone. */
static QueryError
read_timestamp(QueryText text, QueryValue *value)
{
	UnixTime time;
	const char *reason = read_date_and_time(text, &time);

	if (reason != NULL && !read_unix_time(text, &time, &reason) && text.length == 10)
		reason = read_date(text, &time);
	if (reason != NULL)
	{
		value->reason = reason;
		return QUERY_DATETIME_FROM_DATE_PARSING;
	}
	if (time.in_year_0)
	{
		value->reason = "year 0 is out of range";
		return QUERY_DATETIME_PARSING;
	}
	value->as.microseconds = time.seconds * MICROSECONDS + time.microseconds;
	return QUERY_OK;
}

/* Reads what a parameter's text means. */
QueryError
read_query_value(const Parameter *parameter, QueryText text, QueryValue *value)
{
	QueryError error;

	value->reason = NULL;
	switch (parameter->type)
	{
		case PARAMETER_TYPE_LITERAL:
			return read_label(parameter, text, value) ? QUERY_OK : QUERY_LITERAL_ERROR;
		case PARAMETER_TYPE_ENUM:
			return read_label(parameter, text, value) ? QUERY_OK : QUERY_ENUM;
		case PARAMETER_TYPE_INTEGER:
			error = read_integer(text, value);
			return error == QUERY_OK ? check_bounds(parameter, value->as.integer) : error;
		case PARAMETER_TYPE_BOOLEAN:
			return read_boolean(text, value);
		case PARAMETER_TYPE_UUID:
			return read_uuid(text, value);
		case PARAMETER_TYPE_TIMESTAMP:
			return read_timestamp(text, value);
		case PARAMETER_TYPE_TEXT:
			return QUERY_OK;
	}
	return QUERY_OK;
}
