/* SPDX-License-Identifier: MIT
 *
 * fifo:// as a pair of named pipes: what lies at the path, who may join, and who dies where. What flows over it is the
 * conformance suite's, plain FIFOs are path_test's.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/peer.h"

static char fifo[96], beside[100];
static unsigned char buffer[64];

/* A place where nothing is. */
static int begin(void **state) {
    (void)state;
    (void)snprintf(fifo, sizeof fifo, "%s/fifo", peer_directory);
    (void)snprintf(beside, sizeof beside, "%s~", fifo);
    (void)snprintf(peer_address, sizeof peer_address, "fifo://%s", fifo);
    (void)unlink(fifo);
    (void)unlink(beside);
    return chmod(peer_directory, 0700);
}

static const char *aside(void) {
    static char path[100];
    (void)snprintf(path, sizeof path, "%s/aside", peer_directory);
    return path;
}

static thirl *open_end(const char *options) {
    char address[200];
    thirl *end = NULL;
    (void)snprintf(address, sizeof address, "%s%s", peer_address, options);
    int rc = thirl_open(&end, THIRL_PAIR, address, NULL);
    if (rc != 0) {
        print_error("%s\n", thirl_why());
    }
    assert_int_equal(rc, 0);
    return end;
}

static void say(thirl *from, thirl *to, const char *text) {
    size_t size;
    assert_int_equal(thirl_send(from, text, strlen(text), LONG), 0);
    assert_int_equal(thirl_recv(to, buffer, sizeof buffer, &size, LONG), 0);
    assert_int_equal(size, strlen(text));
    assert_memory_equal(buffer, text, size);
}

/* Two ends meet, talk, part, and nothing is left. */
static void must_work(void) {
    thirl *a = open_end(""), *b = open_end("");
    say(a, b, "there");
    say(b, a, "and back");
    assert_int_equal(thirl_close(&a, LONG), 0);
    assert_int_equal(thirl_close(&b, LONG), 0);
    assert_int_equal(access(fifo, F_OK), -1);
    assert_int_equal(access(beside, F_OK), -1);
}

/* What processes that were killed have left there: either pipe or both, used or not. */
static void replaces_what_the_dead_left(void **state) {
    (void)state;
    for (int left = 0; left < 6; left++) {
        if (left % 3 != 1) {
            assert_int_equal(mknod(fifo, S_IFIFO | 0600, 0), 0);
            assert_int_equal(chmod(fifo, left < 3 ? 0600 : 01600), 0);
        }
        if (left % 3 != 0) {
            assert_int_equal(mkfifo(beside, 0600), 0);
        }
        must_work();
    }
}

static void leaves_alone_what_is_no_fifo(void **state) {
    (void)state;
    thirl *end = NULL;
    for (int i = 0; i < 4; i++) {
        const char *path = i % 2 ? beside : fifo;
        int fd = i < 2 ? open(path, O_CREAT | O_WRONLY, 0600) : -1;
        assert_true(fd >= 0 || symlink("/dev/null", path) == 0);
        (void)(fd >= 0 && close(fd));
        assert_int_equal(thirl_open(&end, THIRL_PAIR, peer_address, NULL), -EEXIST);
        assert_non_null(strstr(thirl_why(), "is not a FIFO"));
        assert_null(end);
        assert_int_equal(unlink(path), 0); /* it was still there */
        (void)unlink(fifo);
    }
}

/* A program that reads there; how it is told apart from one that is just leaving takes a moment. */
static void refuses_a_foreign_reader(void **state) {
    (void)state;
    size_t size;
    thirl *end = NULL;
    assert_int_equal(mkfifo(fifo, 0600), 0);
    int fd = open(fifo, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    assert_true(fd >= 0);
    int rc = thirl_open(&end, THIRL_PAIR, peer_address, NULL);
    rc = rc == 0 ? thirl_recv(end, buffer, 1, &size, LONG) : rc;
    assert_int_equal(rc, -EBUSY);
    assert_non_null(strstr(thirl_why(), "does not speak thirl"));
    assert_int_equal(thirl_close(&end, THIRL_NOW), 0);
    assert_int_equal(read(fd, buffer, sizeof buffer), 0); /* and was told nothing */
    assert_int_equal(access(fifo, F_OK), 0);
    (void)close(fd);
    must_work();
}

/* One that writes there is heard of, and the next one who speaks thirl gets in. */
static void refuses_a_foreign_writer(void **state) {
    (void)state;
    static const char *const texts[] = {"GET / HTTP/1.0\r\n\r\n", "x", ""};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        size_t size;
        thirl *end = open_end("");
        int fd = open(fifo, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, texts[i], strlen(texts[i])), strlen(texts[i]));
        (void)close(fd);
        int rc = thirl_recv(end, buffer, 1, &size, thirl_in_ms(i == 0 ? 8000 : 100));
        assert_int_equal(rc, i == 0 ? -THIRL_EFORMAT : rc == -THIRL_EFORMAT ? rc : -ETIMEDOUT);
        if (rc == -THIRL_EFORMAT) {
            assert_non_null(strstr(thirl_why(), "somebody else writes there"));
            assert_int_equal(thirl_recv(end, buffer, 1, &size, thirl_in_ms(100)), -ETIMEDOUT); /* makes new pipes */
        }
        thirl *other = open_end("");
        say(other, end, "I do");
        say(end, other, "so do I");
        assert_int_equal(thirl_close(&end, LONG), 0);
        assert_int_equal(thirl_close(&other, LONG), 0);
    }
}

static mode_t mode_of(const char *path) {
    struct stat status;
    assert_int_equal(lstat(path, &status), 0);
    return status.st_mode & 0777;
}

static void sets_modes_whatever_the_umask(void **state) {
    (void)state;
    mode_t old = umask(0777);
    thirl *end = open_end("");
    (void)umask(old);
    assert_int_equal(mode_of(fifo), 0600);
    assert_int_equal(mode_of(beside), 0600);
    assert_int_equal(thirl_close(&end, LONG), 0);
    end = open_end("?mode=0664");
    assert_int_equal(mode_of(fifo), 0664);
    assert_int_equal(mode_of(beside), 0664);
    assert_int_equal(thirl_close(&end, LONG), 0);
}

/* Another user joins when both say so, and else is told which option is missing, and whose FIFO it is. */
static void lets_other_users_in_when_both_say_so(void **state) {
    (void)state;
    if (geteuid() != 0) {
        printf("skipped: only root can become somebody else\n");
        skip();
    }
    assert_int_equal(chmod(peer_directory, 0755), 0);
    for (int i = 0; i < 4; i++) {
        thirl *end = open_end(i & 1 ? "?mode=0666" : "");
        (void)fflush(NULL);
        pid_t pid = fork();
        if (pid == 0) {
            char address[200];
            thirl *mine = NULL;
            (void)snprintf(address, sizeof address, "%s%s", peer_address, i & 2 ? "?mode=0666" : "");
            must(setgid(65534) == 0 && setresuid(65534, 65534, 0) == 0);
            int rc = thirl_open(&mine, THIRL_PAIR, address, NULL);
            rc = rc == 0 ? thirl_send(mine, "hello", 5, thirl_in_ms(3000)) : rc;
            must(i == 3 ? rc == 0 : rc == -EACCES || (i == 1 && rc == 0)); /* root may always call */
            must(i != 2 || strstr(thirl_why(), "FIFO") != NULL);
            if (rc == 0) {
                must(thirl_close(&mine, LONG) == 0);
            }
            must(setresuid(0, 0, 0) == 0);
            _exit(0);
        }
        size_t size;
        int rc = thirl_recv(end, buffer, sizeof buffer, &size, i == 3 ? LONG : thirl_in_ms(200));
        assert_int_equal(rc, i == 3 ? 0 : rc == 0 && i == 1 ? 0 : -ETIMEDOUT);
        peer_reap(pid);
        assert_int_equal(thirl_close(&end, LONG), 0);
    }
}

static void hears_of_a_third(void **state) {
    (void)state;
    thirl *a = open_end(""), *b = open_end(""), *c = NULL;
    say(a, b, "x");
    size_t size;
    int rc = thirl_open(&c, THIRL_PAIR, peer_address, NULL);
    rc = rc == 0 ? thirl_recv(c, buffer, 1, &size, LONG) : rc;
    assert_int_equal(rc, -EBUSY);
    char text[32];
    (void)snprintf(text, sizeof text, "pid %d", (int)getpid());
    assert_non_null(strstr(thirl_why(), text));
    say(b, a, "undisturbed");
    assert_int_equal(thirl_close(&c, THIRL_NOW), 0);
    assert_int_equal(thirl_close(&a, LONG), 0);
    assert_int_equal(thirl_close(&b, LONG), 0);
}

static const char *const points[] = {"fifo.open.before", "fifo.call.before", "fifo.unlink.before", "fifo.make.before",
                                     "fifo.read.before", "fifo.seat.after",  "fifo.mark.after"};
#define POINTS (sizeof points / sizeof *points)

/* A process that joins, talks and is killed at the k-th pass of the point: true, or false when it never came there. */
static bool kill_at(const char *point, int k, thirl *partner) {
    (void)fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        char at[64];
        size_t size;
        thirl *end = NULL;
        (void)snprintf(at, sizeof at, "%s:%d:kill", point, k);
        (void)setenv("THIRL_WEAVE_AT", at, 1);
        thirl_time until = thirl_in_ms(partner != NULL ? 2000 : 50);
        if (thirl_open(&end, THIRL_PAIR, peer_address, NULL) == 0 && thirl_send(end, "doomed", 6, until) == 0) {
            (void)!thirl_recv(end, buffer, sizeof buffer, &size, thirl_in_ms(50));
        }
        (void)!thirl_close(&end, THIRL_NOW);
        _exit(0);
    }
    size_t size;
    int rc = -EAGAIN, status = 0;
    while (waitpid(pid, &status, WNOHANG) == 0) {
        rc = partner != NULL && (rc == -EAGAIN || rc == -ETIMEDOUT)
                 ? thirl_recv(partner, buffer, sizeof buffer, &size, thirl_in_ms(20))
                 : rc;
        (void)usleep(2000);
    }
    assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
    return WIFSIGNALED(status);
}

/* Wherever a process dies, the next two meet; and one that waited there meets the next. */
static void survives_a_death_anywhere(void **state) {
    (void)state;
    bool hit[POINTS] = {false};
    for (size_t i = 0; i < POINTS; i++) {
        for (int k = 1; k <= 2; k++) {
            if (strstr(points[i], "unlink") != NULL) {
                assert_true(mkfifo(fifo, 0600) == 0 && mkfifo(beside, 0600) == 0);
            }
            hit[i] = kill_at(points[i], k, NULL) || hit[i];
            must_work();
        }
        thirl *end = open_end("");
        hit[i] = kill_at(points[i], 1, end) || hit[i];
        size_t size;
        int rc;
        while ((rc = thirl_recv(end, buffer, sizeof buffer, &size, thirl_in_ms(50))) == 0) {}
        if (rc == -THIRL_ECLOSED) { /* the point was not on its way, and it left in order */
            assert_int_equal(thirl_close(&end, THIRL_NOW), 0);
            continue;
        }
        assert_true(rc == -THIRL_EPEERDIED || rc == -ETIMEDOUT);
        thirl *next = open_end("");
        for (int tries = 0; (rc = thirl_send(end, "next", 4, LONG)) == -THIRL_EPEERDIED && tries < 2; tries++) {}
        assert_int_equal(rc, 0);
        assert_int_equal(thirl_recv(next, buffer, sizeof buffer, &size, LONG), 0);
        assert_int_equal(thirl_close(&end, LONG), 0);
        assert_int_equal(thirl_close(&next, LONG), 0);
    }
    for (size_t i = 0; i < POINTS; i++) {
        if (!hit[i] && strcmp(points[i], "fifo.mark.after") != 0) { /* a caller comes by there: the last test's */
            print_error("nobody came by %s\n", points[i]);
        }
        assert_true(hit[i] || strcmp(points[i], "fifo.mark.after") == 0);
    }
}

/* Who waits is killed while somebody calls, just when the pipe is marked as used. */
static void survives_the_death_of_who_waits(void **state) {
    (void)state;
    (void)fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        thirl *end = NULL;
        size_t size;
        (void)setenv("THIRL_WEAVE_AT", "fifo.mark.after:1:kill", 1);
        ok(thirl_open(&end, THIRL_PAIR, peer_address, NULL));
        (void)!thirl_recv(end, buffer, sizeof buffer, &size, LONG);
        _exit(0);
    }
    for (int i = 0; i < 4000 && access(fifo, F_OK) != 0; i++) {
        (void)usleep(2000);
    }
    thirl *end = open_end("");
    int status = 0;
    size_t size;
    int rc = -ETIMEDOUT;
    while (waitpid(pid, &status, WNOHANG) == 0) {
        rc = thirl_recv(end, buffer, sizeof buffer, &size, thirl_in_ms(20));
        assert_true(rc == -ETIMEDOUT || rc == -THIRL_EPEERDIED);
    }
    assert_true(WIFSIGNALED(status));
    thirl *next = open_end("");
    say(end, next, "onwards");
    assert_int_equal(thirl_close(&end, LONG), 0);
    assert_int_equal(thirl_close(&next, LONG), 0);
    assert_int_equal(access(fifo, F_OK), -1);
}

/* What is no path of a FIFO, and what is no type. */
static void says_what_it_cannot(void **state) {
    (void)state;
    static const char *const wrong[] = {"fifo://relative", "fifo:///tmp/", "fifo:///"};
    thirl *end = NULL;
    const struct thirl_type type = {.size = 3};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(thirl_open(&end, THIRL_PAIR, wrong[i], NULL), -THIRL_EADDRESS);
        assert_non_null(strstr(thirl_why(), "begins with / and ends with a name"));
    }
    const struct thirl_options options = {.size = sizeof options, .of = &type};
    assert_int_equal(thirl_open(&end, THIRL_PAIR, peer_address, &options), -EINVAL);
    assert_int_equal(access(fifo, F_OK), -1);
}

/* What a dead process of another user has left where everybody may make files, and remove his own. */
static void says_what_it_cannot_remove(void **state) {
    (void)state;
    if (geteuid() != 0) {
        printf("skipped: only root can become somebody else\n");
        skip();
    }
    assert_true(mkfifo(fifo, 0600) == 0 && chmod(fifo, 0666) == 0 && chmod(peer_directory, 01777) == 0);
    (void)fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        thirl *end = NULL;
        must(setresuid(65534, 65534, 0) == 0);
        int rc = thirl_open(&end, THIRL_PAIR, peer_address, NULL);
        must(rc == -EPERM && strstr(thirl_why(), "which a dead process left") != NULL);
        must(setresuid(0, 0, 0) == 0);
        _exit(0);
    }
    peer_reap(pid);
}

/* A FIFO of a third user: whoever lets others in meets there, and nobody else does. */
static void knows_whose_a_fifo_is(void **state) {
    (void)state;
    size_t size;
    if (geteuid() != 0) {
        printf("skipped: only root can become somebody else\n");
        skip();
    }
    assert_int_equal(chmod(peer_directory, 0755), 0);
    for (int opens = 0; opens < 2; opens++) {
        thirl *end = open_end("?mode=0666");
        assert_int_equal(chown(fifo, 1, 1), 0);
        (void)fflush(NULL);
        pid_t pid = fork();
        if (pid == 0) {
            char address[200];
            thirl *mine = NULL;
            (void)snprintf(address, sizeof address, "%s%s", peer_address, opens ? "?mode=0666" : "");
            must(setresuid(65534, 65534, 0) == 0);
            int rc = thirl_open(&mine, THIRL_PAIR, address, NULL);
            must(rc == (opens ? 0 : -EACCES) && (opens || strstr(thirl_why(), "the FIFO uid 1;") != NULL));
            if (opens) {
                ok(thirl_send(mine, "hello", 5, LONG));
                ok(thirl_close(&mine, LONG));
            }
            must(setresuid(0, 0, 0) == 0);
            _exit(0);
        }
        assert_int_equal(thirl_recv(end, buffer, sizeof buffer, &size, opens ? LONG : thirl_in_ms(100)),
                         opens ? 0 : -ETIMEDOUT);
        peer_reap(pid);
        assert_int_equal(thirl_close(&end, LONG), 0);
    }
}

static void say_and_die(void) {
    thirl *end = NULL;
    ok(thirl_open(&end, THIRL_PAIR, peer_address, NULL));
    ok(thirl_send(end, "x", 1, LONG));
    (void)raise(SIGKILL);
}

/* Of a peer who has left, or is dead, nothing more is told, whichever way it is asked for. */
static void who_is_gone_is_nobody(void **state) {
    (void)state;
    for (int i = 0; i < 4; i++) {
        size_t size;
        struct thirl_peer who = {.size = sizeof who};
        thirl *a = open_end(""), *b = NULL;
        if (i < 2) {
            b = open_end("");
            say(b, a, "x");
            assert_int_equal(thirl_peer(a, &who), 0);
            assert_int_equal(thirl_close(&b, LONG), 0);
        } else {
            pid_t pid = peer_start(say_and_die);
            assert_int_equal(thirl_recv(a, buffer, 1, &size, LONG), 0);
            assert_int_equal(waitpid(pid, NULL, 0), pid);
        }
        for (int k = 0; k < 3; k++) {
            assert_int_equal(i % 2 ? thirl_peer_pidfd(a) : thirl_peer(a, &who), -ENOTCONN);
        }
        assert_true(thirl_close(&a, LONG) >= 0);
    }
}

/* Whoever knows nothing of the lock makes a FIFO there just then: then it begins anew. */
static void begins_anew_where_others_come_between(void **state) {
    (void)state;
    int status = 0;
    (void)fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        thirl *end = NULL;
        (void)setenv("THIRL_WEAVE_AT", "fifo.make.before:1:stop", 1);
        ok(thirl_open(&end, THIRL_PAIR, peer_address, NULL));
        must(access(fifo, F_OK) == 0);
        ok(thirl_close(&end, THIRL_NOW));
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
    assert_true(WIFSTOPPED(status));
    assert_int_equal(mkfifo(beside, 0600), 0);
    assert_int_equal(kill(pid, SIGCONT), 0);
    peer_reap(pid);
    must_work();
}

/* Another pipe beside it, which somebody reads: nobody is answered there. */
static void answers_nobody_beside_another_pipe(void **state) {
    (void)state;
    size_t size;
    thirl *end = open_end("");
    assert_int_equal(rename(beside, aside()), 0); /* so that its inode stays taken */
    assert_int_equal(mkfifo(beside, 0600), 0);
    int in = open(beside, O_RDONLY | O_NONBLOCK | O_CLOEXEC), out = open(fifo, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    assert_true(in >= 0 && out >= 0 && write(out, "x", 1) == 1);
    assert_int_equal(thirl_recv(end, buffer, 1, &size, thirl_in_ms(100)), -ETIMEDOUT);
    assert_int_equal(read(in, buffer, 1), 0);
    (void)close(in);
    (void)close(out);
    (void)unlink(aside());
    thirl *other = open_end("");
    say(other, end, "here");
    assert_int_equal(thirl_close(&end, LONG), 0);
    assert_int_equal(thirl_close(&other, LONG), 0);
}

/* More than a pipe may hold, for those who are not root. */
static void a_queue_that_is_too_long_is_refused(void **state) {
    (void)state;
    (void)fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        thirl *end = NULL;
        char address[200];
        uid_t back = geteuid();
        must(geteuid() != 0 || setresuid(65534, 65534, 0) == 0);
        (void)snprintf(address, sizeof address, "%s?queue=1G", peer_address);
        must(thirl_open(&end, THIRL_PAIR, address, NULL) == -EINVAL && strstr(thirl_why(), "fs.pipe-max-size") != NULL);
        must(setresuid(back, back, back) == 0);
        _exit(0);
    }
    peer_reap(pid);
}

int main(int argc, char **argv) {
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
#define TEST(name) cmocka_unit_test_setup(name, begin)
    const struct CMUnitTest tests[] = {
        TEST(replaces_what_the_dead_left),
        TEST(leaves_alone_what_is_no_fifo),
        TEST(refuses_a_foreign_reader),
        TEST(refuses_a_foreign_writer),
        TEST(sets_modes_whatever_the_umask),
        TEST(lets_other_users_in_when_both_say_so),
        TEST(hears_of_a_third),
        TEST(says_what_it_cannot),
        TEST(says_what_it_cannot_remove),
        TEST(knows_whose_a_fifo_is),
        TEST(who_is_gone_is_nobody),
        TEST(begins_anew_where_others_come_between),
        TEST(answers_nobody_beside_another_pipe),
        TEST(a_queue_that_is_too_long_is_refused),
        TEST(survives_a_death_anywhere),
        TEST(survives_the_death_of_who_waits),
    };
    return cmocka_run_group_tests(tests, peer_setup, peer_teardown);
}
