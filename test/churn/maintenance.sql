-- What goes on with the tables and their indexes beside readers and writers, for pgbench
reindex table concurrently batches.batch;
reindex table concurrently batches.batch_job_count;
vacuum analyze batches.batch, batches.batch_job_count, batches.batch_total;
drop index concurrently batches.batch_updated_at_idx;
create index concurrently batch_updated_at_idx on batches.batch (updated_at, id);
