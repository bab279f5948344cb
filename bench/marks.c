/* What a program under callgrind tells it: where counting begins and ends, and what a part is called.
 *
 * instructions.py builds it and loads it; these are requests to valgrind, and cost nothing elsewhere. */

#include <valgrind/callgrind.h>

void mark_start(void);
void mark_stop(void);
void mark_zero(void);
void mark_dump(const char *name);

void mark_start(void)
{
    CALLGRIND_START_INSTRUMENTATION;
}

void mark_stop(void)
{
    CALLGRIND_STOP_INSTRUMENTATION;
}

void mark_zero(void)
{
    CALLGRIND_ZERO_STATS;
}

/* Write down what was counted since the last zero, under this name. */
void mark_dump(const char *name)
{
    CALLGRIND_DUMP_STATS_AT(name);
}
