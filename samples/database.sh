#!/bin/bash
# guest: --icount --edu 1
# Map only what is needed: a database of 64 MiB, of which queries load a few pages.
. "${BASH_SOURCE[0]%/*}/lib.sh"
load

file=/tmp/trips.db
questions=(
	"SELECT note FROM trips WHERE id = 123456"
	"SELECT count(*), min(id), max(id) FROM trips WHERE town = 417"
	"SELECT id, km FROM trips WHERE town = 417 ORDER BY km DESC, id LIMIT 3"
	"SELECT sum(km) FROM trips WHERE id BETWEEN 60000 AND 60999"
	"SELECT count(*), sum(km), sum(length(note)) FROM trips"
)

step "The stock sqlite3 makes a database:"
run "sqlite3 $file \"
    CREATE TABLE trips (id INTEGER PRIMARY KEY, town INTEGER, km INTEGER, note TEXT);
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 160000)
    INSERT INTO trips SELECT i, i * 7919 % 1009, i * 31 % 997, printf('%0380d', i) FROM n;
    CREATE INDEX by_town ON trips (town);\"; ls -l $file"

step "It goes into a DMA buffer, and SQLite's library works on the mapping. For each query: pages loaded for it, pages loaded in all, faults:"
printf '$ database %s SQL...\n' "$file"
database "$file" "${questions[@]}" 2>/tmp/cost >/tmp/answers
cat /tmp/cost

step "A query that needs all of it has fewer faults if what is around a touched page comes along (without MADV_RANDOM):"
run "database -n $file '${questions[4]}' 2>&1 | tail -n 2"

step "The stock sqlite3, on the file, says the same:"
for question in "${questions[@]}"; do
	sqlite3 "$file" "$question"
done >/tmp/expected
run 'cat /tmp/answers | cut -c 1-72; diff /tmp/expected /tmp/answers && echo "No difference."'

awk 'NR > 3 { number++; print (number == 5 ? "all rows" : "query " number) "\t" $2 }' /tmp/cost | {
	cat
	printf 'read(2)\t%d\n' "$(awk '/^read/ { print $6 }' /tmp/cost)"
} | draw database "Pages of the database that are loaded after each query" \
	"pages of 4096 bytes; read(2) of the whole file for comparison"
