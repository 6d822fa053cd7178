/* SPDX-License-Identifier: MIT
 *
 * loop-uv ADDRESS [serve]: prints each message that comes, or answers each request with itself, from the loop of libuv, beside a timer of it.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <thirl/thirl.h>
#include <uv.h>

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

static void on_readable(uv_poll_t *poll, int status, int events) {
    (void)events;
    if (status < 0 || drain()) {
        (void)uv_poll_stop(poll);
        uv_stop(poll->loop);
    }
}

static void on_time(uv_timer_t *timer) {
    fprintf(stderr, "a second, and %u events pending\n", (unsigned)uv_loop_alive(timer->loop));
}

int main(int argc, char **argv) {
    serves = argc == 3 && strcmp(argv[2], "serve") == 0;
    enum thirl_role role = serves ? THIRL_SERVE : THIRL_PAIR;
    int fd = argc != 2 + serves ? -1 : thirl_open(&end, role, argv[1], NULL) != 0 ? -1 : thirl_fd(end);
    if (fd < 0) {
        fprintf(stderr, "%s ADDRESS [serve]: %s\n", argv[0], thirl_why());
        return 1;
    }
    uv_loop_t *loop = uv_default_loop();
    uv_poll_t poll;
    uv_timer_t timer;
    if (uv_poll_init(loop, &poll, fd) != 0 || uv_poll_start(&poll, UV_READABLE, on_readable) != 0 ||
        uv_timer_init(loop, &timer) != 0 || uv_timer_start(&timer, on_time, 1000, 1000) != 0) {
        fprintf(stderr, "loop-uv: libuv takes no descriptor\n");
        return 1;
    }
    (void)uv_run(loop, UV_RUN_DEFAULT);
    uv_close((uv_handle_t *)&poll, NULL); /* before the end, which closes the descriptor */
    uv_close((uv_handle_t *)&timer, NULL);
    (void)uv_run(loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(loop);
    return thirl_close(&end, THIRL_NOW) < 0;
}
