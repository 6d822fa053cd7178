/* SPDX-License-Identifier: MIT
 *
 * loop-glib ADDRESS [serve]: prints each message that comes, or answers each request with itself, from the main loop of GLib, as GTK and GStreamer programs have it.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <glib-unix.h>
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

static gboolean on_readable(gint fd, GIOCondition condition, gpointer loop) {
    (void)fd;
    (void)condition;
    if (!drain()) {
        return G_SOURCE_CONTINUE;
    }
    g_main_loop_quit(loop);
    return G_SOURCE_REMOVE; /* before the end, which closes the descriptor */
}

int main(int argc, char **argv) {
    serves = argc == 3 && strcmp(argv[2], "serve") == 0;
    enum thirl_role role = serves ? THIRL_SERVE : THIRL_PAIR;
    int fd = argc != 2 + serves ? -1 : thirl_open(&end, role, argv[1], NULL) != 0 ? -1 : thirl_fd(end);
    if (fd < 0) {
        fprintf(stderr, "%s ADDRESS [serve]: %s\n", argv[0], thirl_why());
        return 1;
    }
    GMainLoop *loop = g_main_loop_new(NULL, FALSE);
    (void)g_unix_fd_add(fd, G_IO_IN, on_readable, loop);
    g_main_loop_run(loop);
    g_main_loop_unref(loop);
    return thirl_close(&end, THIRL_NOW) < 0;
}
