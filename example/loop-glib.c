/* SPDX-License-Identifier: MIT
 *
 * loop-glib ADDRESS: prints each message that comes, from the main loop of GLib, as GTK and GStreamer programs have it.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <glib-unix.h>
#include <thirl/thirl.h>

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
    int fd = argc != 2 ? -1 : thirl_open(&end, THIRL_PAIR, argv[1], NULL) != 0 ? -1 : thirl_fd(end);
    if (fd < 0) {
        fprintf(stderr, "%s ADDRESS: %s\n", argv[0], thirl_why());
        return 1;
    }
    GMainLoop *loop = g_main_loop_new(NULL, FALSE);
    (void)g_unix_fd_add(fd, G_IO_IN, on_readable, loop);
    g_main_loop_run(loop);
    g_main_loop_unref(loop);
    return thirl_close(&end, THIRL_NOW) < 0;
}
