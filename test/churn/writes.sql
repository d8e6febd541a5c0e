-- A transaction of a writer, for pgbench: new batches, batches that change, move or are deleted; jobs that move. Writers
-- use all isolation levels, and savepoints. The variable "parts", up to 256, is into how many parts the tables are divided,
-- of which a statement changes one: so there are some 20 batches for each part after a while.
\set kind random(1, 10)
\set part random(0, :parts - 1)
\set undone random(1, 5)
\set level random(1, 4)
\if :level = 1
begin isolation level serializable;
\elif :level = 2
begin isolation level repeatable read;
\else
begin;
\endif
\if :kind = 1
call public.add_batches(20);
\elif :kind = 2
delete from batches.batch where get_byte(uuid_send(id), 0) % :parts = :part;
\elif :kind < 6
update batches.batch set status = public.pick(enum_range(null::batches.batch_status)), updated_at = updated_at + interval '1 minute',
       tags = case when random() < 0.5 then tags else '{common}' end
 where get_byte(uuid_send(id), 0) % :parts = :part;
savepoint s;
update batches.batch set device_type = public.pick(array['A', 'B', 'b', 'EMU']), queue_priority = public.pick(enum_range(null::batches.queue_priority)),
       open = not open
 where get_byte(uuid_send(id), 0) % :parts = :part;
\if :undone < 3
rollback to s;
\endif
\if :level > 2
-- Locked, no batch gets a job before it moves.
select quote_literal(coalesce(array_agg(id), '{}')) as locked
  from (select id from batches.batch where get_byte(uuid_send(id), 0) % :parts = :part order by id for update) b \gset
update batches.batch b set project_id = lpad((floor(random() * 14)::int)::text, 32, '0')::uuid
 where id = any (:locked::uuid[])
   and not exists (select from batches.job j where j.project_id = b.project_id and j.batch_id = b.id);
\endif
\elif :kind < 9
update batches.job set status = public.pick(enum_range(null::batches.job_status))
 where get_byte(uuid_send(id), 0) % :parts = :part;
\else
update batches.job set (project_id, batch_id) = (select project_id, id from batches.batch order by id offset :part limit 1 for key share)
 where get_byte(uuid_send(id), 0) % :parts = :part and (select count(*) > 2 * :parts from batches.batch);
\endif
\if :kind = 4
rollback;
\else
commit;
\endif
