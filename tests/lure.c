/* SPDX-License-Identifier: MIT
 *
 * An end like any other.
 */
#define _GNU_SOURCE
#include "tests/lure.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/room.h"

#define SOON thirl_in_ms(2000) /* for what will come */

struct lure *lure;

static thirl *its;
static thirl_msg *held;
static uint64_t asked;
static char data[LURE_LARGE];

int lure_open(void) {
    return thirl_open(&its, lure->role, lure->address, NULL);
}

int lure_close(void) {
    thirl_free(&held);
    (void)thirl_close(&its, THIRL_NOW);
    return 0;
}

int lure_send(void) {
    return thirl_send(its, data, LURE_SMALL, SOON);
}

int lure_send_many(void) {
    int rc = 0;
    for (int i = 0; i < 5 && rc == 0; i++) {
        rc = lure_send();
    }
    return rc;
}

int lure_send_middle(void) {
    int rc = 0;
    for (int i = 0; i < 3 && rc == 0; i++) {
        rc = thirl_send(its, data, LURE_MIDDLE, SOON);
    }
    return rc;
}

int lure_send_large(void) {
    int rc = 0;
    for (int i = 0; i < 3 && rc == 0; i++) {
        thirl_msg *msg = NULL;
        rc = thirl_loan(its, &msg, LURE_LARGE, SOON);
        rc = rc != 0 ? rc : thirl_put(its, &msg, SOON);
    }
    return rc;
}

int lure_receive(void) {
    size_t size;
    return thirl_recv(its, data, sizeof data, &size, SOON);
}

int lure_hold(void) {
    return thirl_take(its, &held, SOON);
}

int lure_serve(void) {
    thirl_msg *request = NULL;
    int rc = thirl_take(its, &request, SOON);
    return rc != 0 ? rc : thirl_reply(its, &request, data, LURE_SMALL, SOON);
}

int lure_ask(void) {
    return thirl_ask(its, data, LURE_SMALL, &asked, SOON);
}

int lure_ask_middle(void) {
    return thirl_ask(its, data, LURE_MIDDLE, &asked, SOON);
}

int lure_ask_large(void) {
    return thirl_ask(its, data, LURE_LARGE, &asked, SOON);
}

int lure_knock(void) {
    int rc = thirl_ask(its, data, LURE_SMALL, &asked, THIRL_NOW);
    return rc == -EAGAIN ? 0 : rc;
}

int lure_accept(void) {
    int rc = thirl_take(its, &held, THIRL_NOW);
    return rc == -EAGAIN ? 0 : rc;
}

int lure_tell(void) {
    uint32_t event = 7;
    return thirl_send(its, &event, sizeof event, SOON);
}

const char *lure_note_path(void) {
    static char path[100];
    (void)snprintf(path, sizeof path, "%s/note", room_path);
    return path;
}

int lure_note(void) {
    int fd = open(lure_note_path(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, sizeof(struct lure_note)) != 0) {
        return -errno;
    }
    static struct lure_note *note;
    (void)(note != NULL ? munmap(note, sizeof *note) : 0);
    note = mmap(NULL, sizeof *note, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    (void)close(fd);
    if (note == MAP_FAILED) {
        note = NULL;
        return -errno;
    }
    note->size = LURE_SMALL;
    return 0;
}
