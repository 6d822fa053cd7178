/* SPDX-License-Identifier: MIT
 *
 * loop-epoll ADDRESS [serve]: prints each message that comes, or answers each request with itself, from a loop over epoll(7), and a line for each second without one.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <thirl/thirl.h>
#include <unistd.h>

static thirl *end;
static bool serves;

/* Prints all that has come, and answers it; true when nothing more will. */
static bool drain(void) {
    thirl_msg *msg;
    int rc;
    while ((rc = thirl_take(end, &msg, THIRL_NOW)) == 0) {
        printf("%.*s\n", (int)thirl_msg_size(msg), (const char *)thirl_msg_data(msg));
        if (serves && thirl_reply(end, &msg, thirl_msg_data(msg), thirl_msg_size(msg), THIRL_NOW) != 0) {
            fprintf(stderr, "%s\n", thirl_why()); /* a caller that left, or that reads no answers */
        }
        thirl_free(&msg);
    }
    if (rc != -EAGAIN && rc != -THIRL_ECLOSED) {
        fprintf(stderr, "%s\n", thirl_why());
    }
    return rc != -EAGAIN; /* the descriptor may be readable once too often */
}

int main(int argc, char **argv) {
    serves = argc == 3 && strcmp(argv[2], "serve") == 0;
    enum thirl_role role = serves ? THIRL_SERVE : THIRL_PAIR;
    int fd = argc != 2 + serves ? -1 : thirl_open(&end, role, argv[1], NULL) != 0 ? -1 : thirl_fd(end);
    if (fd < 0) {
        fprintf(stderr, "%s ADDRESS [serve]: %s\n", argv[0], thirl_why());
        return 1;
    }
    struct epoll_event event = {.events = EPOLLIN}, ready;
    int loop = epoll_create1(EPOLL_CLOEXEC);
    if (loop < 0 || epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event) != 0) {
        perror("epoll");
        return 1;
    }
    bool over = false;
    while (!over) {
        int count = epoll_wait(loop, &ready, 1, 1000);
        if (count == 0) {
            fprintf(stderr, "nothing for a second\n");
        }
        over = count > 0 && drain();
    }
    (void)close(loop);
    return thirl_close(&end, THIRL_NOW) < 0;
}
