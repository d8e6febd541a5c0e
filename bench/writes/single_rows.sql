\set n random(1, 5000)
call bench.insert_jobs(:counted, :n, :rows);
