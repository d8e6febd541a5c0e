-- The random requests, on tables in partitions. They are made before, as indexes are read with certainty only of tables that are
-- older than the transaction.

set client_min_messages = warning;
drop table batches.batch, batches.job, batches.project_member, batches.batch_job_count, batches.batch_total;
do $$ begin perform batches.create_tables(5); end $$;
\set size 700
\ir 80_random_requests.sql
drop table batches.batch, batches.job, batches.project_member, batches.batch_job_count, batches.batch_total;
do $$ begin perform batches.create_tables(); end $$;
