/* SPDX-License-Identifier: MIT
 *
 * What a service manager says: LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES, and an address that names one of them or gives a
 * number. Four lines of the input, with a socket where the first descriptor would be.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

#include "tests/fuzz/fuzz.h"

#define FIRST 3

/* A line of the input, without what the environment or an address cannot hold. */
static void next_line(struct food *food, char *line, size_t room) {
    size_t n = 0;
    while (food->left != 0 && n + 1 < room) {
        char c = (char)food_number(food, 1);
        if (c == '\n') {
            break;
        }
        line[n++] = c == '\0' ? 'z' : c;
    }
    line[n] = '\0';
}

static void set(const char *name, const char *value) {
    must((value[0] == '-' ? unsetenv(name) : setenv(name, value, 1)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct food food = {data, size};
    char pid[32], fds[64], names[1200], rest[300], address[400];
    int pair[2];
    thirl *end = NULL;
    bool given = fcntl(FIRST, F_GETFD) < 0; /* else somebody has something there */
    if (given) {
        must(dup2(STDERR_FILENO, FIRST) == FIRST);
        fuzz_warm();
        must(close(FIRST) == 0);
    }
    if (given) {
        must(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 && pair[0] == FIRST);
    }
    next_line(&food, pid, sizeof pid);
    next_line(&food, fds, sizeof fds);
    next_line(&food, names, sizeof names);
    next_line(&food, rest, sizeof rest);
    if (strcmp(pid, "me") == 0) {
        (void)snprintf(pid, sizeof pid, "%d", (int)getpid());
    }
    set("LISTEN_PID", pid);
    set("LISTEN_FDS", fds);
    set("LISTEN_FDNAMES", names);
    (void)snprintf(address, sizeof address, rest[0] == '!' ? "fd://%s" : "activated://%s", rest + (rest[0] == '!'));
    int rc = fuzz_answer(thirl_open(&end, THIRL_PAIR, address, NULL));
    must((rc == 0) == (end != NULL));
    must(thirl_close(&end, THIRL_NOW) >= 0);
    if (given) {
        bool first = close(FIRST) != 0, second = close(pair[1]) != 0; /* one of them taken over, or left alone */
        must(first + second == (rc == 0));
    }
    return 0;
}
