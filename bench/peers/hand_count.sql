-- The total alone.
select count(*) from @matching@
