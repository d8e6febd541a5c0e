\set n random(1, :keys)
call bench.insert_jobs(:counted, :n, :rows);
