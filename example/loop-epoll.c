/* SPDX-License-Identifier: MIT
 *
 * loop-epoll ADDRESS: prints each message that comes, from a loop over epoll(7), and a line for each second without one.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <thirl/thirl.h>
#include <unistd.h>

static thirl *end;

/* Prints all that has come; true when nothing more will. */
static bool drain(void) {
    char text[4096];
    size_t size;
    int rc;
    while ((rc = thirl_recv(end, text, sizeof text, &size, THIRL_NOW)) == 0) {
        printf("%.*s\n", (int)size, text);
    }
    if (rc != -EAGAIN && rc != -THIRL_ECLOSED) {
        fprintf(stderr, "%s\n", thirl_why());
    }
    return rc != -EAGAIN; /* the descriptor may be readable once too often */
}

int main(int argc, char **argv) {
    int fd = argc != 2 ? -1 : thirl_open(&end, THIRL_PAIR, argv[1], NULL) != 0 ? -1 : thirl_fd(end);
    if (fd < 0) {
        fprintf(stderr, "%s ADDRESS: %s\n", argv[0], thirl_why());
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
