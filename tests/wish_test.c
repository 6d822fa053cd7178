/* SPDX-License-Identifier: MIT
 *
 * Wishes for channels: made, shown, granted and removed; by whom a wish may be a lie; somebody who withdraws it just then; and a kernel that
 * says no at each step.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "mem/wish.h"
#include "tests/member.h"
#include "tests/refuse.h"

#define DEAD UINT64_C(0x1234567800010000) /* a node that nobody has */
#define WANT_SIZE 344

static bool said(const char *text) {
    return strstr(thirl_why(), text) != NULL;
}

static bool is_there(const char *path) {
    return faccessat(room_dir, path, F_OK, 0) == 0;
}

static unsigned asked; /* how often a pattern was compared */

static bool fits(const char *pattern, const char *name) {
    asked++;
    return strncmp(pattern, name, strcspn(pattern, "*")) == 0;
}

static int make(struct wish *wish, unsigned number) {
    const struct roll_end self = {node_id(), number};
    return wish_make(wish, "cam*", 0, self, 0600, "shm://cam*");
}

static const char *path_of(unsigned number, const char *behind) {
    static char path[2][96];
    static unsigned last;
    char node[NODE_NAME_MAX];
    last = !last;
    node_name(node, node_id());
    (void)snprintf(path[last], sizeof path[last], "wish/%s.%u%s", node, number, behind);
    return path[last];
}

#define JOINED CHECK(node_join() == 0)
#define CHECK_REFUSED(call)                                                                                            \
    do {                                                                                                               \
        int refused = call;                                                                                            \
        if (refused != 0) return refused;                                                                              \
    } while (0)
#define IN_A_CHILD_THAT_IS_REFUSED(name)                                                                               \
    static void name(void **state) {                                                                                   \
        (void)state;                                                                                                   \
        int rc = room_run(do_##name, NULL);                                                                            \
        if (rc == REFUSE_SKIP) skip();                                                                                 \
        assert_int_equal(rc, 0);                                                                                       \
    }

/* ---- the way of a wish ---- */

static int do_who_wishes_hears_of_it(void *nothing) {
    struct wish wish;
    (void)nothing;
    JOINED;
    CHECK(make(&wish, 7) == 0 && is_there(path_of(7, "~/want")) && is_there(path_of(7, "~/new")));
    CHECK(mkfifoat(wish.dir, WISH_BELL, 0600) == 0);
    int bell = openat(wish.dir, WISH_BELL, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    uint64_t before = *wish.news;
    char byte;
    wish_ring("camera", fits); /* nobody sees it yet */
    CHECK(*wish.news == before);
    CHECK(wish_show(&wish, "shm://cam*") == 0);
    wish_ring("sound", fits);
    CHECK(*wish.news == before && read(bell, &byte, 1) < 0);
    wish_ring("camera", fits);
    CHECK(*wish.news != before && read(bell, &byte, 1) == 1);
    CHECK(unlinkat(wish.dir, WISH_BELL, 0) == 0);
    before = *wish.news;
    wish_ring("camera", fits); /* who has no bell sees the word */
    CHECK(*wish.news != before);
    wish_drop(&wish);
    CHECK(close(bell) == 0 && room_entries("wish") == 0);
    wish_withdraw(&wish); /* of one that is none, nothing is taken */
    wish_drop(&wish);
    return 0;
}
IN_A_CHILD(who_wishes_hears_of_it)

static int do_who_may_join_may_note(void *nothing) {
    static const struct { unsigned mode, directory; } each[] = {{0600, 0700}, {0660, 0770}, {0666, 0777}, {0606, 0707}};
    struct wish wish;
    struct stat status;
    (void)nothing;
    JOINED;
    umask(0);
    for (unsigned i = 0; i < sizeof each / sizeof *each; i++) {
        const struct roll_end self = {node_id(), i};
        CHECK(wish_make(&wish, "cam*", 0, self, each[i].mode, "shm://cam*") == 0);
        CHECK(fstatat(wish.dir, "want", &status, 0) == 0 && (status.st_mode & 0777) == each[i].mode);
        CHECK(fstatat(wish.dir, "new", &status, 0) == 0 && (status.st_mode & 0777) == each[i].directory);
        wish_drop(&wish);
    }
    return 0;
}
IN_A_CHILD(who_may_join_may_note)

struct looked {
    unsigned count;
    int answer;
};

static int look_at(void *context, const char *channel) {
    struct looked *looked = context;
    looked->count++;
    return strcmp(channel, "later") == 0 ? looked->answer : 0;
}

static int do_what_is_not_seen_to_stays(void *nothing) {
    struct wish wish;
    struct looked looked = {0, -EAGAIN};
    (void)nothing;
    JOINED;
    CHECK(make(&wish, 7) == 0);
    CHECK(wish_note(&wish, "later") == 0 && wish_note(&wish, "now") == 0 && wish_note(&wish, "now") == 0);
    CHECK(wish_each(&wish, look_at, &looked) == -EAGAIN && looked.count == 2);
    looked = (struct looked){0, 0};
    CHECK(wish_each(&wish, look_at, &looked) == 0 && looked.count == 1);
    CHECK(mkdirat(wish.dir, "new/directory", 0700) == 0); /* is no channel that anybody noted */
    CHECK(wish_note(&wish, "directory") == -EISDIR && said("the registry cannot be written"));
    CHECK(unlinkat(wish.dir, "new/directory", AT_REMOVEDIR) == 0 && unlinkat(wish.dir, "new", AT_REMOVEDIR) == 0);
    CHECK(wish_note(&wish, "now") == -ENOENT);
    looked.count = 0;
    CHECK(wish_each(&wish, look_at, &looked) == -ENOENT && looked.count == 0);
    wish_drop(&wish);
    CHECK(room_entries("wish") == 0);
    return 0;
}
IN_A_CHILD(what_is_not_seen_to_stays)

/* ---- a sender ---- */

/* Posts to all who wish for it, as a publisher does that joins: beside card, roll and tx there is what was posted. */
static int send_to_all(const char *name, uint32_t flags, int answer, int posts) {
    struct roll roll;
    char file[ROLL_FILE_MAX];
    CHECK(roll_begin(&roll, "shm", name, ROLL_CAST, true, false, 0600, INT64_MAX) == 0);
    CHECK(member_files(&roll) == 0);
    roll_file(file, roll.self, "tx");
    size_t end = strlen(file);
    file[end] = '~';
    file[end + 1] = '\0';
    CHECK(wish_grant(&roll, file, name, flags, fits) == answer);
    CHECK(roll_finish(&roll) == 0);
    CHECK(member_entries(name) == 3 + posts);
    member_leave(&roll);
    return 0;
}

static int do_a_sender_posts_to_those_who_wish(void *nothing) {
    struct wish wish;
    (void)nothing;
    JOINED;
    CHECK(send_to_all("camera", 0, 0, 0) == 0); /* there are no wishes */
    CHECK(make(&wish, 7) == 0 && wish_show(&wish, "shm://cam*") == 0);
    CHECK(send_to_all("camera0", 0, 0, 1) == 0);
    CHECK(send_to_all("sound", 0, 0, 0) == 0);
    CHECK(send_to_all("camera1", ROLL_CRC, 0, 0) == 0); /* it is told, but that is not what it can read */
    CHECK(unlinkat(wish.dir, "new/camera0", 0) == 0 && unlinkat(wish.dir, "new/camera1", 0) == 0);
    CHECK(unlinkat(wish.dir, "new", AT_REMOVEDIR) == 0);
    CHECK(send_to_all("camera2", 0, 0, 0) == 0); /* who cannot be told hears nothing */
    wish_withdraw(&wish);
    CHECK(send_to_all("camera3", 0, 0, 0) == 0);
    wish_drop(&wish);
    return 0;
}
IN_A_CHILD(a_sender_posts_to_those_who_wish)

/* The sender stands still where it has seen the wish, and looks again when the wish is gone. */
static int send_and_stand(void *nothing) {
    (void)nothing;
    CHECK(setenv("THIRL_WEAVE_AT", "wish.grant.marked:1:stop", 1) == 0);
    JOINED;
    return send_to_all("camera", 0, 0, 0); /* what it had posted it takes back */
}

static int stands(pid_t child) {
    int status = 0;
    CHECK(waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status));
    return 0;
}

static int do_what_is_withdrawn_is_taken_back(void *nothing) {
    struct wish wish;
    (void)nothing;
    JOINED;
    CHECK(make(&wish, 7) == 0 && wish_show(&wish, "shm://cam*") == 0);
    pid_t sender = room_fork(send_and_stand, NULL);
    CHECK(stands(sender) == 0);
    wish_withdraw(&wish);
    CHECK(kill(sender, SIGCONT) == 0 && room_reap(sender) == 0);
    wish_drop(&wish);
    return 0;
}
IN_A_CHILD(what_is_withdrawn_is_taken_back)

static int do_who_cannot_look_again_takes_nothing_back(void *nothing) {
    struct wish wish;
    (void)nothing;
    JOINED;
    CHECK(make(&wish, 7) == 0 && wish_show(&wish, "shm://cam*") == 0);
    CHECK_REFUSED(refuse(SYS_faccessat, EACCES));
#ifdef SYS_faccessat2
    CHECK_REFUSED(refuse(SYS_faccessat2, EACCES));
#endif
    CHECK(send_to_all("camera", 0, 0, 1) == 0);
    CHECK_REFUSED(refuse(SYS_linkat, EDQUOT));
    struct roll roll = {.dir = room_dir, .self = {node_id(), 1}, .shown = "shm://camera", .name = "camera"};
    uint32_t page[1024] = {0};
    roll.change = page;
    CHECK(wish_grant(&roll, "none", "camera", 0, fits) == -EDQUOT && said("shm://camera"));
    wish_drop(&wish);
    return 0;
}
IN_A_CHILD_THAT_IS_REFUSED(who_cannot_look_again_takes_nothing_back)

static int do_whose_word_may_not_be_written_hears_the_bell(void *nothing) {
    struct wish wish;
    char byte;
    (void)nothing;
    JOINED;
    CHECK(make(&wish, 7) == 0 && wish_show(&wish, "shm://cam*") == 0);
    CHECK(mkfifoat(wish.dir, WISH_BELL, 0600) == 0);
    int bell = openat(wish.dir, WISH_BELL, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    uint64_t before = *wish.news;
    CHECK_REFUSED(refuse_where(SYS_openat, EACCES, 2, O_ACCMODE, O_WRONLY));
    wish_ring("camera", fits);
    CHECK(*wish.news == before && read(bell, &byte, 1) == 1);
    CHECK(close(bell) == 0);
    wish_drop(&wish);
    return 0;
}
IN_A_CHILD_THAT_IS_REFUSED(whose_word_may_not_be_written_hears_the_bell)

/* ---- lies ---- */

/* A wish of that name, whose file begins with so many of these bytes. */
static int lie(const char *name, const unsigned char *want, size_t size) {
    char path[160];
    (void)snprintf(path, sizeof path, "wish/%s", name);
    CHECK(mkdirat(room_dir, path, 0700) == 0);
    (void)snprintf(path, sizeof path, "wish/%s/new", name);
    CHECK(mkdirat(room_dir, path, 0700) == 0);
    (void)snprintf(path, sizeof path, "wish/%s/want", name);
    int fd = openat(room_dir, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    CHECK(fd >= 0 && write(fd, want, size) == (ssize_t)size && close(fd) == 0);
    return 0;
}

static int do_a_wish_may_be_a_lie(void *nothing) {
    unsigned char want[WANT_SIZE];
    struct wish wish;
    char name[64], node[NODE_NAME_MAX];
    (void)nothing;
    JOINED;
    CHECK(make(&wish, 7) == 0 && wish_show(&wish, "shm://cam*") == 0);
    int fd = openat(wish.dir, "want", O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0 && fd_read_at(fd, want, sizeof want, 0) == sizeof want && close(fd) == 0);
    wish_drop(&wish);
    node_name(node, node_id());
    (void)snprintf(name, sizeof name, "%s.1", node);
    CHECK(lie(name, want, sizeof want - 1) == 0); /* cut short */
    want[8] ^= 1;
    (void)snprintf(name, sizeof name, "%s.2", node);
    CHECK(lie(name, want, sizeof want) == 0); /* something else */
    want[8] ^= 1;
    want[16]++;
    (void)snprintf(name, sizeof name, "%s.3", node);
    CHECK(lie(name, want, sizeof want) == 0); /* another version's */
    want[16]--;
    CHECK(lie("nodot", want, sizeof want) == 0 && lie("12.1", want, sizeof want) == 0);
    (void)snprintf(name, sizeof name, "%s.4x", node);
    CHECK(lie(name, want, sizeof want) == 0);
    (void)snprintf(name, sizeof name, "wish/%s.5", node);
    CHECK(mkfifoat(room_dir, name, 0600) == 0);
    CHECK(mkdirat(room_dir, path_of(6, ""), 0700) == 0); /* wants nothing */
    asked = 0;
    wish_ring("camera", fits);
    CHECK(asked == 0 && send_to_all("camera", 0, 0, 0) == 0 && asked == 0);
    node_name(node, DEAD);
    (void)snprintf(name, sizeof name, "%s.1", node);
    CHECK(lie(name, want, sizeof want) == 0);
    memset(want + 24, 'x', sizeof want - 24); /* without an end */
    (void)snprintf(name, sizeof name, "%s.2", node);
    CHECK(lie(name, want, sizeof want) == 0);
    CHECK(send_to_all("camera", 0, 0, 0) == 0 && asked == 2);
    return 0;
}
IN_A_CHILD(a_wish_may_be_a_lie)

static int do_only_wishes_of_the_dead_are_removed(void *nothing) {
    char node[NODE_NAME_MAX], name[128], path[160];
    (void)nothing;
    wish_clean(); /* there are none */
    struct wish wish;
    JOINED;
    CHECK(make(&wish, 7) == 0 && wish_show(&wish, "shm://cam*") == 0);
    node_name(node, DEAD);
    (void)snprintf(name, sizeof name, "%s.0000000000000000000000000000000000000001", node);
    CHECK(lie("nodot", NULL, 0) == 0 && lie("12.1", NULL, 0) == 0 && lie(name, NULL, 0) == 0);
    (void)snprintf(name, sizeof name, "%s.1", node);
    CHECK(lie(name, NULL, 0) == 0);
    (void)snprintf(path, sizeof path, "wish/%s/new/camera", name);
    CHECK(close(openat(room_dir, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600)) == 0);
    (void)snprintf(name, sizeof name, "%s.2~", node); /* not finished */
    CHECK(lie(name, NULL, 0) == 0);
    CHECK(room_entries("wish") == 6);
    wish_clean();
    CHECK(room_entries("wish") == 4);
    wish_drop(&wish);
    return 0;
}
IN_A_CHILD(only_wishes_of_the_dead_are_removed)

/* ---- removing ---- */

static int do_what_is_not_empty_is_let_be(void *nothing) {
    struct wish wish;
    (void)nothing;
    JOINED;
    CHECK(make(&wish, 7) == 0 && wish_show(&wish, "shm://cam*") == 0);
    CHECK(mkdirat(wish.dir, "foreign", 0700) == 0);
    wish_drop(&wish);
    CHECK(is_there(path_of(7, "/foreign")) && !is_there(path_of(7, "/want")) && !is_there(path_of(7, "/new")));
    CHECK(unlinkat(room_dir, path_of(7, "/foreign"), AT_REMOVEDIR) == 0);
    wish_drop(&wish);
    CHECK(room_entries("wish") == 0);
    return 0;
}
IN_A_CHILD(what_is_not_empty_is_let_be)

static int drop_and_stand(void *nothing) {
    struct wish wish;
    (void)nothing;
    CHECK(setenv("THIRL_WEAVE_AT", "wish.remove.emptied:1:stop", 1) == 0);
    JOINED;
    member_board->id = node_id();
    CHECK(make(&wish, 7) == 0 && wish_show(&wish, "shm://cam*") == 0);
    wish_drop(&wish);
    return 0;
}

static int do_two_may_remove_it(void *nothing) {
    char node[NODE_NAME_MAX], path[64];
    (void)nothing;
    pid_t child = room_fork(drop_and_stand, NULL);
    CHECK(stands(child) == 0);
    node_name(node, member_board->id);
    (void)snprintf(path, sizeof path, "wish/%s.7", node);
    CHECK(unlinkat(room_dir, path, AT_REMOVEDIR) == 0);
    CHECK(kill(child, SIGCONT) == 0 && room_reap(child) == 0);
    CHECK(room_entries("wish") == 0);
    return 0;
}
IN_A_CHILD(two_may_remove_it)

/* ---- a kernel that says no ---- */

/* The next descriptor that this process gets. */
static uint32_t next_descriptor(void) {
    int fd = dup(room_dir);
    (void)close(fd);
    return (uint32_t)fd;
}

/* Each step of making it is refused once: in a child of its own, for it is refused for ever. */
static int do_refused(void *which) {
    const struct {
        long call;
        int error;
        unsigned argument;
        uint32_t mask, value;
    } step[] = {
        {SYS_mkdirat, EROFS, 0, 0, 0},
        {SYS_openat, EMFILE, 2, O_DIRECTORY | O_NOFOLLOW, O_DIRECTORY},
        {SYS_mkdirat, ENOSPC, 0, UINT32_MAX, 0}, /* of what lies in it: by its descriptor */
        {SYS_openat, ENOSPC, 2, O_EXCL, O_EXCL},
        {SYS_fchmod, EPERM, 0, 0, 0},
        {SYS_fallocate, ENOSPC, 0, 0, 0},
        {SYS_write, EIO, 2, UINT32_MAX, WANT_SIZE},
        {SYS_mmap, EAGAIN, 3, MAP_SHARED, MAP_SHARED},
    };
    struct wish wish;
    uintptr_t i = (uintptr_t)which;
    if (i == sizeof step / sizeof *step) return 99;
    CHECK(mkdirat(room_dir, "wish", 0700) == 0 || errno == EEXIST);
    JOINED;
    uint32_t next = next_descriptor();
    bool lies_in_it = step[i].call == SYS_mkdirat && step[i].mask != 0;
    CHECK_REFUSED(
        refuse_where(step[i].call, step[i].error, step[i].argument, step[i].mask, lies_in_it ? next : step[i].value));
    int rc = make(&wish, 7);
    CHECK(rc == (step[i].call == SYS_mmap ? -ENOMEM : -step[i].error));
    CHECK(said("shm://cam*: what it wishes to hear cannot be written") && wish.news == NULL && wish.dir == -1);
    return 0;
}

static void each_step_may_be_refused(void **state) {
    (void)state;
    int rc = 0;
    for (uintptr_t i = 0; rc == 0; i++) {
        rc = room_run(do_refused, (void *)i);
        assert_true(rc == REFUSE_SKIP || rc == 0 || rc == 99);
        assert_true(rc != 0 || room_entries("wish") <= (i == 1)); /* what cannot be opened cannot be emptied */
        (void)member_clear(NULL);
    }
    if (rc == REFUSE_SKIP) skip();
}

static int do_what_cannot_be_shown_is_told(void *nothing) {
    struct wish wish;
    (void)nothing;
    JOINED;
    CHECK(make(&wish, 7) == 0);
    CHECK_REFUSED(refuse(SYS_renameat, EROFS));
    CHECK(wish_show(&wish, "shm://cam*") == -EROFS && said("cannot be shown in the registry"));
    wish_drop(&wish);
    CHECK(room_entries("wish") == 0);
    return 0;
}
IN_A_CHILD_THAT_IS_REFUSED(what_cannot_be_shown_is_told)

static int do_where_nothing_can_be_listed_nothing_is_done(void *nothing) {
    struct wish wish;
    struct looked looked = {0, 0};
    (void)nothing;
    JOINED;
    CHECK(make(&wish, 7) == 0 && wish_show(&wish, "shm://cam*") == 0 && wish_note(&wish, "camera") == 0);
    CHECK_REFUSED(refuse_where(SYS_openat, EMFILE, 2, O_DIRECTORY | O_NOFOLLOW, O_DIRECTORY));
    CHECK(wish_each(&wish, look_at, &looked) == -EMFILE && looked.count == 0);
    asked = 0;
    wish_ring("camera", fits);
    CHECK(asked == 0);
    wish_clean();
    wish_drop(&wish);
    CHECK(is_there(path_of(7, "/new/camera")));
    return 0;
}
IN_A_CHILD_THAT_IS_REFUSED(where_nothing_can_be_listed_nothing_is_done)

int main(void) {
#define T(name) cmocka_unit_test_setup(name, member_clear)
    const struct CMUnitTest tests[] = {
        T(who_wishes_hears_of_it),
        T(who_may_join_may_note),
        T(what_is_not_seen_to_stays),
        T(a_sender_posts_to_those_who_wish),
        T(what_is_withdrawn_is_taken_back),
        T(who_cannot_look_again_takes_nothing_back),
        T(whose_word_may_not_be_written_hears_the_bell),
        T(a_wish_may_be_a_lie),
        T(only_wishes_of_the_dead_are_removed),
        T(what_is_not_empty_is_let_be),
        T(two_may_remove_it),
        T(each_step_may_be_refused),
        T(what_cannot_be_shown_is_told),
        T(where_nothing_can_be_listed_nothing_is_done),
    };
    return cmocka_run_group_tests(tests, member_begin, room_end);
}
