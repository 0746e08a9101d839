/*
 * turns.c
 *	  "pgbench -S" on several servers in turns so short that what disturbs a
 *	  machine for seconds disturbs all of them alike.
 *
 * One client, a connection to each server; each turn a number of transactions,
 * in changing order.  Server and client share a processor, so that none waits
 * for another to wake.  Processor time is the backend's, in nanoseconds, from
 * /proc/PID/schedstat.
 *
 *	turns PROTOCOL TRANSACTIONS TURNS NAME TABLE CONNINFO [NAME TABLE CONNINFO ...]
 *
 * PROTOCOL: simple or prepared; the tables have rows 1 to 100000.  Prints for
 * each: name, time a transaction in microseconds (median of the turns), the
 * first one's divided by it (median of the turns' ratios), and both again by
 * processor time.
 */
#define _GNU_SOURCE
#include <libpq-fe.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROWS 100000
#define MAX_VARIANTS 8

typedef enum Kind
{
	BY_CLOCK,
	BY_PROCESSOR,
	KINDS
} Kind;

typedef struct Variant
{
	const char *name;
	const char *table;
	PGconn	   *conn;
	double	   *taken[KINDS];	/* microseconds a transaction, of each turn */
} Variant;

static void
fail(const char *what, const char *detail)
{
	fprintf(stderr, "turns: %s: %s\n", what, detail);
	exit(1);
}

static double
clock_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1e6 + now.tv_nsec / 1e3;
}

static double
processor_us(int pid)
{
	char		path[64];
	unsigned long long ns;
	FILE	   *file;

	snprintf(path, sizeof(path), "/proc/%d/schedstat", pid);
	file = fopen(path, "r");
	if (file == NULL || fscanf(file, "%llu", &ns) != 1)
		fail("could not read", path);
	fclose(file);
	return ns / 1e3;
}

static void
pin(int pid)
{
	cpu_set_t	set;

	CPU_ZERO(&set);
	CPU_SET(1, &set);
	if (sched_setaffinity(pid, sizeof(set), &set) != 0)
		perror("turns: could not choose a processor, going on without");
}

static void
check(PGconn *conn, PGresult *result, ExecStatusType wanted)
{
	if (PQresultStatus(result) != wanted)
		fail("a statement failed", PQerrorMessage(conn));
	PQclear(result);
}

static void
connect_variant(Variant *v, const char *conninfo)
{
	char		sql[256];

	v->conn = PQconnectdb(conninfo);
	if (PQstatus(v->conn) != CONNECTION_OK)
		fail(v->name, PQerrorMessage(v->conn));
	snprintf(sql, sizeof(sql), "SELECT abalance FROM %s WHERE aid = $1", v->table);
	check(v->conn, PQprepare(v->conn, "by_aid", sql, 0, NULL), PGRES_COMMAND_OK);
	pin(PQbackendPID(v->conn));
}

static void
transaction(Variant *v, int prepared)
{
	char		aid[16];
	char		sql[256];
	const char *values[1] = {aid};

	snprintf(aid, sizeof(aid), "%ld", random() % ROWS + 1);
	snprintf(sql, sizeof(sql), "SELECT abalance FROM %s WHERE aid = %s;", v->table, aid);
	check(v->conn,
		  prepared ? PQexecPrepared(v->conn, "by_aid", 1, values, NULL, NULL, 0) : PQexec(v->conn, sql),
		  PGRES_TUPLES_OK);
}

static void
turn(Variant *v, int prepared, int n, int at)
{
	double		processor = processor_us(PQbackendPID(v->conn));
	double		clock = clock_us();

	for (int i = 0; i < n; i++)
		transaction(v, prepared);
	v->taken[BY_CLOCK][at] = (clock_us() - clock) / n;
	v->taken[BY_PROCESSOR][at] = (processor_us(PQbackendPID(v->conn)) - processor) / n;
}

static int
compare(const void *a, const void *b)
{
	double		x = *(const double *) a,
				y = *(const double *) b;

	return (x > y) - (x < y);
}

/* Of taken, or of first / taken. */
static double
median(const double *first, const double *taken, int n)
{
	double	   *sorted = malloc(n * sizeof(double));
	double		result;

	for (int i = 0; i < n; i++)
		sorted[i] = first ? first[i] / taken[i] : taken[i];
	qsort(sorted, n, sizeof(double), compare);
	result = n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
	free(sorted);
	return result;
}

int
main(int argc, char **argv)
{
	Variant		variants[MAX_VARIANTS] = {0};
	int			n_variants = (argc - 4) / 3;
	int			prepared,
				n,
				turns;

	if (argc < 7 || (argc - 4) % 3 != 0 || n_variants > MAX_VARIANTS)
		fail("usage", "turns PROTOCOL TRANSACTIONS TURNS NAME TABLE CONNINFO [NAME TABLE CONNINFO ...]");
	prepared = strcmp(argv[1], "prepared") == 0;
	n = atoi(argv[2]);
	turns = atoi(argv[3]);
	pin(0);
	for (int i = 0; i < n_variants; i++)
	{
		variants[i].name = argv[4 + 3 * i];
		variants[i].table = argv[5 + 3 * i];
		for (int kind = 0; kind < KINDS; kind++)
			variants[i].taken[kind] = malloc(turns * sizeof(double));
		connect_variant(&variants[i], argv[6 + 3 * i]);
		turn(&variants[i], prepared, 2000, 0);
	}
	for (int at = 0; at < turns; at++)
		for (int i = 0; i < n_variants; i++)
		{
			/* forwards and backwards, and another one first each time */
			int			place = (i + at / 2) % n_variants;

			turn(&variants[at % 2 ? n_variants - 1 - place : place], prepared, n, at);
		}
	for (int i = 0; i < n_variants; i++)
	{
		Variant    *v = &variants[i];

		printf("%s\t%.2f\t%.4f\t%.2f\t%.4f\n", v->name,
			   median(NULL, v->taken[BY_CLOCK], turns), median(variants[0].taken[BY_CLOCK], v->taken[BY_CLOCK], turns),
			   median(NULL, v->taken[BY_PROCESSOR], turns), median(variants[0].taken[BY_PROCESSOR], v->taken[BY_PROCESSOR], turns));
		PQfinish(v->conn);
	}
	return 0;
}
