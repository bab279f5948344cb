/* What finding a head costs, in C alone: each level of the scanner, and picohttpparser beside it.
 *
 * The latter comes with gunicorn-h1c.  In the root of a checkout, on x86-64:
 *
 *     pip download -q --no-deps --no-binary :all: -d /tmp/h1c gunicorn-h1c==0.6.10
 *     tar -C /tmp/h1c -xf /tmp/h1c/gunicorn_h1c-0.6.10.tar.gz
 *     pico=/tmp/h1c/gunicorn_h1c-0.6.10/src/gunicorn_h1c/picohttpparser csrc=japronto/accel/csrc
 *     cc -O3 -msse4.2 -I$pico -c $pico/picohttpparser.c -o /tmp/h1c/pico.o
 *     cc -O3 -D_GNU_SOURCE -I$pico -I$csrc bench/heads.c $csrc/scan*.c /tmp/h1c/pico.o -o /tmp/h1c/heads
 *     taskset -c 1 /tmp/h1c/heads
 *
 * It prints nanoseconds for each head of a batch of 24, the best of nine rounds.  Heads are *alike*, which a
 * client's mostly are, or each has another Host, so that nothing can be known from the head ahead. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "picohttpparser.h"
#include "scan.h"

enum { BATCH = 24, ROUNDS = 9, REPEATS = 20000 };

static const char SMALL[] = "GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n";
static const char BROWSER[] =
    "GET /articles/2024/how-a-server-reads?page=2&sort=new HTTP/1.1\r\nHost: www.example.com\r\n"
    "Connection: keep-alive\r\nCache-Control: max-age=0\r\nUpgrade-Insecure-Requests: 1\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/124.0.0.0 Safari/537.36\r\n"
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n"
    "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: navigate\r\n"
    "Referer: https://www.example.com/articles/\r\nAccept-Encoding: gzip, deflate, br\r\n"
    "Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\n"
    "Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; _ga=GA1.2.1234567890.1712345678; x="
    "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n\r\n";

static size_t with_pico(const char *batch, size_t size)
{
    size_t found = 0;
    for (size_t at = 0; at < size; found++) {
        static struct phr_header fields[100];
        const char *method, *path;
        size_t method_size, path_size, count = 100;
        int minor, taken = phr_parse_request(batch + at, size - at, &method, &method_size, &path, &path_size,
                                             &minor, fields, &count, 0);
        if (taken < 0)
            break;
        at += (size_t)taken;
    }
    return found;
}

static size_t with_scan(int level, const char *batch, size_t size)
{
    static jp_head heads[BATCH];
    static const jp_bounds bounds = {8192, 100};
    return jp_scan(level, (const uint8_t *)batch, size, 0, &bounds, heads, BATCH);
}

/* Nanoseconds for each head; a level of -1 is picohttpparser. */
static double cost(int level, const char *batch, size_t size)
{
    double best = 1e9;
    for (int round = 0; round < ROUNDS; round++) {
        struct timespec before, after;
        size_t found = 0;
        clock_gettime(CLOCK_MONOTONIC, &before);
        for (int i = 0; i < REPEATS; i++)
            found += level < 0 ? with_pico(batch, size) : with_scan(level, batch, size);
        clock_gettime(CLOCK_MONOTONIC, &after);
        double passed = (after.tv_sec - before.tv_sec) * 1e9 + (after.tv_nsec - before.tv_nsec);
        if (found != (size_t)BATCH * REPEATS)
            return -1;
        best = passed / found < best ? passed / found : best;
    }
    return best;
}

static void table(const char *name, const char *head, size_t size, int alike)
{
    static char batch[BATCH * sizeof BROWSER];
    for (int i = 0; i < BATCH; i++) {
        memcpy(batch + i * size, head, size);
        if (!alike)
            strstr(batch + i * size, "Host: ")[6] = "0123456789abcdefghijklmn"[i];
    }
    printf("%-32s%8.0f", name, cost(-1, batch, size * BATCH));
    for (int level = JP_SCALAR; level < JP_LEVELS; level++)
        if (jp_has(level))
            printf("%8.0f", cost(level, batch, size * BATCH));
    printf("\n");
}

int main(void)
{
    printf("%-32s%8s%8s%8s%8s\n", "ns for each head", "pico", "scalar", "SSE4.2", "AVX2");
    table("40 octets", SMALL, sizeof SMALL - 1, 0);
    table("a browser's 751 octets", BROWSER, sizeof BROWSER - 1, 0);
    table("40 octets, alike", SMALL, sizeof SMALL - 1, 1);
    table("a browser's 751 octets, alike", BROWSER, sizeof BROWSER - 1, 1);
    return 0;
}
