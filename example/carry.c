/* SPDX-License-Identifier: MIT
 *
 * carry ADDRESS FILE COPY: carries a file from this process to its child, over whatever the address says, as what that can
 * carry: a stream of bytes; else numbered messages, of which some may be lost; else events, and then it is only the file's
 * SHA-256 that crosses, sixteen bits an event. Prints a line when something was lost. Exit code 77: there is no such thing here.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thirl/thirl.h>
#include <unistd.h>

#define PIECE 32768
#define AHEAD 4     /* messages that are on their way at most, where nothing else holds them back */
#define WORDS 16    /* of a SHA-256 */
#define PATIENCE 20 /* seconds */
#define NOT_HERE 77 /* the exit code: this library, or this kernel, does not have it */

static const char *address, *file, *copy;
static int told[2]; /* a pipe, by which the child says that something has come */

static void die(const char *what) {
    const char *why = thirl_why();
    fprintf(stderr, "carry: %s: %s\n", what, *why ? why : strerror(errno));
    exit(1);
}

static thirl_time soon(void) {
    return thirl_in_ms(PATIENCE * 1000);
}

static thirl *open_end(enum thirl_role role, const char *where) {
    static const int missing[] = {ENOSYS, EAFNOSUPPORT, EPROTONOSUPPORT, EOPNOTSUPP,
                                  EMFILE, ENOSPC,       EPERM,           THIRL_EADDRESS};
    thirl *end;
    int rc = thirl_open(&end, role, where, NULL);
    for (size_t i = 0; i < sizeof missing / sizeof *missing; i++) {
        if (rc == -missing[i]) {
            fprintf(stderr, "carry: %s\n", thirl_why());
            exit(NOT_HERE);
        }
    }
    if (rc != 0) {
        die(where);
    }
    return end;
}

static int open_file(const char *path, int flags) {
    int fd = open(path, flags | O_CLOEXEC, 0600);
    if (fd < 0) {
        die(path);
    }
    return fd;
}

static void tell(void) {
    if (write(told[1], "", 1) != 1) {
        die("telling the parent");
    }
}

static int hear(int ms) {
    struct pollfd polled = {.fd = told[0], .events = POLLIN};
    char byte;
    return poll(&polled, 1, ms) == 1 && read(told[0], &byte, 1) == 1;
}

static void join(pid_t child) {
    int status;
    if (waitpid(child, &status, 0) != child || status != 0) {
        exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1); /* it has said why */
    }
}

/* ---- bytes ---- */

static int read_stream(const char *where) {
    static char bytes[8 * PIECE];
    size_t size;
    int rc, to = open_file(copy, O_WRONLY | O_CREAT | O_TRUNC);
    thirl *end = open_end(THIRL_READ, where);
    while ((rc = thirl_recv(end, bytes, sizeof bytes, &size, soon())) == 0) {
        if (write(to, bytes, size) != (ssize_t)size) {
            die(copy);
        }
    }
    if (rc != THIRL_END) {
        die("receiving");
    }
    return thirl_close(&end, soon());
}

static void write_stream(void) {
    static char bytes[8 * PIECE];
    char where[320];
    ssize_t got;
    int from = open_file(file, O_RDONLY);
    thirl *end = open_end(THIRL_WRITE, address);
    if (thirl_hand(end, where, sizeof where)) {
        die("handing over the other end");
    }
    pid_t child = fork();
    if (child == 0) {
        exit(read_stream(where));
    }
    while ((got = read(from, bytes, sizeof bytes)) > 0) {
        if (thirl_send(end, bytes, (size_t)got, soon())) {
            die("sending");
        }
    }
    if (got < 0 || thirl_close(&end, soon()) != 0) {
        die("closing");
    }
    join(child);
}

/* ---- messages that may be lost: each says where it belongs ---- */

struct piece {
    uint64_t at;
    char bytes[PIECE];
};

static int pull(uint64_t size) {
    static struct piece piece;
    uint64_t pieces = (size + PIECE - 1) / PIECE, came = 0;
    size_t got;
    int to = open_file(copy, O_WRONLY | O_CREAT | O_TRUNC);
    thirl *end = open_end(THIRL_PULL, address);
    tell();
    while (came < pieces && thirl_recv(end, &piece, sizeof piece, &got, thirl_in_ms(2000)) == 0) {
        if (pwrite(to, piece.bytes, got - sizeof piece.at, (off_t)piece.at) < 0) {
            die(copy);
        }
        came++;
        tell();
    }
    if (came < pieces) {
        printf("%llu of %llu messages were lost\n", (unsigned long long)(pieces - came), (unsigned long long)pieces);
    }
    return thirl_close(&end, THIRL_NOW) < 0;
}

static void push(void) {
    static struct piece piece;
    struct stat status;
    ssize_t got;
    unsigned ahead = 0;
    int from = open_file(file, O_RDONLY);
    if (fstat(from, &status)) {
        die(file);
    }
    pid_t child = fork();
    if (child == 0) {
        exit(pull((uint64_t)status.st_size));
    }
    if (!hear(PATIENCE * 1000)) {
        die("waiting for the receiver");
    }
    thirl *end = open_end(THIRL_PUSH, address);
    while ((got = read(from, piece.bytes, PIECE)) > 0) {
        if (thirl_send(end, &piece, sizeof piece.at + (size_t)got, soon())) {
            die("sending");
        }
        piece.at += (uint64_t)got;
        ahead = ++ahead < AHEAD || !hear(1000) ? ahead % AHEAD : ahead - 1; /* lost: begins to count anew */
    }
    join(child);
    if (thirl_close(&end, soon()) < 0) {
        die("closing");
    }
}

/* ---- events ---- */

static int watch(void) {
    FILE *to = fopen(copy, "we");
    thirl *end = open_end(THIRL_WATCH, "sig://self");
    tell();
    for (int i = 0; i < WORDS; i++) {
        uint32_t word = 0;
        size_t got;
        if (thirl_recv(end, &word, sizeof word, &got, soon())) {
            die("receiving");
        }
        if (!to || fprintf(to, "%04x", word) != 4) {
            die(copy);
        }
    }
    return fclose(to) || thirl_close(&end, soon());
}

static void notify(void) {
    char command[600], sum[80] = "", where[64];
    snprintf(command, sizeof command, "sha256sum <'%s'", file);
    FILE *from = popen(command, "re");
    if (!from || !fgets(sum, sizeof sum, from) || pclose(from)) {
        die("sha256sum");
    }
    pid_t child = fork();
    if (child == 0) {
        exit(watch());
    }
    if (!hear(PATIENCE * 1000)) {
        die("waiting for the receiver");
    }
    snprintf(where, sizeof where, "sig://%d", (int)child);
    thirl *end = open_end(THIRL_NOTIFY, where);
    for (int i = 0; i < WORDS; i++) {
        char digits[5] = "";
        memcpy(digits, sum + 4 * (size_t)i, 4);
        uint32_t word = (uint32_t)strtoul(digits, NULL, 16);
        if (thirl_send(end, &word, sizeof word, soon())) {
            die("sending");
        }
    }
    join(child);
    if (thirl_close(&end, soon()) < 0) {
        die("closing");
    }
}

/* ---- which ---- */

static int is_ours(void *context, const struct thirl_mechanism *m) {
    size_t length = strlen(m->scheme);
    if (strncmp(address, m->scheme, length) != 0 || strncmp(address + length, "://", 3) != 0) {
        return 0;
    }
    *(uint32_t *)context = m->roles;
    return 1;
}

int main(int argc, char **argv) {
    uint32_t roles = 0;
    if (argc != 4 || pipe2(told, O_CLOEXEC)) {
        fprintf(stderr, "usage: carry ADDRESS FILE COPY\n");
        return 2;
    }
    address = argv[1];
    file = argv[2];
    copy = argv[3];
    if (thirl_mechanisms(is_ours, &roles) != 1) {
        fprintf(stderr, "carry: %s: this library has no such mechanism\n", address);
        return NOT_HERE;
    }
    if (roles & 1u << THIRL_WRITE) {
        write_stream();
    } else if (roles & 1u << THIRL_PUSH) {
        push();
    } else {
        notify();
    }
    return 0;
}
