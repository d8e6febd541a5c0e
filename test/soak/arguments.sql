-- Calls every function of the extension with arguments that nobody expects: of each type the ends of its range, nulls,
-- empty, long, repeated and many-dimensional lists, and text that is no name, number or pattern. For scripts/soak.
--
-- Whatever the arguments are, a call answers, or fails with an error that is not internal.
\set ON_ERROR_STOP 1
set client_min_messages = warning;

create table public.unexpected (call text, state text, message text);

create function public.random_text() returns text language plpgsql volatile as $$
begin
  return case floor(random() * 12)::int
    when 0 then ''
    when 1 then repeat(pick(array['a', '%', '_', '-', 'é', '日', E'\x01', '"', '\', '0']), floor(random() ^ 4 * 100000)::int)
    when 2 then pick(array['created_at', 'jobs_count', 'complete', 'start_datetime', 'id', 'DESC', 'ASC', 'desc', 'user_id '])
    when 3 then left(md5(random()::text), floor(random() * 40)::int)
    when 4 then left(gen_random_uuid()::text, floor(random() * 40)::int)
    when 5 then pick(array['A', 'b', 'EMU', 'user-1', 'common', 'rare', 'null', 'NULL', '{}', '''', '$1', E'\n'])
    when 6 then (random() * 10 ^ floor(random() * 40))::numeric::text
    when 7 then 'status=' || pick(array['DONE', 'ERROR', 'x', '', '%ff', '%00', '+']) || '&limit=' || floor(random() * 200) || '&offset=' || floor(random() * 99)
    when 8 then repeat('id=' || gen_random_uuid() || '&', floor(random() ^ 4 * 8000)::int)
    when 9 then pick(array['created_at', 'updated_at', 'start_datetime', 'end_datetime', 'id', 'status', 'open', 'complete', 'priority', 'device_type', 'user_id', 'project_id', 'jobs_count', 'queue_priority'])
    when 10 then pick(array['DESC', 'ASC'])
    else (select string_agg(chr(1 + floor(random() ^ 6 * 55000)::int), '') from generate_series(1, floor(random() * 30)::int))
  end;
end $$;

-- The text form of a value of a type
create function public.random_value(type regtype) returns text language plpgsql volatile as $$
declare
  element regtype := (select nullif(t.typelem, 0) from pg_type t where t.oid = type and t.typlen = -1 and t.typelem <> 0);
  elements text[];
  length int;
  kind char := (select typtype from pg_type where oid = type);
begin
  if random() < 0.1 then
    return null;
  elsif element is not null then
    length := floor(random() ^ 10 * 5000);
    -- Of many, each is short.
    elements := array(select left(random_value(element), 300000 / (length + 1)) from generate_series(1, length));
    if random() < 0.9 then
      elements := array_remove(elements, null);
    end if;
    if random() < 0.1 then
      elements := elements || elements;
    end if;
    if random() < 0.05 and cardinality(elements) > 0 then
      return array[elements, elements]::text;
    end if;
    return elements::text;
  elsif kind = 'e' then
    return (select pick(array_agg(e.enumlabel::text)) from pg_enum e where e.enumtypid = type);
  end if;
  return case type::text
    when 'text' then random_text()
    when 'boolean' then (random() < 0.5)::text
    when 'uuid' then coalesce(case when random() < 0.5 then (select id::text from batches.batch tablesample system (10) limit 1) end,
                              lpad(floor(random() * 15)::int::text, 32, '0'))
    when 'timestamp with time zone' then coalesce(pick(array['infinity', '-infinity', '4713-01-01Z BC', '294276-12-31Z', '0001-01-01Z', '2025-01-08Z', null]),
                                                 ('2025-01-01Z'::timestamptz + random() * interval '14 days')::text)
    when 'json' then '{}'
    when 'jsonb' then '{}'
    when 'name' then left(random_text(), 60)
    when 'smallint' then pick(array['-32768', '32767', '0', '1', '2'])
    when 'integer' then pick(array['-2147483648', '2147483647', '0', '1', '2', '50', '100'])
    when 'bigint' then pick(array['-9223372036854775808', '9223372036854775807', '2147483648', '-2147483649', '0', '1', '2', '50', '100', '101'])
  end;
end $$;

-- So many calls; what has failed by an internal error is kept.
create procedure public.call_functions(seed float8, calls int) language plpgsql as $$
declare
  f record;
  arguments text;
  call text;
  state text;
  message text;
begin
  perform setseed(seed);
  for i in 1 .. calls loop
    -- Those that make or change objects are for their owner, who is trusted. A trigger or a part of an aggregate cannot be called.
    select p.oid, p.proname, p.proargtypes::regtype[] as types, p.proargnames as names, p.prokind into f
      from pg_proc p
     where p.pronamespace = 'batches'::regnamespace and p.prorettype <> 'trigger'::regtype and p.prokind = 'f'
       and not 'internal'::regtype = any (p.proargtypes::regtype[]) and p.prorettype <> 'internal'::regtype
       and p.proname not in ('create_tables', 'create_postgrest_api', 'upgrade_tables')
     order by random() limit 1;
    perform set_config('batches.scan', pick(array['auto', 'auto', 'sql', 'index']), false),
            set_config('batches.user_id', pick(array['', 'one', 'few', 'all', 'nobody', random_text()]), false),
            set_config('work_mem', pick(array['64kB', '4MB', '64MB']), false);
    -- Most arguments are left out, where they can be.
    arguments := (select string_agg(case when f.names[n] <> '' and d.ndefaults > 0 then quote_ident(f.names[n]) || ' => ' else '' end
                                    || coalesce(quote_literal(v), 'null') || '::' || f.types[n - 1], ', ' order by n)
                    from (select pronargs as nargs, pronargdefaults as ndefaults from pg_proc where oid = f.oid) d,
                         generate_series(1, d.nargs) n, lateral (select random_value(f.types[n - 1]) as v) x
                   where d.ndefaults = 0 or random() < 0.15);
    call := format('select count(x::text) from batches.%I(%s) x', f.proname, arguments);
    begin
      execute call;
    exception when others then
      get stacked diagnostics state = returned_sqlstate, message = message_text;
      if state like 'XX%' or state like '58%' then
        insert into public.unexpected values (left(call, 2000), state, message);
      end if;
    end;
    if i % 100 = 0 then
      commit;
    end if;
  end loop;
end $$;
