/*
 * module.c
 *		The library: what it defines when it is loaded.
 */
#include "postgres.h"
#include "compat.h"

#include "fmgr.h"
#include "utils/guc.h"

#include "batches.h"
#include "scan.h"

MODULE_MAGIC;

void _PG_init(void);

void
_PG_init(void)
{
	define_user_settings();
	define_scan_settings();
	MarkGUCPrefixReserved("batches");
}
