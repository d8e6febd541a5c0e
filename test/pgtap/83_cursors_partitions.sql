-- Paging by cursors, on tables in partitions: so many that a walk goes back to where it was in each

set client_min_messages = warning;
drop table batches.batch, batches.job, batches.project_member, batches.batch_job_count, batches.batch_total;
do $$ begin perform batches.create_tables(40); end $$;
\ir 82_cursors.sql
drop table batches.batch, batches.job, batches.project_member, batches.batch_job_count, batches.batch_total;
do $$ begin perform batches.create_tables(); end $$;
