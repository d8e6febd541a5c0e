/*
 * support.c
 *		What the planner is told of list_batches(): about how many rows it returns.
 */
#include "postgres.h"
#include "compat.h"

#include "fmgr.h"
#include "nodes/nodeFuncs.h"
#include "nodes/supportnodes.h"
#include "optimizer/optimizer.h"

#include "scan.h"

/*
 * Reads what is known of a call's arguments while it is planned. Returns false if that says
 * nothing of the number of rows: the limit is not known, or a value will be an error.
 */
static bool
read_known_arguments(Request *request, const SupportRequestRows *call)
{
	List *arguments = castNode(FuncExpr, call->node)->args;
	ParameterId *ids = palloc(sizeof(ParameterId) * (list_length(arguments) + 1));
	ListCell *cell;

	bind_arguments(call->funcid, list_length(arguments), ids);
	init_request(request, LIMIT_OPTIONAL);
	foreach (cell, arguments)
	{
		ParameterId id = ids[foreach_current_index(cell)];
		Const *known;

		if (parameters[id].comparison == COMPARE_NONE && id != PARAMETER_LIMIT &&
			id != PARAMETER_OFFSET)
			continue;
		known = (Const *) estimate_expression_value(call->root, lfirst(cell));
		if (!IsA(known, Const))
		{
			if (id == PARAMETER_LIMIT)
				return false;
			continue;
		}
		if (known->constisnull)
			continue;
		if (!is_valid_value(id, known->constvalue))
			return false;
		set_parameter(request, id, known->constvalue, LIMIT_OPTIONAL);
	}
	return true;
}

/* batches.list_batches_support(internal) returns internal */
PG_FUNCTION_INFO_V1(batches_list_batches_support);
Datum
batches_list_batches_support(PG_FUNCTION_ARGS)
{
	SupportRequestRows *call = (SupportRequestRows *) PG_GETARG_POINTER(0);
	Request request;
	double rows = -1;

	if (!IsA(call, SupportRequestRows) || !is_funcclause(call->node) ||
		!read_known_arguments(&request, call))
		PG_RETURN_POINTER(NULL);
	/* A page is short, whatever there is. */
	if (request.limit == NO_LIMIT || request.limit >= parameters[PARAMETER_LIMIT].upper.value)
		rows = scan_estimate(&request);
	if (rows >= 0)
		rows = Max(rows - request.offset, 0);
	if (request.limit != NO_LIMIT)
		rows = rows < 0 ? request.limit : Min(rows, request.limit);
	if (rows < 0)
		PG_RETURN_POINTER(NULL);
	call->rows = rows;
	PG_RETURN_POINTER(call);
}
