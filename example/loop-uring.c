/* SPDX-License-Identifier: MIT
 *
 * loop-uring ADDRESS [serve]: prints each message that comes, or answers each request with itself, from a loop over io_uring. Exit code 77: this kernel has none.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <liburing.h>
#include <poll.h>
#include <string.h>
#include <thirl/thirl.h>

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

/* One poll at a time, because the descriptor says how things are, not what has changed. */
static bool wait_for(struct io_uring *ring, int fd) {
    struct io_uring_sqe *entry = io_uring_get_sqe(ring);
    struct io_uring_cqe *done;
    io_uring_prep_poll_add(entry, fd, POLLIN);
    int rc = io_uring_submit_and_wait(ring, 1);
    rc = rc < 0 ? rc : io_uring_wait_cqe(ring, &done);
    if (rc < 0) {
        fprintf(stderr, "io_uring: %s\n", strerror(-rc));
        return false;
    }
    io_uring_cqe_seen(ring, done);
    return true;
}

int main(int argc, char **argv) {
    serves = argc == 3 && strcmp(argv[2], "serve") == 0;
    enum thirl_role role = serves ? THIRL_SERVE : THIRL_PAIR;
    int fd = argc != 2 + serves ? -1 : thirl_open(&end, role, argv[1], NULL) != 0 ? -1 : thirl_fd(end);
    if (fd < 0) {
        fprintf(stderr, "%s ADDRESS [serve]: %s\n", argv[0], thirl_why());
        return 1;
    }
    struct io_uring ring;
    int rc = io_uring_queue_init(8, &ring, 0);
    if (rc < 0) {
        fprintf(stderr, "io_uring: %s\n", strerror(-rc));
        return rc == -ENOSYS || rc == -EPERM ? 77 : 1;
    }
    while (wait_for(&ring, fd) && !drain()) {}
    io_uring_queue_exit(&ring);
    return thirl_close(&end, THIRL_NOW) < 0;
}
